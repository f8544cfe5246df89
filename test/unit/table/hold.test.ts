import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatCidr, parseAddress } from '../../../src/base/address.ts';
import type { Table } from '../../../src/table/table.ts';
import { changesOf, claim, eventsOf, HOLD_MS, many, tableWith } from './fixtures.ts';

const heldOf = (table: Table) => table.sources()[0]?.held?.claims ?? 0;

function tableOf(count: number): Table {
  const table = tableWith();
  table.apply('a', { kind: 'replace', claims: many(count) }, 0, 0);
  table.takeChanges();
  table.events();
  return table;
}

describe('the hold of a mass withdrawal', () => {
  it('keeps what a replace withdraws when it is more than half and more than ten, until its time has passed', () => {
    const table = tableOf(30);
    table.apply('a', { kind: 'replace', claims: many(14) }, 100, 5000);
    assert.deepEqual(changesOf(table), { set: [], removed: [] });
    assert.deepEqual(table.sources()[0]?.held, { claims: 16, untilMs: 5000 + HOLD_MS });
    const [event, ...others] = table.events();
    assert.deepEqual([event?.level, event?.event, others], ['error', 'hold-began', []]);
    assert.match(event?.message ?? '', /16 of its 30 claims/);
    assert.equal(table.nextDeadlineMs(), 100 + HOLD_MS);
    table.tick(99 + HOLD_MS, 0);
    assert.deepEqual(changesOf(table), { set: [], removed: [] });
    table.tick(100 + HOLD_MS, 0);
    assert.equal(changesOf(table).removed.length, 16);
    assert.deepEqual(eventsOf(table), ['hold-applied']);
    assert.deepEqual([heldOf(table), table.nextDeadlineMs(), table.counts().routes], [0, undefined, 14]);
  });

  it('takes exactly half at once', () => {
    const table = tableOf(30);
    table.apply('a', { kind: 'replace', claims: many(15) }, 0, 0);
    assert.equal(changesOf(table).removed.length, 15);
    assert.deepEqual(eventsOf(table), []);
  });

  it('takes ten at once, however few remain, and holds eleven', () => {
    const ten = tableOf(10);
    ten.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    assert.equal(changesOf(ten).removed.length, 10);
    const eleven = tableOf(11);
    eleven.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    assert.deepEqual([changesOf(eleven).removed.length, heldOf(eleven)], [0, 11]);
  });

  it('lets additions and changes of the same replace through at once', () => {
    const table = tableOf(30);
    const changed = many(3, 'west', '172.31.0.9');
    table.apply('a', { kind: 'replace', claims: [...changed, claim('north', '10.7.0.0/16')] }, 0, 0);
    const { set, removed } = changesOf(table);
    assert.deepEqual([set.length, set.includes('10.7.0.0/16 north'), removed], [4, true, []]);
    assert.equal(heldOf(table), 27);
  });

  it('ends when the claims come back, and touches no route', () => {
    const table = tableOf(30);
    table.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    table.apply('a', { kind: 'replace', claims: many(28) }, 10, 10);
    const { set, removed } = changesOf(table);
    assert.deepEqual([set, removed.length, heldOf(table)], [[], 2, 0]);
    assert.deepEqual(eventsOf(table), ['hold-began', 'hold-ended']);
    table.tick(10 * HOLD_MS, 0);
    assert.equal(table.counts().routes, 28);
  });

  it('measures each later replace against all that stood, keeps the first deadline, and is told once', () => {
    const table = tableOf(40);
    table.apply('a', { kind: 'replace', claims: many(4) }, 0, 0);
    table.apply('a', { kind: 'replace', claims: many(2) }, HOLD_MS / 2, 0);
    assert.deepEqual(
      [changesOf(table).removed.length, heldOf(table), table.nextDeadlineMs()],
      [0, 38, HOLD_MS],
    );
    assert.deepEqual(eventsOf(table), ['hold-began']);
    table.tick(HOLD_MS, 0);
    assert.equal(changesOf(table).removed.length, 38);
  });

  it('ends for the claims that an upsert brings back', () => {
    const table = tableOf(12);
    table.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    table.apply('a', { kind: 'upsert', claims: many(5) }, 0, 0);
    assert.equal(heldOf(table), 7);
    table.apply('a', { kind: 'upsert', claims: many(12) }, 0, 0);
    assert.deepEqual([heldOf(table), table.nextDeadlineMs()], [0, undefined]);
    assert.deepEqual(eventsOf(table), ['hold-began', 'hold-ended']);
  });

  it('ends for a claim whose CIDR a claim of another name takes over, and for no other', () => {
    const table = tableOf(12);
    table.apply('a', { kind: 'remove', ids: many(12).map(({ id }) => id) }, 0, 0);
    const [first, second] = many(2);
    assert.ok(first !== undefined && second !== undefined);
    const other = [{ address: parseAddress('172.31.9.9'), weight: 1 }];
    table.apply('a', { kind: 'upsert', claims: [{ ...first, id: 'successor', gateways: other }] }, 1, 1);
    assert.equal(heldOf(table), 11);
    assert.deepEqual(table.route(first.cidr)?.gateways, other);
    assert.deepEqual(table.route(second.cidr)?.gateways, second.gateways);
    assert.deepEqual(changesOf(table).removed, []);
  });

  it('does not hold claims whose CIDR the source still mentions: a renamed file or cluster is a wish', () => {
    const table = tableOf(30);
    const renamed = many(30).map((one) => ({ ...one, id: `renamed-${formatCidr(one.cidr)}` }));
    table.apply('a', { kind: 'replace', claims: renamed }, 0, 0);
    assert.deepEqual([changesOf(table), heldOf(table), eventsOf(table)], [{ set: [], removed: [] }, 0, []]);
    table.apply('a', { kind: 'replace', claims: many(30, 'west2') }, 0, 0);
    assert.equal(changesOf(table).set.length, 30);
  });

  it('holds removals by delta from the one on that makes them a mass, counted over the time of a hold', () => {
    const table = tableOf(20);
    const ids = many(20).map(({ id }) => id);
    for (const id of ids.slice(0, 10)) table.apply('a', { kind: 'remove', ids: [id] }, 0, 0);
    assert.deepEqual([changesOf(table).removed.length, heldOf(table)], [10, 0]);
    table.apply('a', { kind: 'remove', ids: ids.slice(10, 12) }, 1, 1);
    table.apply('a', { kind: 'remove', ids: ids.slice(11, 14) }, 2, 2);
    assert.deepEqual([changesOf(table).removed.length, heldOf(table)], [0, 4]);
    assert.deepEqual(eventsOf(table), ['hold-began']);
    table.tick(1 + HOLD_MS, 0);
    assert.equal(changesOf(table).removed.length, 4);
  });

  it('forgets removals by delta that are longer ago', () => {
    const table = tableOf(40);
    const ids = many(40).map(({ id }) => id);
    table.apply('a', { kind: 'remove', ids: ids.slice(0, 15) }, 0, 0);
    table.apply('a', { kind: 'remove', ids: ids.slice(15, 27) }, HOLD_MS, 0);
    assert.deepEqual([changesOf(table).removed.length, heldOf(table)], [27, 0]);
  });

  it('is off where its time is zero', () => {
    const table = tableWith({ a: { holdMs: 0 } });
    table.apply('a', { kind: 'replace', claims: many(100) }, 0, 0);
    table.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    assert.equal(table.counts().routes, 0);
    table.apply('a', { kind: 'replace', claims: many(100) }, 0, 0);
    table.apply('a', { kind: 'remove', ids: many(100).map(({ id }) => id) }, 0, 0);
    assert.equal(table.counts().routes, 0);
  });

  it('does not run out while the source is away, and starts again with it', () => {
    const table = tableOf(30);
    table.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    table.apply('a', { kind: 'stale', reason: 'unreachable' }, 10, 10);
    assert.equal(table.nextDeadlineMs(), undefined);
    table.tick(10 * HOLD_MS, 0);
    assert.equal(table.counts().routes, 30);
    table.apply('a', { kind: 'fresh' }, 20 * HOLD_MS, 0);
    assert.equal(table.nextDeadlineMs(), 21 * HOLD_MS);
    table.tick(21 * HOLD_MS, 0);
    assert.equal(table.counts().routes, 0);
  });

  it('runs out also while a part of the source is stale', () => {
    const table = tableOf(30);
    table.apply('a', { kind: 'replace', claims: many(2), stale: 'one file is broken' }, 0, 0);
    table.tick(HOLD_MS, 0);
    assert.equal(table.counts().routes, 2);
  });

  it('goes with its source', () => {
    const table = tableOf(30);
    table.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    table.removeSource('a', 0, 0);
    assert.equal(table.counts().routes, 0);
  });
});
