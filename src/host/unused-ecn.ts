/** RFC 6040 §4.2 wants the log entries limited in rate: an attacker can make such packets as fast as any others. */
export const ECN_REPORT_INTERVAL_MS = 60_000;

/**
 * When to say that packets came with a pair of ECN fields that no sender makes, "(!!!)" in RFC 6040, Figure 4. The packet path counts them
 * and logs nothing. Pure.
 */
export class UnusedEcn {
  #reported = 0;
  #dueMs = Number.NEGATIVE_INFINITY;

  /** `count` is that of all packets so far. Returns how many have come since the last report if it is time for another, else 0. */
  due(count: number, nowMs: number): number {
    // Engines that were made anew count from 0.
    if (count < this.#reported) this.#reported = 0;
    if (count === this.#reported || nowMs < this.#dueMs) return 0;
    const packets = count - this.#reported;
    this.#reported = count;
    this.#dueMs = nowMs + ECN_REPORT_INTERVAL_MS;
    return packets;
  }
}
