import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Backoff } from '../../../src/watch/backoff.ts';

describe('a backoff', () => {
  it('doubles from 800 ms to 30 s and begins anew after a reset', () => {
    const backoff = new Backoff({ random: () => 0.5 });
    const delays = Array.from({ length: 8 }, () => backoff.next());
    assert.deepEqual(delays, [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    backoff.reset();
    assert.equal(backoff.next(), 800);
  });

  it('spreads from half to one and a half of the delay, and never beyond the longest', () => {
    const low = new Backoff({ minMs: 100, maxMs: 200, random: () => 0 });
    assert.deepEqual([low.next(), low.next(), low.next()], [50, 100, 100]);
    const high = new Backoff({ minMs: 100, maxMs: 200, random: () => 0.999 });
    assert.ok(Math.abs(high.next() - 149.9) < 1e-9);
    assert.deepEqual([high.next(), high.next()], [200, 200]);
  });
});
