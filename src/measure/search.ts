/** What one trial at a rate found. */
export interface Trial {
  readonly sent: number;
  /** By the end of a short grace after the last packet; the rest counts as lost. */
  readonly arrived: number;
  /** Packets a second that the sender really offered. */
  readonly offeredPerSecond: number;
}

/** At most this share may be missing for a rate to count as free of loss. */
export const LOSS_MAX = 0.005;
/** The search ends when the best rate and the lowest failed one are this close. */
const PRECISION = 1.04;
/** How far above a rate that passed the next one is while none has failed, and how far below while none has passed. */
const UP = 1.25;
const DOWN = 0.7;
/** A sender that gets no closer to what it was asked for cannot do more. */
const SENDER_LIMIT = 0.97;

/**
 * The highest rate in packets a second at which at most LOSS_MAX is lost, by bisection from a first guess, in at most `trialsMax` trials;
 * 0 when every trial lost more.
 */
export async function searchLossFree(
  guess: number,
  trialsMax: number,
  trial: (packetsPerSecond: number) => Promise<Trial>,
): Promise<number> {
  let passed = 0;
  let failed = Number.POSITIVE_INFINITY;
  let rate = Math.max(1, guess);
  for (let number = 0; number < trialsMax && failed > passed * PRECISION; number++) {
    const { sent, arrived, offeredPerSecond } = await trial(rate);
    if (sent > 0 && arrived >= sent * (1 - LOSS_MAX)) {
      passed = Math.max(passed, offeredPerSecond);
      if (offeredPerSecond < rate * SENDER_LIMIT) break;
    } else failed = Math.min(failed, rate);
    if (failed === Number.POSITIVE_INFINITY) rate *= UP;
    else rate = passed === 0 ? failed * DOWN : (passed + failed) / 2;
  }
  return passed;
}
