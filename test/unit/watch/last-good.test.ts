import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LastGood } from '../../../src/watch/last-good.ts';

interface Box {
  readonly size: number;
}

test('an object that turns bad stays as it was, and is said to be wrong until it is mended or gone', () => {
  const boxes = new LastGood<Box>();
  assert.deepEqual(boxes.apply({ kind: 'replace', objects: new Map([['a', { size: 1 }]]) }), ['a']);
  const bad = { kind: 'change', upserts: new Map([['a', { problem: 'size is "x"' }]]), removed: [] } as const;
  assert.deepEqual(boxes.apply(bad), []);
  assert.deepEqual(boxes.get('a'), { size: 1 });
  assert.deepEqual([...boxes.problems()], ['size is "x"']);
  boxes.apply({ kind: 'change', upserts: new Map([['a', { size: 2 }]]), removed: [] });
  assert.deepEqual([boxes.get('a'), ...boxes.problems()], [{ size: 2 }]);
  boxes.apply(bad);
  assert.deepEqual(boxes.apply({ kind: 'change', upserts: new Map(), removed: ['a'] }), ['a']);
  assert.deepEqual([boxes.get('a'), ...boxes.problems()], [undefined]);
});

test('a new list takes away what is not in it, wrong objects included', () => {
  const boxes = new LastGood<Box>();
  boxes.apply({ kind: 'replace', objects: new Map([['a', { size: 1 }]]) });
  boxes.apply({
    kind: 'change',
    upserts: new Map<string, Box | { problem: string }>([
      ['a', { problem: 'p' }],
      ['b', { problem: 'q' }],
    ]),
    removed: [],
  });
  const changed = boxes.apply({ kind: 'replace', objects: new Map([['c', { size: 3 }]]) });
  assert.deepEqual([...changed].sort(), ['a', 'c']);
  assert.deepEqual([...boxes.keys()], ['c']);
  assert.deepEqual([...boxes.problems()], []);
});

test('a server that is away changes nothing', () => {
  const boxes = new LastGood<Box>();
  boxes.apply({ kind: 'replace', objects: new Map([['a', { size: 1 }]]) });
  assert.deepEqual(boxes.apply({ kind: 'stale', reason: 'gone' }), []);
  assert.deepEqual(boxes.get('a'), { size: 1 });
});
