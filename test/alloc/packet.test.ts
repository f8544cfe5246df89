import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heapBytes } from './in-child.ts';

const BYTES_PER_CALL_MAX = 0.5;

test('no function on packets allocates heap memory in a steady loop', async (t) => {
  const { '(allocating on purpose)': control, ...measured } = await heapBytes('./packet-loops.js');
  assert.ok(
    control !== undefined && control > 10,
    `the meter saw only ${control} bytes for a subarray a call`,
  );
  const names = Object.keys(measured);
  assert.ok(names.length >= 15, `only ${names.join(', ')} were measured`);
  for (const [name, bytes] of Object.entries(measured)) {
    t.diagnostic(`${name}: ${bytes.toFixed(3)} heap bytes a call`);
    assert.ok(
      bytes < BYTES_PER_CALL_MAX,
      `${name} allocates ${bytes} heap bytes a call, at most ${BYTES_PER_CALL_MAX} are allowed`,
    );
  }
});
