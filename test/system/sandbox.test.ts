import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { probeSandbox, sandboxEnvironment } from '../../src/measure/sandbox.ts';
import { poll } from '../../src/measure/topology.ts';
import { systemTest } from './topology/scene.ts';

/** A sleep of a length that nobody else asks for, by which it is found among the processes. */
const SLEEP_SECONDS = String(100_000 + process.pid);

function sleepers(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8') === `sleep\0${SLEEP_SECONDS}\0`;
      } catch {
        // It ended while we looked.
        return false;
      }
    });
}

systemTest('a sandbox ends with all its processes when what started it is killed', async () => {
  const sandbox = probeSandbox();
  assert.ok(sandbox.possible);
  const command = JSON.stringify([...sandbox.command, 'sleep', SLEEP_SECONDS]);
  const starter = `const [program, ...words] = ${command}; require('node:child_process').spawn(program, words, { stdio: 'inherit' });`;
  const child = spawn(process.execPath, ['-e', starter], { env: sandboxEnvironment(), stdio: 'ignore' });
  await poll('the sleep inside the sandbox', 5000, () => sleepers().length === 1);
  child.kill('SIGKILL');
  await poll('the end of the sleep', 5000, () => sleepers().length === 0);
});
