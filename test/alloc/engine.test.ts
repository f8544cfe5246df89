import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heapBytes } from './in-child.ts';

const BYTES_PER_PACKET_MAX = 0.5;

test('the engine allocates no heap memory for the packets that it forwards', async (t) => {
  const { '(allocating on purpose)': control, ...measured } = await heapBytes('./engine-loops.js');
  assert.ok(control !== undefined && control > 1, `the meter saw only ${control} bytes for an array a batch`);
  assert.deepEqual(Object.keys(measured), ['outbound', 'inbound']);
  for (const [direction, bytes] of Object.entries(measured)) {
    t.diagnostic(`${direction}: ${bytes.toFixed(3)} heap bytes a packet`);
    assert.ok(
      bytes < BYTES_PER_PACKET_MAX,
      `${direction} allocates ${bytes} heap bytes a packet, at most ${BYTES_PER_PACKET_MAX} are allowed`,
    );
  }
});
