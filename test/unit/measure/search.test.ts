import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LOSS_MAX, searchLossFree, type Trial } from '../../../src/measure/search.ts';

const SEED = 11;
const TRIALS = 12;

/** A path that carries `capacity` packets a second and drops the rest, behind a sender that offers at most `offeredMax`. */
function path(capacity: number, offeredMax = Number.POSITIVE_INFINITY): (rate: number) => Promise<Trial> {
  return async (rate) => {
    const sent = Math.min(rate, offeredMax);
    return { sent, arrived: Math.min(sent, capacity), offeredPerSecond: sent };
  };
}

test('the search finds the capacity of a path to a few percent, wherever it begins', async () => {
  const rates = fc.integer({ min: 1000, max: 2_000_000 });
  await fc.assert(
    fc.asyncProperty(rates, fc.double({ min: 0.3, max: 3, noNaN: true }), async (capacity, factor) => {
      const found = await searchLossFree(capacity * factor, TRIALS, path(capacity));
      assert.ok(found <= capacity / (1 - LOSS_MAX) + 1, `${found} of ${capacity}`);
      assert.ok(found >= capacity * 0.93, `${found} of ${capacity}`);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test('a sender that can do no more ends the search', async () => {
  let trials = 0;
  const slow = path(1_000_000, 200_000);
  const found = await searchLossFree(250_000, TRIALS, (rate) => {
    trials++;
    return slow(rate);
  });
  assert.deepEqual([found, trials], [200_000, 1]);
});

test('a path that loses packets at every rate carries none free of loss, after a bounded number of trials', async () => {
  let trials = 0;
  const found = await searchLossFree(100_000, 5, async (rate) => {
    trials++;
    return { sent: rate, arrived: rate * 0.9, offeredPerSecond: rate };
  });
  assert.deepEqual([found, trials], [0, 5]);
});

test('just the permitted loss passes, more does not', async () => {
  const losing = (lost: number) => async (rate: number) => ({
    ...{ sent: 1000, arrived: 1000 - lost, offeredPerSecond: rate },
  });
  assert.equal(await searchLossFree(100, 1, losing(5)), 100);
  assert.equal(await searchLossFree(100, 1, losing(6)), 0);
});

test('a sender that sends nothing has not shown anything', async () => {
  assert.equal(await searchLossFree(100, 2, async () => ({ sent: 0, arrived: 0, offeredPerSecond: 0 })), 0);
});
