import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TokenBucket } from '../../../src/base/token-bucket.ts';

const taken = (bucket: TokenBucket, moments: readonly number[]): boolean[] =>
  moments.map((nowMs) => bucket.take(nowMs));

test('it never allows more than its burst and what has come since', () => {
  const pauses = fc.array(fc.double({ min: 0, max: 50, noNaN: true }), { maxLength: 300 });
  const rate = fc.integer({ min: 1, max: 1000 });
  fc.assert(
    fc.property(pauses, rate, fc.integer({ min: 1, max: 50 }), (gaps, perSecond, burst) => {
      const bucket = new TokenBucket(perSecond, burst, 0);
      let nowMs = 0;
      let count = 0;
      for (const gap of gaps) {
        nowMs += gap;
        if (bucket.take(nowMs)) count++;
        assert.ok(count <= burst + (nowMs * perSecond) / 1000 + 1e-6);
      }
    }),
    { seed: 7 },
  );
});

test('after a pause it is full again, and no fuller', () => {
  const bucket = new TokenBucket(100, 3, 0);
  assert.deepEqual(taken(bucket, [0, 0, 0, 0]), [true, true, true, false]);
  assert.equal(bucket.isFull(29), false);
  assert.equal(bucket.isFull(30), true);
  assert.deepEqual(taken(bucket, [9000, 9000, 9000, 9000]), [true, true, true, false]);
});
