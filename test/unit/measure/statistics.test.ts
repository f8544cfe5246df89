import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '../../../src/base/prng.ts';
import { median, percentile, ratioOfMedians, shuffled, summary } from '../../../src/measure/statistics.ts';

const RUNS = { seed: 20261124 };
const series = fc.array(fc.double({ min: -1e9, max: 1e9, noNaN: true }), { minLength: 1, maxLength: 20 });

test('a median has as many values below it as above', () => {
  fc.assert(
    fc.property(series, (values) => {
      const middle = median(values);
      assert.ok(values.filter((value) => value < middle).length <= values.length / 2);
      assert.ok(values.filter((value) => value > middle).length <= values.length / 2);
    }),
    RUNS,
  );
});

test('a summary has the ends of its series, in any order of the values', () => {
  fc.assert(
    fc.property(series, (values) => {
      const { min, max, count } = summary(values);
      assert.deepEqual([min, max, count], [Math.min(...values), Math.max(...values), values.length]);
      assert.deepEqual(summary(values.toReversed()), summary(values));
    }),
    RUNS,
  );
});

test('of an even count the median is between the two in the middle', () => {
  assert.equal(median([4, 1, 3, 2]), 2.5);
  assert.equal(percentile([0, 10], 0.9), 9);
});

test('of no values there is no median, no percentile and no ratio', () => {
  assert.ok(Number.isNaN(median([])));
  assert.ok(Number.isNaN(percentile([], 0.99)));
  assert.ok(Number.isNaN(ratioOfMedians([], [1])));
  assert.ok(Number.isNaN(ratioOfMedians([1], [])));
});

test('a ratio is of medians, and there is none to nothing', () => {
  assert.equal(ratioOfMedians([1, 100, 2], [4, 4, 1000]), 0.5);
  assert.ok(Number.isNaN(ratioOfMedians([1], [0])));
});

test('a new order has the same items, and is the same for the same seed', () => {
  const order = (seed: number): number[] => {
    const prng = new Prng(seed);
    return shuffled([1, 2, 3, 4, 5, 6, 7], (bound) => prng.below(bound));
  };
  assert.deepEqual(order(1), order(1));
  assert.notDeepEqual(order(1), order(2));
  assert.deepEqual(order(3).toSorted(), [1, 2, 3, 4, 5, 6, 7]);
});
