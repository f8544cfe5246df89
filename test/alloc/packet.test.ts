import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const BYTES_PER_CALL_MAX = 0.5;

/** The measurement needs V8 flags and a heap of its own, so it runs in a child process and plain `node --test` works. */
async function measure(): Promise<Record<string, number>> {
  const loops = fileURLToPath(new URL('./packet-loops.js', import.meta.url));
  const flags = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64'];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, loops], { timeout: 60_000 });
  return JSON.parse(stdout) as Record<string, number>;
}

test('no function on packets allocates heap memory in a steady loop', async (t) => {
  const { '(allocating on purpose)': control, ...measured } = await measure();
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
