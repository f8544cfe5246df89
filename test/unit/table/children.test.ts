import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Table } from '../../../src/table/table.ts';
import { claim, options, refusalsOf, routesOf, tableWith } from './fixtures.ts';

const CHILD = 'a/west';

/** `a` has found `a/west`. */
function family(): Table {
  const table = tableWith();
  table.apply('a', { kind: 'replace', claims: [claim('north', '10.4.0.0/16')] }, 0, 0);
  table.addSource(CHILD, options({ priority: 3 }), 'a');
  table.apply(CHILD, { kind: 'replace', claims: [claim('west', '10.2.0.0/16')] }, 0, 0);
  return table;
}

describe('a source that another one found', () => {
  it('leaves with it, in one step', () => {
    const table = family();
    assert.deepEqual(table.children('a'), [CHILD]);
    assert.deepEqual(table.children('b'), []);
    table.removeSource('a', 0, 0);
    assert.deepEqual(routesOf(table), []);
    assert.deepEqual(
      table.sources().map(({ name }) => name),
      ['b'],
    );
  });

  it('leaves alone too', () => {
    const table = family();
    table.removeSource(CHILD, 0, 0);
    assert.deepEqual(routesOf(table), ['10.4.0.0/16 north']);
    assert.deepEqual(table.children('a'), []);
  });

  it('comes back from a snapshot with its parent, restored, with the options of its parent', () => {
    const after = tableWith({ a: { staleAfterMs: 500 }, b: {} });
    after.restore(family().snapshot(), 0, 0);
    assert.deepEqual(after.children('a'), [CHILD]);
    assert.deepEqual(routesOf(after), ['10.2.0.0/16 west', '10.4.0.0/16 north']);
    const restored = after.sources().find(({ name }) => name === CHILD);
    assert.equal(restored?.state, 'restored');
    after.apply('a', { kind: 'fresh' }, 100, 100);
    after.tick(500, 500);
    assert.deepEqual(
      routesOf(after),
      ['10.4.0.0/16 north'],
      'nobody was heard of it for as long as its parent says',
    );
    const again = tableWith();
    again.restore(after.snapshot(), 0, 0);
    assert.deepEqual(again.children('a'), [CHILD], 'also from the snapshot of who never heard of it');
  });

  it('stays away when its parent is gone, even where a source has the beginning of its name', () => {
    const text = family().snapshot();
    for (const sources of [{ b: {} }, { 'a/w': {}, b: {} }]) {
      const after = tableWith(sources);
      after.restore(text, 0, 0);
      assert.deepEqual(routesOf(after), []);
      assert.equal(after.sources().length, Object.keys(sources).length);
    }
  });

  it('says again what it said before the restart, and nothing changes', () => {
    const after = tableWith();
    after.restore(family().snapshot(), 0, 0);
    after.takeChanges();
    after.apply(CHILD, { kind: 'replace', claims: [claim('west', '10.2.0.0/16')] }, 0, 0);
    assert.deepEqual(after.takeChanges().set, []);
    assert.deepEqual(refusalsOf(after), []);
  });
});
