import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatCidr, type IpAddress, parseAddress, parseCidr } from '../../../src/base/address.ts';
import { GatewayError } from '../../../src/base/errors.ts';
import { Publisher } from '../../../src/dataplane/publisher.ts';
import { Fib } from '../../../src/fib/fib.ts';
import { ARENA_BYTES_MIN } from '../../../src/fib/layout.ts';
import { enterEpoch, leaveEpoch } from '../../../src/fib/lookup.ts';
import type { Claim } from '../../../src/table/claim.ts';
import { Table } from '../../../src/table/table.ts';
import { HandClock } from './rig.ts';

const SOURCE = 'file';

function claim(cidr: string, ...gateways: string[]): Claim {
  const weighted = gateways.map((address) => ({ address: parseAddress(address), weight: 1 }));
  return { id: cidr, cidr: parseCidr(cidr), cluster: 'west', gateways: weighted };
}

function localClaim(cidr: string): Claim {
  return { id: cidr, cidr: parseCidr(cidr), cluster: 'east', gateways: [], local: 'pods' };
}

/** A table and a FIB with a publisher between them, and a kernel that writes down what it is told and what the FIB knew then. */
function world(capacityBytes = 1 << 20) {
  const table = new Table();
  table.addSource(SOURCE, { priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 0 });
  const fib = new Fib({ capacityBytes });
  const clock = new HandClock();
  const log: string[] = [];
  const published: { durationMs: number; set: number; removed: number }[] = [];
  const ours: string[] = [];
  const knows = (address: IpAddress): string =>
    fib.find(address as number) === undefined ? 'unknown' : 'known';
  const publisher = new Publisher(
    table,
    fib,
    {
      add: (routes) =>
        log.push(...routes.map(({ cidr }) => `add ${formatCidr(cidr)}, ${knows(cidr.address)}`)),
      remove: (cidrs) =>
        log.push(...cidrs.map((cidr) => `remove ${formatCidr(cidr)}, ${knows(cidr.address)}`)),
    },
    clock,
    (durationMs, { set, removed, local }) => {
      if (local !== undefined) ours.push(local.map(formatCidr).join());
      published.push({ durationMs, set: set.length, removed: removed.length });
    },
  );
  const replace = (...claims: Claim[]): void => table.apply(SOURCE, { kind: 'replace', claims }, 0, 0);
  return { table, fib, clock, log, published, ours, publisher, replace };
}

/** Sixteen sets of gateways need more bucket blocks than the smallest arena has room for. */
function tooMany(): Claim[] {
  return Array.from({ length: 16 }, (_, i) => claim(`10.${i + 2}.0.0/16`, '172.31.0.2', `172.31.1.${i + 1}`));
}

describe('publishing', () => {
  test('tells the FIB first and the kernel then of a new prefix, and of an old one the other way round', () => {
    const { log, publisher, replace } = world();
    replace(claim('10.2.0.0/16', '172.31.0.2'));
    assert.equal(publisher.publish(), true);
    assert.deepEqual(log.splice(0), ['add 10.2.0.0/16, known']);
    replace(claim('10.3.0.0/16', '172.31.0.2'));
    publisher.publish();
    assert.deepEqual(log, ['remove 10.2.0.0/16, known', 'add 10.3.0.0/16, known']);
  });

  test('does nothing and says so where nothing has changed', () => {
    const { log, publisher, published, replace } = world();
    assert.equal(publisher.publish(), false);
    replace(claim('10.2.0.0/16', '172.31.0.2'));
    publisher.publish();
    replace(claim('10.2.0.0/16', '172.31.0.2'));
    assert.equal(publisher.publish(), false);
    assert.equal(published.length, 1);
    assert.equal(log.length, 1);
  });

  test('touches only what has changed', () => {
    const { fib, log, publisher, published, replace } = world();
    replace(claim('10.2.0.0/16', '172.31.0.2'), claim('10.3.0.0/16', '172.31.0.3'));
    publisher.publish();
    log.length = 0;
    replace(claim('10.2.0.0/16', '172.31.0.2'), claim('10.3.0.0/16', '172.31.0.4'));
    publisher.publish();
    assert.deepEqual(log, ['add 10.3.0.0/16, known']);
    assert.deepEqual(published.at(-1), { durationMs: 0, set: 1, removed: 0 });
    assert.deepEqual(
      fib.peers().map((peer) => peer.address),
      [parseAddress('172.31.0.2'), parseAddress('172.31.0.4')],
    );
  });

  test('measures how long it took, on the clock it was given', () => {
    const { clock, publisher, published, replace } = world();
    const times = [100, 107.5];
    clock.nowMs = () => times.shift() ?? 0;
    replace(claim('10.2.0.0/16', '172.31.0.2'));
    publisher.publish();
    assert.equal(publisher.lastPublishMs, 7.5);
    assert.equal(published[0]!.durationMs, 7.5);
  });

  test('gives memory back that readers have passed also where nothing has changed', () => {
    const { fib, publisher, replace } = world();
    replace(claim('10.2.0.0/16', '172.31.0.2', '172.31.0.3'));
    publisher.publish();
    replace();
    publisher.publish();
    publisher.publish();
    assert.equal(fib.stats().retired, 0);
  });
});

describe('publishing our own CIDRs', () => {
  test('tells the FIB what is configured and claimed, joined, and only when it has changed', () => {
    const { fib, table, log, publisher } = world();
    table.reconfigure(
      { cluster: 'east', local: [parseCidr('10.1.0.0/24')], ownAddresses: [], underlay: null },
      0,
      0,
    );
    assert.equal(publisher.publish(), true);
    assert.equal(publisher.publish(), false);
    table.apply(SOURCE, { kind: 'replace', claims: [localClaim('10.1.1.0/24')] }, 0, 0);
    assert.equal(publisher.publish(), true);
    assert.equal(fib.find(parseAddress('10.1.1.9')), 'local');
    assert.equal(fib.stats().prefixes, 1);
    table.apply(SOURCE, { kind: 'replace', claims: [] }, 0, 0);
    publisher.publish();
    assert.equal(fib.find(parseAddress('10.1.1.9')), undefined);
    assert.equal(fib.find(parseAddress('10.1.0.9')), 'local');
    assert.deepEqual(log, [], 'the kernel leads none of it here');
  });

  test('lets a CIDR pass from us to another cluster and back', () => {
    const { fib, log, publisher, replace } = world();
    replace(localClaim('10.2.0.0/16'));
    publisher.publish();
    replace({ ...claim('10.2.0.0/16', '172.31.0.2'), id: 'west' });
    publisher.publish();
    assert.notEqual(fib.find(parseAddress('10.2.0.1')), 'local');
    assert.deepEqual(log, ['add 10.2.0.0/16, known']);
    replace(localClaim('10.2.0.0/16'));
    publisher.publish();
    assert.equal(fib.find(parseAddress('10.2.0.1')), 'local');
    assert.deepEqual(log.slice(1), ['remove 10.2.0.0/16, known']);
  });

  test('carries them with everything else when the routes of a change did not fit', () => {
    const { fib, ours, publisher, replace } = world(ARENA_BYTES_MIN);
    replace(...tooMany(), localClaim('10.200.0.0/16'));
    assert.throws(() => publisher.publish(), /FIB is full/);
    assert.deepEqual(ours, []);
    replace(claim('10.2.0.0/16', '172.31.0.2'), localClaim('10.200.0.0/16'));
    publisher.publish();
    assert.deepEqual(ours, ['10.200.0.0/16'], 'who announces it hears of it now');
    assert.equal(fib.find(parseAddress('10.200.0.1')), 'local');
    assert.equal(fib.stats().prefixes, 2);
  });
});

describe('a change that does not fit the FIB', () => {
  test('throws ISTHMUS_ERR_CAPACITY, leaves what was published, leads nothing new here, and is known to be missing', () => {
    const { fib, log, publisher, published, replace } = world(ARENA_BYTES_MIN);
    replace(claim('10.2.0.0/16', '172.31.0.2'));
    publisher.publish();
    replace(claim('10.2.0.0/16', '172.31.0.2'), ...tooMany().slice(1));
    assert.throws(
      () => publisher.publish(),
      (error: unknown) => error instanceof GatewayError && error.code === 'ISTHMUS_ERR_CAPACITY',
    );
    assert.equal(publisher.isBehind, true);
    assert.equal(published.length, 1);
    assert.equal(fib.stats().prefixes, 1);
    assert.notEqual(fib.find(parseAddress('10.2.0.1')), undefined);
    assert.deepEqual(log, ['add 10.2.0.0/16, known']);
  });

  test('is made up for by the next change that fits, which then carries everything', () => {
    const { fib, log, publisher, replace } = world(ARENA_BYTES_MIN);
    replace(claim('10.200.0.0/16', '172.31.0.2'), ...tooMany());
    assert.throws(() => publisher.publish());
    replace(claim('10.200.0.0/16', '172.31.0.2'), claim('10.201.0.0/16', '172.31.0.3'));
    assert.equal(publisher.publish(), true);
    assert.equal(publisher.isBehind, false);
    assert.deepEqual(log.filter((line) => line.startsWith('add')).sort(), [
      'add 10.200.0.0/16, known',
      'add 10.201.0.0/16, known',
    ]);
    assert.equal(fib.stats().prefixes, 2);
  });

  test('is tried again by the next publication though nothing has changed, because readers may have made room', () => {
    const { fib, publisher, replace } = world(ARENA_BYTES_MIN);
    enterEpoch(fib.words, 0);
    for (const from of [0, 3]) {
      replace(...tooMany().slice(from, from + 3));
      publisher.publish();
    }
    replace(...tooMany().slice(6, 9));
    assert.throws(() => publisher.publish(), /FIB is full/, 'the reader may still be in the first three');
    assert.throws(() => publisher.publish(), /FIB is full/, 'and it is not forgotten');
    leaveEpoch(fib.words, 0);
    assert.equal(publisher.publish(), true);
    assert.equal(publisher.isBehind, false);
    assert.equal(fib.stats().prefixes, 3);
    assert.equal(publisher.publish(), false);
  });
});
