import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Axis, linearAxis, logarithmicAxis } from '../../../../src/measure/report/axis.ts';

const RUNS = { seed: 20261124, numRuns: 300 };
const amounts = fc.array(
  fc.oneof(fc.double({ min: 0, max: 1e12, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })),
  { maxLength: 6 },
);

function assertOrdered(axis: Axis, values: readonly number[]): void {
  const sorted = values.toSorted((a, b) => a - b).map((value) => axis.at(value));
  sorted.forEach((at, i) => {
    assert.ok(at >= 10 && at <= 110, `${at}`);
    assert.ok(i === 0 || at >= (sorted[i - 1] ?? 0), 'a larger value stands before a smaller one');
  });
  assert.ok(axis.ticks.length >= 2 && axis.ticks.length <= 24, `${axis.ticks}`);
  assert.equal(new Set(axis.ticks).size, axis.ticks.length);
}

test('a linear axis has room for every value, in their order, between few ticks', () => {
  fc.assert(
    fc.property(amounts, (values) => assertOrdered(linearAxis(values, 10, 110), values)),
    RUNS,
  );
});

test('a logarithmic axis has room for every value, in their order, between few ticks', () => {
  fc.assert(
    fc.property(amounts, (values) => {
      assertOrdered(logarithmicAxis(values, 10, 110), values);
    }),
    RUNS,
  );
});

test('a linear axis ends at a round number', () => {
  assert.deepEqual(linearAxis([6.7, 3], 0, 100).ticks, [0, 2, 4, 6, 8]);
  assert.deepEqual(linearAxis([0.3], 0, 100).ticks, [0, 0.1, 0.2, 0.3]);
  assert.deepEqual(linearAxis([], 0, 100).ticks, [0, 0.2, 0.4, 0.6, 0.8, 1]);
});

test('a logarithmic axis has equal steps for equal ratios', () => {
  const axis = logarithmicAxis([100, 1000], 0, 100);
  assert.deepEqual(axis.ticks, [100, 200, 500, 1000]);
  assert.equal(Math.round(axis.at(Math.sqrt(100 * 1000))), 50);
  assert.equal(axis.at(0), 0);
});

test('a logarithmic axis of many decades has powers of ten as ticks, one of a single value two ends', () => {
  assert.deepEqual(logarithmicAxis([1, 90_000], 0, 100).ticks, [1, 10, 100, 1000, 10_000, 100_000]);
  assert.deepEqual(logarithmicAxis([50], 0, 100).ticks, [50, 100]);
});
