/** Longest nap: how late a reply may be noticed, and so the error of a round-trip time. */
const NAP_MS_MAX = 0.2;
const cell = new Int32Array(new SharedArrayBuffer(4));

/**
 * Sleeps until `until` (performance.now), but at most a nap, then lets the event loop turn. Timers of Node count whole milliseconds and
 * a spinning loop would take a core from the gateways; a wait on a memory cell that nobody wakes sleeps for fractions.
 */
export async function nap(until: number): Promise<void> {
  const ms = Math.min(until - performance.now(), NAP_MS_MAX);
  if (ms > 0) Atomics.wait(cell, 0, 0, ms);
  await new Promise((resolve) => setImmediate(resolve));
}
