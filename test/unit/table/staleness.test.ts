import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseCidr } from '../../../src/base/address.ts';
import { changesOf, claim, eventsOf, many, refusalsOf, routesOf, tableWith } from './fixtures.ts';

const WEST = parseCidr('10.2.0.0/16');
const HOUR_MS = 3_600_000;

describe('staleness', () => {
  it('keeps the claims of a source that is away, for ever by default, and shows it', () => {
    const table = tableWith();
    assert.deepEqual(table.sources()[0], { name: 'a', state: 'waiting', claims: 0, refused: 0 });
    table.apply('a', { kind: 'replace', claims: [claim('west', '10.2.0.0/16')] }, 0, 1000);
    table.takeChanges();
    table.apply('a', { kind: 'stale', reason: 'connection refused' }, 1, 2000);
    assert.deepEqual(table.sources()[0], {
      name: 'a',
      state: 'stale',
      reason: 'connection refused',
      claims: 1,
      refused: 0,
      lastUpdateMs: 1000,
    });
    assert.equal(table.route(WEST)?.stale, true);
    table.tick(Number.MAX_SAFE_INTEGER, 0);
    assert.equal(table.nextDeadlineMs(), undefined);
    table.apply('a', { kind: 'fresh' }, 2, 3000);
    assert.equal(table.route(WEST)?.stale, false);
    assert.deepEqual(table.sources()[0], {
      name: 'a',
      state: 'fresh',
      claims: 1,
      refused: 0,
      lastUpdateMs: 3000,
    });
    assert.deepEqual(changesOf(table), { set: [], removed: [] });
    assert.deepEqual(eventsOf(table), ['source-stale', 'source-fresh']);
  });

  it('is told again only with another reason', () => {
    const table = tableWith();
    for (const reason of ['x', 'x', 'y']) table.apply('a', { kind: 'stale', reason }, 0, 0);
    assert.deepEqual(eventsOf(table), ['source-stale', 'source-stale']);
  });

  it('calls a route stale only when all the sources behind it are', () => {
    const table = tableWith();
    for (const name of ['a', 'b'])
      table.apply(name, { kind: 'replace', claims: [claim('west', '10.2.0.0/16')] }, 0, 0);
    table.apply('a', { kind: 'stale', reason: 'away' }, 0, 0);
    assert.equal(table.route(WEST)?.stale, false);
    table.apply('b', { kind: 'stale', reason: 'away' }, 0, 0);
    assert.equal(table.route(WEST)?.stale, true);
  });

  it('withdraws the claims when staleAfter has passed, and has them back when the source says that nothing changed', () => {
    const table = tableWith({ a: { staleAfterMs: HOUR_MS } });
    table.apply('a', { kind: 'replace', claims: many(20) }, 0, 0);
    table.apply('a', { kind: 'stale', reason: 'away' }, 100, 0);
    table.apply('a', { kind: 'stale', reason: 'still away' }, 5000, 0);
    assert.equal(table.nextDeadlineMs(), 100 + HOUR_MS, 'counted from the first word of it');
    table.tick(99 + HOUR_MS, 0);
    assert.equal(routesOf(table).length, 20);
    table.takeChanges();
    table.tick(100 + HOUR_MS, 0);
    assert.equal(changesOf(table).removed.length, 20);
    assert.equal(table.sources()[0]?.claims, 20, 'withdrawn, not forgotten');
    assert.equal(table.nextDeadlineMs(), undefined);
    assert.ok(table.events().some(({ level, event }) => level === 'error' && event === 'source-expired'));
    table.apply('a', { kind: 'fresh' }, 2 * HOUR_MS, 0);
    assert.equal(changesOf(table).set.length, 20);
  });

  it('has an expired source back by a replace or a delta just as well', () => {
    for (const kind of ['replace', 'upsert'] as const) {
      const table = tableWith({ a: { staleAfterMs: HOUR_MS } });
      table.apply('a', { kind: 'replace', claims: many(3) }, 0, 0);
      table.apply('a', { kind: 'stale', reason: 'away' }, 0, 0);
      table.tick(HOUR_MS, 0);
      assert.deepEqual(routesOf(table), []);
      table.apply('a', { kind, claims: many(4).slice(1) }, HOUR_MS, 0);
      assert.equal(routesOf(table).length, kind === 'replace' ? 3 : 4);
    }
  });

  it('does not judge the claims of an expired source back to life', () => {
    const table = tableWith({ a: { staleAfterMs: HOUR_MS } });
    table.apply('a', { kind: 'replace', claims: many(3) }, 0, 0);
    table.apply('a', { kind: 'stale', reason: 'away' }, 0, 0);
    table.tick(HOUR_MS, 0);
    table.reconfigure({ cluster: 'x', local: [], ownAddresses: [], underlay: null }, HOUR_MS, 0);
    assert.deepEqual([routesOf(table), refusalsOf(table)], [[], []]);
  });

  it('drops what was held when the source expires: it had been withdrawn', () => {
    const table = tableWith({ a: { staleAfterMs: HOUR_MS } });
    table.apply('a', { kind: 'replace', claims: many(20) }, 0, 0);
    table.apply('a', { kind: 'replace', claims: many(2) }, 0, 0);
    table.apply('a', { kind: 'stale', reason: 'away' }, 0, 0);
    table.tick(HOUR_MS, 0);
    table.apply('a', { kind: 'fresh' }, HOUR_MS, 0);
    assert.equal(routesOf(table).length, 2);
  });

  it('shows a source that is stale in part, and never lets it expire', () => {
    const table = tableWith({ a: { staleAfterMs: HOUR_MS } });
    table.apply('a', { kind: 'replace', claims: many(3), stale: 'west.yaml:1:1: broken' }, 0, 0);
    assert.deepEqual(
      [table.sources()[0]?.state, table.sources()[0]?.reason],
      ['stale', 'west.yaml:1:1: broken'],
    );
    table.apply('a', { kind: 'upsert', claims: many(4), stale: 'west.yaml:1:1: broken' }, 0, 0);
    table.apply('a', { kind: 'remove', ids: [many(1)[0]?.id ?? ''], stale: 'west.yaml:1:1: broken' }, 0, 0);
    assert.deepEqual(eventsOf(table), ['source-stale']);
    assert.equal(table.nextDeadlineMs(), undefined);
    table.tick(10 * HOUR_MS, 0);
    assert.equal(routesOf(table).length, 3);
    table.apply('a', { kind: 'stale', reason: 'nothing is readable' }, 0, 0);
    assert.equal(table.nextDeadlineMs(), HOUR_MS, 'now it is away');
    table.apply('a', { kind: 'replace', claims: many(3) }, 0, 0);
    assert.equal(table.sources()[0]?.state, 'fresh');
  });
});
