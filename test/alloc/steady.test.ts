import assert from 'node:assert/strict';
import { test } from 'node:test';
import { steadyState } from './steady-state.ts';

const HEAP_BYTES_MAX = 0.5;

test('under mixed traffic the engine is never deoptimised once it is warm, and allocates nothing', async (t) => {
  const { packets, deoptimised, heapBytes } = await steadyState();
  t.diagnostic(`${packets} packets, ${heapBytes.toFixed(3)} heap bytes each`);
  assert.ok(packets > 300_000);
  assert.deepEqual(deoptimised, []);
  assert.ok(heapBytes < HEAP_BYTES_MAX, `${heapBytes} heap bytes a packet`);
});
