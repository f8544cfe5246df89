import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** What a counter or a turn allocates now and then, but no packet. */
const BYTES_PER_PACKET_MAX = 0.5;

/** The measurement needs V8 flags and a heap of its own, so it runs in a child process and plain `node --test` works. */
async function measure(): Promise<Record<string, number>> {
  const loops = fileURLToPath(new URL('./engine-loops.js', import.meta.url));
  const flags = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64'];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, loops], { timeout: 60_000 });
  return JSON.parse(stdout) as Record<string, number>;
}

test('a packet that goes through the engine allocates no heap memory, whatever becomes of it', async (t) => {
  const { '(allocating on purpose)': control, ...measured } = await measure();
  assert.ok(
    control !== undefined && control > 10,
    `the meter saw only ${control} bytes for a subarray a packet`,
  );
  assert.ok(Object.keys(measured).length >= 12, `only ${Object.keys(measured).join('; ')} were measured`);
  for (const [name, bytes] of Object.entries(measured)) {
    t.diagnostic(`${name}: ${bytes.toFixed(3)} heap bytes a packet`);
    assert.ok(
      bytes < BYTES_PER_PACKET_MAX,
      `${name}: ${bytes} heap bytes a packet, at most ${BYTES_PER_PACKET_MAX} are allowed`,
    );
  }
});
