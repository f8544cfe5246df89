const WARM_UP_ROUNDS = 5;
const WINDOWS_MAX = 12;
/** A window with less than this a call is without allocation: the meter itself takes some hundred bytes. */
const CLEAN_BYTES = 0.01;

/**
 * Heap bytes that one of `calls` calls in `loop` allocates in the steady state. Only under METER_FLAGS (in-child.ts).
 *
 * The smallest window counts: the compiler's threads may still allocate in one of them, on a loaded machine in several, while what the
 * loop itself allocates shows in all. Once a window is clean, more of them say nothing new.
 */
export function bytesPerCall(calls: number, loop: () => void): number {
  const collect = globalThis.gc;
  if (collect === undefined) throw new Error('start this with --expose-gc');
  for (let round = 0; round < WARM_UP_ROUNDS; round++) loop();
  let least = Number.POSITIVE_INFINITY;
  for (let window = 0; window < WINDOWS_MAX && least >= CLEAN_BYTES; window++) {
    collect();
    const before = process.memoryUsage().heapUsed;
    loop();
    least = Math.min(least, (process.memoryUsage().heapUsed - before) / calls);
  }
  return least;
}
