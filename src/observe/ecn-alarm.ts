import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { sumCell, TOTAL } from '../dataplane/counters.ts';

/** Between two log lines. */
export const ECN_ALARM_MS = 60_000;

/**
 * Says when packets with ECN fields come in that no sender makes: RFC 6040 §4.2 wants it logged, since some middlebox, or somebody who tries
 * the tunnel out, writes them.
 */
export class EcnAlarm {
  readonly #logger: Logger;
  readonly #clock: Clock;
  #seen = 0;
  #saidMs = Number.NEGATIVE_INFINITY;

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger;
    this.#clock = clock;
  }

  /** Call every few seconds. Counters that begin anew, as those of a device that was made again, count from 0. */
  look(blocks: readonly Float64Array[]): void {
    const count = sumCell(blocks, TOTAL.ECN_UNUSED);
    if (count < this.#seen) this.#seen = 0;
    const nowMs = this.#clock.nowMs();
    if (count === this.#seen || nowMs - this.#saidMs < ECN_ALARM_MS) return;
    this.#logger.warn(
      { packets: count - this.#seen },
      'packets came in with ECN fields that no sender makes',
    );
    this.#seen = count;
    this.#saidMs = nowMs;
  }
}
