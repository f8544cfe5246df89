import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const TIMEOUT_MS = 60_000;
const OUTPUT_BYTES_MAX = 16 << 20;

/** No collection falls into a measurement, and heapUsed only grows: with the maximum alone V8 starts small, collects, and hides what was allocated. */
const METER_FLAGS = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64'];

/** Runs a file of this folder with V8 flags and a heap of its own; returns what it has written. */
export async function inChild(file: string, flags: readonly string[] = []): Promise<string> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [...METER_FLAGS, ...flags, path], {
    timeout: TIMEOUT_MS,
    maxBuffer: OUTPUT_BYTES_MAX,
  });
  return stdout;
}

/** Heap bytes of each thing that a file of loops measures, by name. */
export async function heapBytes(file: string): Promise<Record<string, number>> {
  return JSON.parse(await inChild(file)) as Record<string, number>;
}
