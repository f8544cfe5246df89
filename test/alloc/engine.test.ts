import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const BYTES_PER_PACKET_MAX = 0.5;

test('the engine allocates no heap memory for the packets that it forwards', async (t) => {
  const loops = fileURLToPath(new URL('./engine-loops.js', import.meta.url));
  const flags = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64'];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, loops], { timeout: 60_000 });
  const { '(allocating on purpose)': control, ...measured } = JSON.parse(stdout) as Record<string, number>;
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
