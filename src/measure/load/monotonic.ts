/** The kernel's monotonic clock in nanoseconds: the same in every process of the machine and in the addon, unlike performance.now(). */
export function monotonicNs(): number {
  return Number(process.hrtime.bigint());
}

/** In milliseconds. */
export function monotonicMs(): number {
  return monotonicNs() / 1e6;
}
