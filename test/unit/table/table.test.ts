import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatCidr, parseAddress, parseCidr } from '../../../src/base/address.ts';
import { EVENTS_MAX } from '../../../src/table/limits.ts';
import {
  changesOf,
  claim,
  eventsOf,
  gateway,
  many,
  options,
  refusalsOf,
  routesOf,
  tableWith,
} from './fixtures.ts';

const WEST = parseCidr('10.2.0.0/16');

describe('routes', () => {
  it('says what made a route, since when, and with which gateways', () => {
    const table = tableWith();
    table.apply(
      'a',
      { kind: 'replace', claims: [claim('west', '10.2.0.0/16', '172.31.0.3*2 172.31.0.2', 'x')] },
      5,
      1000,
    );
    assert.deepEqual(table.route(WEST), {
      cidr: WEST,
      cluster: 'west',
      gateways: [gateway('172.31.0.2'), gateway('172.31.0.3*2')],
      origins: ['a/x'],
      stale: false,
      sinceMs: 1000,
    });
    assert.equal(table.route(parseCidr('10.3.0.0/16')), undefined);
    assert.deepEqual([...table.routes()], [table.route(WEST)]);
  });

  it('merges the gateways of several claims by address, with the largest weight', () => {
    const table = tableWith();
    table.apply(
      'a',
      { kind: 'replace', claims: [claim('west', '10.2.0.0/16', '172.31.0.2*5 172.31.0.3', 'x')] },
      0,
      0,
    );
    table.apply(
      'b',
      { kind: 'replace', claims: [claim('west', '10.2.0.0/16', '172.31.0.4 172.31.0.3*7 172.31.0.2', 'y')] },
      0,
      0,
    );
    const route = table.route(WEST);
    assert.deepEqual(route?.gateways, [
      gateway('172.31.0.2*5'),
      gateway('172.31.0.3*7'),
      gateway('172.31.0.4'),
    ]);
    assert.deepEqual(route?.origins, ['a/x', 'b/y']);
    assert.deepEqual(refusalsOf(table), []);
  });

  it('merges a gateway that one claim names twice', () => {
    const table = tableWith();
    table.apply(
      'a',
      { kind: 'replace', claims: [claim('west', '10.2.0.0/16', '172.31.0.2 172.31.0.2*4')] },
      0,
      0,
    );
    assert.deepEqual(table.route(WEST)?.gateways, [gateway('172.31.0.2*4')]);
  });

  it('lets only the sources of the highest priority give gateways, and the others when those are gone', () => {
    const table = tableWith({ a: { priority: 0 }, b: { priority: 10 } });
    table.apply('a', { kind: 'replace', claims: [claim('west', '10.2.0.0/16', '172.31.0.2', 'x')] }, 0, 0);
    table.apply('b', { kind: 'replace', claims: [claim('west', '10.2.0.0/16', '172.31.0.3', 'y')] }, 0, 0);
    assert.deepEqual(table.route(WEST)?.origins, ['b/y']);
    table.setSourceOptions('a', options({ priority: 20 }), 0, 0);
    assert.deepEqual(table.route(WEST)?.origins, ['a/x']);
    table.removeSource('a', 0, 0);
    assert.deepEqual(table.route(WEST)?.gateways, [gateway('172.31.0.3')]);
    table.removeSource('b', 0, 0);
    assert.deepEqual(routesOf(table), []);
    assert.deepEqual(table.sources(), []);
  });

  it('lists the routes that hold an address, longest first', () => {
    const table = tableWith();
    const claims = [
      claim('west', '10.2.0.0/16'),
      claim('west', '10.2.3.0/24'),
      claim('north', '10.0.0.0/8'),
      claim('west', '10.2.4.0/24'),
    ];
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    const found = table.candidates(parseAddress('10.2.3.4')).map(({ cidr }) => formatCidr(cidr));
    assert.deepEqual(found, ['10.2.3.0/24', '10.2.0.0/16', '10.0.0.0/8']);
    assert.deepEqual(table.candidates(parseAddress('192.0.2.1')), []);
  });
});

describe('changes', () => {
  it('never has a route that did not change, however it is said again', () => {
    const table = tableWith();
    const claims = [claim('west', '10.2.0.0/16', '172.31.0.2 172.31.0.3'), claim('west', '10.3.0.0/16')];
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    assert.deepEqual(changesOf(table), { set: ['10.2.0.0/16 west', '10.3.0.0/16 west'], removed: [] });
    const again = [
      claim('west', '10.3.0.0/16'),
      claim('west', '10.2.0.0/16', '172.31.0.3 172.31.0.2'),
      claim('north', '10.4.0.0/16'),
    ];
    table.apply('a', { kind: 'replace', claims: again }, 0, 0);
    assert.deepEqual(changesOf(table), { set: ['10.4.0.0/16 north'], removed: [] });
    table.apply(
      'b',
      { kind: 'replace', claims: [claim('west', '10.3.0.0/16', '172.31.0.2', 'other')] },
      0,
      0,
    );
    assert.deepEqual(
      changesOf(table),
      { set: [], removed: [] },
      'another origin is no change for the packet path',
    );
  });

  it('is empty after a change and its reversal', () => {
    const table = tableWith();
    const west = claim('west', '10.2.0.0/16');
    table.apply('a', { kind: 'replace', claims: [west] }, 0, 0);
    table.takeChanges();
    table.apply('a', { kind: 'upsert', claims: [claim('west', '10.2.0.0/16', '172.31.0.9')] }, 0, 0);
    table.apply('a', { kind: 'upsert', claims: [claim('west', '10.3.0.0/16')] }, 0, 0);
    table.apply('a', { kind: 'replace', claims: [west] }, 0, 0);
    assert.deepEqual(changesOf(table), { set: [], removed: [] });
    table.apply('a', { kind: 'remove', ids: [west.id] }, 0, 0);
    table.apply('a', { kind: 'upsert', claims: [west] }, 0, 0);
    assert.deepEqual(changesOf(table), { set: [], removed: [] });
  });

  it('has a changed weight, a new cluster and a removal', () => {
    const table = tableWith();
    const claims = ['10.2.0.0/16', '10.3.0.0/16', '10.4.0.0/16'].map((cidr) => claim('west', cidr));
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    table.takeChanges();
    const next = [claim('west', '10.2.0.0/16', '172.31.0.2*2'), claim('north', '10.3.0.0/16')];
    table.apply('a', { kind: 'replace', claims: next }, 0, 0);
    const { set, removed } = changesOf(table);
    assert.deepEqual(set.sort(), ['10.2.0.0/16 west', '10.3.0.0/16 north']);
    assert.deepEqual(removed, ['10.4.0.0/16']);
  });

  it('takes the last of two claims with one id', () => {
    const table = tableWith();
    table.apply(
      'a',
      {
        kind: 'replace',
        claims: [
          claim('west', '10.2.0.0/16', '172.31.0.2', 'x'),
          claim('west', '10.3.0.0/16', '172.31.0.2', 'x'),
        ],
      },
      0,
      0,
    );
    assert.deepEqual(routesOf(table), ['10.3.0.0/16 west']);
    assert.equal(table.sources()[0]?.claims, 1);
  });

  it('ignores the removal of what is not there', () => {
    const table = tableWith();
    table.apply('a', { kind: 'replace', claims: [claim('west', '10.2.0.0/16')] }, 0, 0);
    table.takeChanges();
    table.apply('a', { kind: 'remove', ids: ['nobody'] }, 0, 0);
    table.apply('b', { kind: 'remove', ids: ['west:10.2.0.0/16'] }, 0, 0);
    assert.deepEqual(changesOf(table), { set: [], removed: [] });
  });
});

describe('conflicts', () => {
  const west = claim('west', '10.2.0.0/16', '172.31.0.2');
  const north = claim('north', '10.2.0.0/16', '172.31.0.3');

  it('leaves the CIDR to the cluster that was there first, whatever the other says how often', () => {
    const table = tableWith({ a: { priority: 0 }, b: { priority: 99 } });
    table.apply('a', { kind: 'replace', claims: [west] }, 0, 0);
    table.takeChanges();
    for (let i = 0; i < 5; i++) {
      table.apply('b', { kind: 'replace', claims: [north] }, 0, 0);
      table.apply(
        'b',
        { kind: 'replace', claims: [{ ...north, gateways: [gateway(`172.31.1.${i}`)] }] },
        0,
        0,
      );
      table.apply('a', { kind: 'replace', claims: [west] }, 0, 0);
    }
    assert.deepEqual(changesOf(table), { set: [], removed: [] });
    assert.deepEqual(refusalsOf(table), ['north:10.2.0.0/16 conflict']);
    const [conflict, ...others] = table.conflicts();
    assert.deepEqual(others, []);
    assert.deepEqual(
      [conflict?.cluster, conflict?.claimedBy, conflict?.origins],
      ['west', 'north', ['b/north:10.2.0.0/16']],
    );
    assert.match(conflict?.detail ?? '', /belongs to west.*north claims it too/);
    const events = table.events().filter(({ event }) => event === 'conflict-began');
    assert.equal(events.length, 1, 'begun once, told once');
    assert.match(events[0]?.message ?? '', /west.*north/);
  });

  it('passes the CIDR on when the first goes, and does not give it back', () => {
    const table = tableWith();
    table.apply('a', { kind: 'replace', claims: [west] }, 0, 10);
    table.apply('b', { kind: 'replace', claims: [north] }, 0, 20);
    table.takeChanges();
    table.events();
    table.apply('a', { kind: 'remove', ids: [west.id] }, 0, 30);
    assert.deepEqual(changesOf(table), { set: ['10.2.0.0/16 north'], removed: [] });
    assert.equal(table.route(WEST)?.sinceMs, 30);
    assert.deepEqual([table.conflicts(), refusalsOf(table)], [[], []]);
    assert.ok(eventsOf(table).includes('conflict-ended'));
    table.apply('a', { kind: 'upsert', claims: [west] }, 0, 40);
    assert.deepEqual(changesOf(table), { set: [], removed: [] });
    assert.deepEqual(refusalsOf(table), ['west:10.2.0.0/16 conflict']);
  });

  it('keeps the place of a cluster whose claim gets another id in the same update', () => {
    const table = tableWith();
    table.apply('a', { kind: 'replace', claims: [west] }, 0, 0);
    table.apply('b', { kind: 'replace', claims: [north] }, 0, 0);
    table.apply('a', { kind: 'replace', claims: [{ ...west, id: 'renamed' }] }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.2.0.0/16 west']);
  });

  it('takes the place of a claim that is refused: it comes back as the last', () => {
    const table = tableWith();
    table.apply('a', { kind: 'replace', claims: [west] }, 0, 0);
    table.apply('b', { kind: 'replace', claims: [north] }, 0, 0);
    table.apply('a', { kind: 'replace', claims: [{ ...west, gateways: [] }] }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.2.0.0/16 north']);
    table.apply('a', { kind: 'replace', claims: [west] }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.2.0.0/16 north'], 'nothing flaps');
  });

  it('lists each of several clusters that wait', () => {
    const table = tableWith({ a: {}, b: {}, c: {} });
    table.apply('a', { kind: 'replace', claims: [west] }, 0, 0);
    table.apply('b', { kind: 'replace', claims: [north] }, 0, 0);
    table.apply('c', { kind: 'replace', claims: [claim('south', '10.2.0.0/16')] }, 0, 0);
    assert.deepEqual(
      table.conflicts().map(({ claimedBy }) => claimedBy),
      ['north', 'south'],
    );
    assert.equal(table.counts().conflicts, 2);
  });

  it('names ten conflicts of one update and counts the rest', () => {
    const table = tableWith();
    table.apply('a', { kind: 'replace', claims: many(30) }, 0, 0);
    table.apply('b', { kind: 'replace', claims: many(30, 'north') }, 0, 0);
    const began = table.events().filter(({ event }) => event === 'conflict-began');
    assert.equal(began.length, 11);
    assert.match(began.at(-1)?.message ?? '', /20 more/);
    assert.equal(table.conflicts().length, 30);
  });
});

describe('shadows', () => {
  it('are more specific prefixes of another cluster, and only those', () => {
    const table = tableWith();
    const claims = [
      claim('west', '10.2.0.0/16'),
      claim('north', '10.2.3.0/24'),
      claim('north', '10.2.3.128/25'),
      claim('west', '10.2.4.0/24'),
      claim('south', '10.2.3.130/32'),
    ];
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    const text = () =>
      table
        .shadows()
        .map((s) => `${formatCidr(s.cidr)} ${s.cluster} < ${formatCidr(s.within)} ${s.withinCluster}`);
    assert.deepEqual(text(), [
      '10.2.3.0/24 north < 10.2.0.0/16 west',
      '10.2.3.130/32 south < 10.2.3.128/25 north',
    ]);
    assert.equal(table.counts().shadows, 2);
    table.apply('a', { kind: 'remove', ids: ['west:10.2.0.0/16'] }, 0, 0);
    assert.deepEqual(text(), ['10.2.3.130/32 south < 10.2.3.128/25 north']);
  });
});

describe('events', () => {
  it('are kept up to a limit, and what is lost is counted', () => {
    const table = tableWith();
    for (let i = 0; i < EVENTS_MAX; i++) table.apply('a', { kind: 'stale', reason: `reason ${i}` }, 0, 0);
    assert.equal(table.events().length, EVENTS_MAX);
    for (let i = 0; i < EVENTS_MAX + 1; i++) table.apply('a', { kind: 'stale', reason: `again ${i}` }, 0, 0);
    assert.equal(table.events().at(-1)?.event, 'events-lost');
    assert.deepEqual(table.events(), []);
  });
});
