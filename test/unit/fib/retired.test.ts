import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EPOCH_MASK, ROOT } from '../../../src/fib/layout.ts';
import { enterEpoch, leaveEpoch } from '../../../src/fib/lookup.ts';
import { epochAfter, isLater, Retired } from '../../../src/fib/retired.ts';

function imageHead(): Uint32Array {
  return new Uint32Array(new SharedArrayBuffer(ROOT * 4));
}

test('orders epochs on a circle of 31 bits', () => {
  assert.equal(epochAfter(1), 2);
  assert.equal(epochAfter(EPOCH_MASK), 1);
  for (const epoch of [1, 2, 2 ** 30, EPOCH_MASK - 1, EPOCH_MASK]) {
    const next = epochAfter(epoch);
    assert.deepEqual(
      [isLater(next, epoch), isLater(epoch, next), isLater(epoch, epoch)],
      [true, false, false],
    );
  }
  assert.ok(isLater(2 ** 29, EPOCH_MASK - 5));
});

test('gives back in order, each to its owner, through a ring that grows while its head is anywhere', () => {
  const retired = new Retired(imageHead(), 1);
  const back: string[] = [];
  const owners = ['a', 'b'].map((name) => ({ reclaimed: (value: number) => back.push(`${name}${value}`) }));
  const expected: string[] = [];
  let value = 0;
  for (const [added, taken] of [
    [700, 600],
    [900, 10],
    [5000, 4000],
    [30_000, 31_990],
  ] as const) {
    for (let i = 0; i < added; i++) {
      expected.push(`${'ab'[value % 2]}${value}`);
      retired.retire(owners[value % 2]!, value++);
    }
    retired.publish();
    assert.equal(retired.reclaim(taken), taken);
    assert.equal(retired.count, expected.length - back.length);
  }
  assert.deepEqual(back, expected);
});

test('waits for the oldest of the readers, and for none that is quiescent', () => {
  const words = imageHead();
  const retired = new Retired(words, 1);
  const back: number[] = [];
  const owner = { reclaimed: (value: number) => back.push(value) };
  enterEpoch(words, 0);
  retired.retire(owner, 1);
  retired.publish();
  enterEpoch(words, 63);
  retired.retire(owner, 2);
  retired.publish();
  assert.deepEqual([...retired.pending(owner)], [1, 2]);
  retired.reclaim(10);
  assert.deepEqual(back, []);
  leaveEpoch(words, 0);
  retired.reclaim(10);
  assert.deepEqual(back, [1], 'reader 63 came after the first and before the second');
  enterEpoch(words, 63);
  retired.reclaim(10);
  assert.deepEqual(back, [1, 2]);
});

test('keeps what was retired since the last publication, for a reader may be in the present epoch', () => {
  const words = imageHead();
  const retired = new Retired(words, 1);
  retired.retire({ reclaimed: () => assert.fail('too early') }, 1);
  assert.equal(retired.reclaim(10), 0);
});
