import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import { type Cidr, compareCidrs } from '../../../src/base/address.ts';
import { GatewayError } from '../../../src/base/errors.ts';
import { Prng } from '../../../src/base/prng.ts';
import { decodeSnapshot, sealSnapshot } from '../../../src/table/snapshot.ts';
import type { Table } from '../../../src/table/table.ts';
import { changesOf, claim, eventsOf, HOLD_MS, many, refusalsOf, routesOf, tableWith } from './fixtures.ts';

const HOUR_MS = 3_600_000;

/** A table with a conflict, a refusal, a priority and a claim of two gateways. */
function busyTable(): Table {
  const table = tableWith({ a: {}, b: { priority: 5 }, idle: {} });
  const claims = [
    claim('west', '10.2.0.0/16', '172.31.0.2 172.31.0.3*4'),
    claim('west', '10.1.2.0/24'),
    claim('west', '10.6.0.0/16', '10.7.0.1'),
  ];
  table.apply('b', { kind: 'replace', claims: [claim('north', '10.4.0.0/16')] }, 0, 100);
  table.apply('a', { kind: 'replace', claims }, 0, 200);
  table.apply(
    'b',
    { kind: 'upsert', claims: [claim('north', '10.2.0.0/16'), claim('north', '10.7.0.0/16')] },
    0,
    300,
  );
  table.apply('a', { kind: 'upsert', claims: [claim('west', '10.4.0.0/16')] }, 0, 400);
  return table;
}

function restored(text: string, wallMs = 1000): Table {
  const table = tableWith({ a: {}, b: { priority: 5 }, idle: {} });
  table.restore(text, 0, wallMs);
  return table;
}

const isStateError = (pattern: RegExp) => (thrown: unknown) =>
  thrown instanceof GatewayError && thrown.code === 'ISTHMUS_ERR_STATE' && pattern.test(thrown.message);

describe('a snapshot', () => {
  it('brings back the same routes, refusals and conflicts, with their times', () => {
    const before = busyTable();
    const after = restored(before.snapshot());
    assert.deepEqual(routesOf(before), ['10.2.0.0/16 west', '10.4.0.0/16 north', '10.6.0.0/16 west']);
    const fresh = Array.from(after.routes(), (route) => ({ ...route, stale: false }));
    assert.deepEqual(fresh.sort(byCidr), Array.from(before.routes()).sort(byCidr));
    assert.deepEqual(refusalsOf(after).sort(), refusalsOf(before).sort());
    assert.deepEqual(
      after
        .conflicts()
        .map(({ detail }) => detail)
        .sort(),
      before
        .conflicts()
        .map(({ detail }) => detail)
        .sort(),
    );
    assert.equal(changesOf(after).set.length, 3);
    assert.ok(eventsOf(after).includes('restored'));
  });

  it('is the same text again when taken from the restored table', () => {
    const text = busyTable().snapshot();
    assert.equal(
      restored(text)
        .snapshot()
        .replace(/"silentSinceMs":\d+/g, '"silentSinceMs":null')
        .slice(70),
      text.slice(70),
    );
  });

  it('resolves conflicts as before the restart, whichever source speaks first', () => {
    const after = restored(busyTable().snapshot());
    after.takeChanges();
    after.apply(
      'b',
      {
        kind: 'replace',
        claims: ['10.2.0.0/16', '10.4.0.0/16', '10.7.0.0/16'].map((cidr) => claim('north', cidr)),
      },
      0,
      0,
    );
    assert.deepEqual(changesOf(after), { set: [], removed: [] });
    assert.deepEqual(routesOf(after), ['10.2.0.0/16 west', '10.4.0.0/16 north', '10.6.0.0/16 west']);
  });

  it('leaves its sources restored until each speaks, and the idle one waiting', () => {
    const after = restored(busyTable().snapshot());
    assert.deepEqual(
      after.sources().map(({ state }) => state),
      ['restored', 'restored', 'waiting'],
    );
    assert.deepEqual(after.sources()[0]?.lastUpdateMs, 400);
    assert.ok([...after.routes()].every((route) => route.stale));
    after.apply('a', { kind: 'stale', reason: 'away' }, 0, 0);
    assert.deepEqual([after.sources()[0]?.state, after.sources()[0]?.reason], ['restored', 'away']);
    after.apply('a', { kind: 'fresh' }, 0, 0);
    assert.deepEqual(after.sources()[0]?.state, 'fresh');
  });

  it('leaves out the claims of sources that are gone, and says so', () => {
    const after = tableWith({ a: {} });
    after.restore(busyTable().snapshot(), 0, 0);
    assert.deepEqual(
      after.sources().map(({ name }) => name),
      ['a'],
    );
    assert.ok(after.events().some(({ message }) => /sources that are gone: b/.test(message)));
    assert.ok(routesOf(after).includes('10.4.0.0/16 west'), 'north went with its source');
  });

  it('counts the first replace after a restart against what was restored', () => {
    const before = tableWith();
    before.apply('a', { kind: 'replace', claims: many(30) }, 0, 0);
    const after = tableWith();
    after.restore(before.snapshot(), 0, 0);
    after.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    assert.equal(routesOf(after).length, 30);
    after.tick(HOLD_MS, 0);
    assert.equal(routesOf(after).length, 0);
  });

  it('remembers how long a source has been away', () => {
    const away = { a: { staleAfterMs: HOUR_MS } };
    const before = tableWith(away);
    before.apply('a', { kind: 'replace', claims: many(3) }, 0, 1_000_000);
    before.apply('a', { kind: 'stale', reason: 'away' }, 0, 2_000_000);
    const after = tableWith(away);
    after.restore(before.snapshot(), 50, 2_000_000 + HOUR_MS / 2);
    assert.equal(after.nextDeadlineMs(), 50 + HOUR_MS / 2);
    const early = tableWith(away);
    early.restore(before.snapshot(), 50, 7);
    assert.equal(early.nextDeadlineMs(), 50 + HOUR_MS, 'a clock that was set back takes nothing away');
  });

  it('may come only before any source spoke', () => {
    const table = tableWith();
    table.apply('a', { kind: 'fresh' }, 0, 0);
    assert.throws(() => table.restore(busyTable().snapshot(), 0, 0), /before any source speaks: a/);
  });
});

describe('a damaged snapshot', () => {
  it('is refused wherever one bit is flipped or the end is cut off', () => {
    const text = busyTable().snapshot();
    const prng = new Prng(2003);
    for (let i = 0; i < 2000; i++) {
      const at = prng.below(text.length);
      const flipped = String.fromCharCode(text.charCodeAt(at) ^ (1 << prng.below(7)));
      const damaged = i % 2 === 0 ? text.slice(0, at) : text.slice(0, at) + flipped + text.slice(at + 1);
      const table = tableWith({ a: {}, b: {} });
      assert.throws(
        () => table.restore(damaged, 0, 0),
        isStateError(/snapshot/),
        `seed 2003, round ${i}, at ${at}`,
      );
      assert.deepEqual(routesOf(table), []);
    }
  });

  it('is refused with what is wrong', () => {
    const text = busyTable().snapshot();
    assert.throws(() => decodeSnapshot(''), isStateError(/does not begin like/));
    assert.throws(
      () => decodeSnapshot(text.replace('"version":1', '"version":2')),
      isStateError(/has version 2; this gateway reads version 1/),
    );
    assert.throws(() => decodeSnapshot(text.trimEnd()), isStateError(/its end is missing/));
    assert.throws(
      () => decodeSnapshot(text.replace('north', 'south')),
      isStateError(/its checksum is [0-9a-f]{8}/),
    );
  });

  it('is refused when its checksum is right and its shape is not', () => {
    const content = decodeSnapshot(busyTable().snapshot());
    const wrong: [string, object][] = [
      ['no object', { ...content, sources: [null] }],
      ['a sequence that is no number', { ...content, sequence: 'x' }],
      ['a claim with host bits', withClaim(['x', 0x0a020001, 16, 'west', 0, 1, 1, 1])],
      ['a prefix length of 33', withClaim(['x', 0, 33, 'west', 0, 1, 1, 1])],
      ['a gateway list that is not there', withClaim(['x', 0x0a020000, 16, 'west', 99, 1, 1, 1])],
      ['a claim too short', withClaim(['x', 0x0a020000, 16, 'west', 0])],
      ['a place that is no number', withClaim(['x', 0x0a020000, 16, 'west', 0, null, 1, 1])],
      ['a weight of zero', { ...content, gatewayLists: [[[1, 0]]] }],
      ['an address beyond 32 bits', { ...content, gateways: [[2 ** 32, 1]] }],
      [
        'a time that is no number',
        { ...content, sources: [{ name: 'a', lastUpdateMs: 'x', silentSinceMs: null, claims: [] }] },
      ],
    ];
    for (const [what, value] of wrong) {
      assert.throws(
        () => decodeSnapshot(sealSnapshot(JSON.stringify(value))),
        isStateError(/another shape/),
        what,
      );
    }
    assert.deepEqual(decodeSnapshot(sealSnapshot(JSON.stringify(content))), content);
    function withClaim(row: unknown[]): object {
      return { ...content, sources: [{ name: 'a', lastUpdateMs: null, silentSinceMs: null, claims: [row] }] };
    }
  });
});

function byCidr(a: { cidr: Cidr }, b: { cidr: Cidr }): number {
  return compareCidrs(a.cidr, b.cidr);
}

test('a snapshot keeps IPv6 beside IPv4, and refuses an address that is none', () => {
  const table = tableWith({ a: {} });
  table.apply(
    'a',
    { kind: 'replace', claims: [claim('west', 'fd00:2::/48'), claim('west', '10.2.0.0/16')] },
    0,
    0,
  );
  const text = table.snapshot();
  assert.match(text, /"fd000002000000000000000000000000",48,"west"/);
  const again = tableWith({ a: {} });
  again.restore(text, 0, 0);
  assert.deepEqual(routesOf(again), ['10.2.0.0/16 west', 'fd00:2::/48 west']);
  for (const wrong of ['fd000002000000000000000000000001', 'fd', 'gd000002000000000000000000000000']) {
    const content = JSON.stringify(decodeSnapshot(text)).replace('fd000002000000000000000000000000', wrong);
    assert.throws(() => decodeSnapshot(sealSnapshot(content)), isStateError(/another shape/));
  }
});
