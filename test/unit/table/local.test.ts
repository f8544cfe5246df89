import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatCidr, parseAddress, parseCidr } from '../../../src/base/address.ts';
import { Table } from '../../../src/table/table.ts';
import {
  changesOf,
  claim,
  eventsOf,
  HOLD_MS,
  learnedOf,
  localClaim,
  localOf,
  many,
  options,
  refusalsOf,
  routesOf,
  SETTINGS,
  tableWith,
} from './fixtures.ts';

const CONFIGURED = ['10.1.0.0/16', '10.96.0.0/16'];

describe('an own CIDR that a source claims', () => {
  it('joins those of the configuration, and is told once', () => {
    const table = tableWith();
    assert.deepEqual(table.takeChanges().local?.map(formatCidr), CONFIGURED);
    table.apply(
      'a',
      { kind: 'replace', claims: [localClaim('10.8.1.0/24'), localClaim('10.8.0.0/24')] },
      0,
      0,
    );
    const { set, removed, local } = table.takeChanges();
    assert.deepEqual([set, removed], [[], []]);
    assert.deepEqual(local?.map(formatCidr), ['10.1.0.0/16', '10.8.0.0/23', '10.96.0.0/16']);
    assert.equal(table.takeChanges().local, undefined);
    assert.equal(table.isLocal(parseAddress('10.8.1.255')), true);
    assert.equal(table.isLocal(parseAddress('10.8.2.0')), false);
    assert.deepEqual(routesOf(table), []);
    assert.equal(table.sources()[0]?.claims, 2);
  });

  it('is listed with what it is for and who says so, the weightiest use first', () => {
    const table = tableWith({ a: {}, b: { staleAfterMs: 1000 } });
    const claims = [
      localClaim('10.96.0.0/16', 'services', 'ServiceCIDR/kubernetes'),
      localClaim('10.8.0.0/16'),
    ];
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    table.apply(
      'b',
      {
        kind: 'replace',
        claims: [
          localClaim('10.8.0.0/16', 'routes', 'kernel:10.8.0.0/16'),
          localClaim('10.9.0.0/16', 'routes'),
        ],
      },
      0,
      0,
    );
    table.apply('b', { kind: 'stale', reason: 'away' }, 0, 0);
    const rows = table
      .localCidrs()
      .map(({ cidr, use, origins, stale }) => `${formatCidr(cidr)} ${use} ${origins.join(' ')} ${stale}`);
    assert.deepEqual(rows, [
      '10.1.0.0/16 configured config false',
      '10.96.0.0/16 services config a/ServiceCIDR/kubernetes false',
      '10.8.0.0/16 pods a/local:10.8.0.0/16 b/kernel:10.8.0.0/16 false',
      '10.9.0.0/16 routes b/local:10.9.0.0/16 true',
    ]);
    table.tick(1000, 0);
    assert.deepEqual(learnedOf(table), ['10.8.0.0/16', '10.96.0.0/16']);
    table.apply('b', { kind: 'fresh' }, 2000, 0);
    assert.deepEqual(learnedOf(table), ['10.8.0.0/16', '10.9.0.0/16', '10.96.0.0/16']);
  });

  it('is refused where nobody may have it', () => {
    const table = tableWith();
    const claims = ['0.0.0.0/0', '127.0.0.0/8', '8.0.0.0/7', '169.254.1.0/24'].map((cidr) =>
      localClaim(cidr),
    );
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    assert.deepEqual(refusalsOf(table), [
      'local:0.0.0.0/0 default-route',
      'local:127.0.0.0/8 martian',
      'local:8.0.0.0/7 too-short',
      'local:169.254.1.0/24 martian',
    ]);
    assert.deepEqual(localOf(table), CONFIGURED);
  });

  it('is held like any other claim when it goes with most of the others', () => {
    const table = tableWith();
    const claims = many(20).map(({ cidr }) => localClaim(formatCidr(cidr)));
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    table.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    assert.equal(learnedOf(table).length, 20);
    table.tick(HOLD_MS, 0);
    assert.deepEqual(localOf(table), CONFIGURED);
  });

  it('may lie around, in or on one of the configuration', () => {
    const table = tableWith();
    const claims = [localClaim('10.0.0.0/15'), localClaim('10.1.2.0/24'), localClaim('10.96.0.0/16')];
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    assert.deepEqual(localOf(table), ['10.0.0.0/15', '10.96.0.0/16']);
    table.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    assert.deepEqual(localOf(table), CONFIGURED);
  });

  it('is another claim when it becomes ours, or is for something else', () => {
    const table = tableWith();
    table.apply('a', { kind: 'replace', claims: [claim('east', '10.8.0.0/16', '', 'x')] }, 0, 0);
    assert.deepEqual(refusalsOf(table), ['x own-cluster']);
    table.apply('a', { kind: 'upsert', claims: [localClaim('10.8.0.0/16', 'pods', 'x')] }, 0, 0);
    assert.deepEqual(refusalsOf(table), []);
    table.apply('a', { kind: 'upsert', claims: [localClaim('10.8.0.0/16', 'services', 'x')] }, 0, 0);
    assert.equal(table.localCidrs().at(-1)?.use, 'services');
  });

  it('leaves with the source that was taken out of the configuration', () => {
    const table = tableWith();
    table.apply('a', { kind: 'replace', claims: [localClaim('10.8.0.0/16')] }, 0, 0);
    table.apply('b', { kind: 'replace', claims: [localClaim('10.8.0.0/16')] }, 0, 0);
    table.removeSource('a', 0, 0);
    assert.deepEqual(learnedOf(table), ['10.8.0.0/16']);
    table.removeSource('b', 0, 0);
    assert.deepEqual(localOf(table), CONFIGURED);
  });
});

describe('an own CIDR and a route', () => {
  it('refuses the route where the own CIDR around it was there first, and names who claims it', () => {
    const table = tableWith();
    table.apply(
      'a',
      { kind: 'replace', claims: [localClaim('10.8.0.0/16', 'pods', 'IPPool/default')] },
      0,
      0,
    );
    table.apply(
      'b',
      { kind: 'replace', claims: [claim('west', '10.8.3.0/24'), claim('west', '10.8.0.0/16')] },
      0,
      0,
    );
    assert.deepEqual(routesOf(table), []);
    assert.deepEqual(
      table.refused().map(({ reason, detail }) => `${reason}: ${detail}`),
      [
        'inside-local: 10.8.3.0/24 is inside 10.8.0.0/16, which is local (a/IPPool/default)',
        'inside-local: 10.8.0.0/16 is inside 10.8.0.0/16, which is local (a/IPPool/default)',
      ],
    );
    table.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.8.0.0/16 west', '10.8.3.0/24 west']);
    assert.deepEqual(refusalsOf(table), []);
  });

  it('refuses the own CIDR where a route in it was there first, and lets it in when that has gone', () => {
    const table = tableWith();
    table.apply('b', { kind: 'replace', claims: [claim('west', '10.8.3.0/24')] }, 0, 0);
    table.apply('a', { kind: 'replace', claims: [localClaim('10.8.0.0/16')] }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.8.3.0/24 west']);
    const detail = '10.8.0.0/16 holds 10.8.3.0/24 of west, which was there first';
    assert.deepEqual(
      table.refused().map((refusal) => `${refusal.id} ${refusal.reason}: ${refusal.detail}`),
      [`local:10.8.0.0/16 conflict: ${detail}`],
    );
    assert.deepEqual(table.conflicts(), [
      {
        cidr: parseCidr('10.8.0.0/16'),
        cluster: 'west',
        claimedBy: 'east',
        origins: ['a/local:10.8.0.0/16'],
        detail,
      },
    ]);
    assert.equal(table.counts().conflicts, 1);
    assert.ok(eventsOf(table).includes('conflict-began'));
    table.apply('b', { kind: 'replace', claims: [] }, 0, 0);
    assert.deepEqual(learnedOf(table), ['10.8.0.0/16']);
    assert.deepEqual([table.conflicts(), table.counts().conflicts, refusalsOf(table)], [[], 0, []]);
    assert.ok(eventsOf(table).includes('conflict-ended'));
  });

  it('refuses the own CIDR that is exactly a route', () => {
    const table = tableWith();
    table.apply('b', { kind: 'replace', claims: [claim('west', '10.8.0.0/16')] }, 0, 0);
    table.apply('a', { kind: 'replace', claims: [localClaim('10.8.0.0/16')] }, 0, 0);
    assert.equal(table.refused()[0]?.detail, '10.8.0.0/16 belongs to west, which was there first');
  });

  it('forgets a refused own CIDR that its source takes back', () => {
    const table = tableWith();
    table.apply('b', { kind: 'replace', claims: [claim('west', '10.8.0.0/16')] }, 0, 0);
    table.apply('a', { kind: 'replace', claims: [localClaim('10.8.0.0/16')] }, 0, 0);
    table.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    assert.deepEqual([table.conflicts(), refusalsOf(table)], [[], []]);
    table.apply('b', { kind: 'replace', claims: [] }, 0, 0);
    assert.deepEqual(localOf(table), CONFIGURED);
  });

  it('lets an own CIDR lie in a wider route, and shows it as a shadow', () => {
    const table = tableWith();
    table.apply('b', { kind: 'replace', claims: [claim('west', '10.0.0.0/8', '172.31.0.2')] }, 0, 0);
    table.apply('a', { kind: 'replace', claims: [localClaim('10.8.3.0/24')] }, 0, 0);
    assert.deepEqual(refusalsOf(table), []);
    assert.deepEqual(table.shadows(), [
      {
        cidr: parseCidr('10.8.3.0/24'),
        cluster: 'east',
        within: parseCidr('10.0.0.0/8'),
        withinCluster: 'west',
      },
    ]);
  });

  it('refuses a route all of whose addresses are ours in pieces, because joined they would hide it', () => {
    const table = tableWith();
    table.apply('b', { kind: 'replace', claims: [claim('west', '10.8.2.0/23')] }, 0, 0);
    changesOf(table);
    table.apply('a', { kind: 'upsert', claims: [localClaim('10.8.2.0/24')] }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.8.2.0/23 west']);
    table.apply('a', { kind: 'upsert', claims: [localClaim('10.8.3.0/24')] }, 0, 0);
    assert.deepEqual(changesOf(table), { set: [], removed: ['10.8.2.0/23'] });
    assert.deepEqual(refusalsOf(table), ['west:10.8.2.0/23 inside-local']);
    table.apply('a', { kind: 'remove', ids: ['local:10.8.3.0/24'] }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.8.2.0/23 west']);
  });

  it('decides in the order in which they came where both come at once', () => {
    for (const order of [1, -1]) {
      const table = tableWith();
      const claims = [localClaim('10.8.0.0/16'), claim('west', '10.8.3.0/24')];
      table.apply('a', { kind: 'replace', claims: order === 1 ? claims : claims.toReversed() }, 0, 0);
      assert.deepEqual(learnedOf(table), order === 1 ? ['10.8.0.0/16'] : []);
      assert.deepEqual(routesOf(table), order === 1 ? [] : ['10.8.3.0/24 west']);
    }
  });

  it('lets the configuration win over both', () => {
    const table = tableWith();
    table.apply('b', { kind: 'replace', claims: [claim('west', '10.8.3.0/24')] }, 0, 0);
    table.apply('a', { kind: 'replace', claims: [localClaim('10.8.0.0/16')] }, 0, 0);
    table.reconfigure({ ...SETTINGS, local: [parseCidr('10.8.3.0/24')] }, 0, 0);
    assert.deepEqual(refusalsOf(table), ['west:10.8.3.0/24 inside-local']);
    assert.deepEqual(learnedOf(table), ['10.8.0.0/16']);
    table.reconfigure({ ...SETTINGS, local: [] }, 0, 0);
    assert.deepEqual(localOf(table), ['10.8.0.0/16'], 'and who stands then stays');
  });

  it('is decided in the same way after a restart', () => {
    const table = tableWith();
    table.apply('b', { kind: 'replace', claims: [claim('west', '10.8.3.0/24')] }, 0, 0);
    const claims = [localClaim('10.8.0.0/16'), localClaim('10.9.0.0/16', 'services')];
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    table.apply('b', { kind: 'upsert', claims: [claim('west', '10.9.0.0/24')] }, 0, 0);
    const after = tableWith();
    after.restore(table.snapshot(), 0, 0);
    assert.deepEqual(learnedOf(after), ['10.9.0.0/16']);
    assert.deepEqual(routesOf(after), ['10.8.3.0/24 west']);
    assert.deepEqual(refusalsOf(after), ['local:10.8.0.0/16 conflict', 'west:10.9.0.0/24 inside-local']);
    assert.equal(after.localCidrs().at(-1)?.use, 'services');
    assert.equal(after.localCidrs().at(-1)?.stale, true);
  });
});

describe('many own CIDRs', () => {
  it('are taken up to the limit; one more is refused until there is room', () => {
    const table = new Table(SETTINGS, { localCidrs: 4 });
    table.addSource('a', options());
    const claims = ['10.8.0.0/16', '10.10.0.0/16', '10.12.0.0/16'].map((cidr) => localClaim(cidr));
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    assert.deepEqual(refusalsOf(table), ['local:10.12.0.0/16 limit']);
    table.apply('a', { kind: 'remove', ids: ['local:10.8.0.0/16'] }, 0, 0);
    assert.deepEqual(learnedOf(table), ['10.10.0.0/16', '10.12.0.0/16']);
    assert.deepEqual(refusalsOf(table), []);
    table.apply('a', { kind: 'upsert', claims: [localClaim('10.8.0.0/16')] }, 0, 0);
    table.reconfigure({ ...SETTINGS, local: [] }, 0, 0);
    assert.deepEqual(refusalsOf(table), [], 'the configuration made room');
  });

  it('find a route that came after the routes were put in order, however many came', () => {
    const table = tableWith();
    table.apply('a', { kind: 'upsert', claims: [localClaim('10.8.0.0/16')] }, 0, 0);
    table.apply('b', { kind: 'replace', claims: many(5000, 'west') }, 0, 0);
    table.apply('b', { kind: 'upsert', claims: [claim('west', '10.200.9.0/24')] }, 0, 0);
    const claims = ['10.119.0.0/16', '10.200.0.0/16', '10.201.0.0/16'].map((cidr) => localClaim(cidr));
    table.apply('a', { kind: 'upsert', claims }, 0, 0);
    table.apply('b', { kind: 'upsert', claims: [claim('west', '10.202.0.0/24')] }, 0, 0);
    table.apply('a', { kind: 'upsert', claims: [localClaim('10.202.0.0/16')] }, 0, 0);
    assert.deepEqual(refusalsOf(table), [
      'local:10.119.0.0/16 conflict',
      'local:10.200.0.0/16 conflict',
      'local:10.202.0.0/16 conflict',
    ]);
  });
});
