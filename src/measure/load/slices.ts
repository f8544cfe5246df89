import { setImmediate as turn } from 'node:timers/promises';
import { IoError } from '../../base/errors.ts';
import { errnoName } from '../../io/errno.ts';
import { monotonicNs } from './monotonic.ts';

/** How long the addon works between two turns of the event loop: how late a command or the end of the parent is heard. */
const SLICE_NS = 20e6;

/** Calls `slice` with the end of one slice after the other until `endNs`, or until `isDone`. Throws what it failed with. */
export async function inSlices(
  endNs: number,
  syscall: string,
  subject: string,
  slice: (untilNs: number) => number,
  isDone: () => boolean = () => false,
): Promise<void> {
  for (let now = monotonicNs(); now < endNs && !isDone(); now = monotonicNs()) {
    check(slice(Math.min(now + SLICE_NS, endNs)), syscall, subject);
    await turn();
  }
}

/** Passes a result of the addon on, or throws what it failed with. */
export function check(result: number, syscall: string, subject: string): number {
  if (result < 0) throw new IoError(syscall, errnoName(-result), subject);
  return result;
}

/** Timers count whole milliseconds and come late: the rest is waited for exactly, without taking the core meanwhile. */
export async function waitUntil(momentNs: number): Promise<void> {
  const early = momentNs - monotonicNs() - 2e6;
  if (early > 0) await new Promise((resolve) => setTimeout(resolve, early / 1e6));
  const left = momentNs - monotonicNs();
  if (left > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, left / 1e6);
}
