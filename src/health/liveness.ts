export interface LivenessTimes {
  /** Between two probes while all is well. */
  readonly intervalMs: number;
  /** A peer that has left probes unanswered for this long is dead. */
  readonly deadAfterMs: number;
  /** A dead peer that answers again is used again after this time without such a silence. */
  readonly holdMs: number;
}

/**
 * unknown     never answered: it may be a peer that cannot, so its silence says nothing
 * alive       answers
 * dead        answered once, and then not any more
 * recovering  was dead and answers again, but not for long enough yet
 */
export type LivenessState = 'unknown' | 'alive' | 'dead' | 'recovering';

/** After a probe was lost the next ones follow this much faster, so that death is not declared on a few lost packets. */
const FAST = 5;

/** Fewer lost probes than this are chance, however long the silence. */
const LOST_MIN = 3;

/** Whether one peer answers, from the probes that were sent and answered. Pure: time is a parameter, in milliseconds. */
export class Liveness {
  #state: LivenessState = 'unknown';
  #recoveringSinceMs = 0;
  /** When the first probe left that nothing has answered since. */
  #silentSinceMs = Number.POSITIVE_INFINITY;
  #unanswered = 0;
  #lookedMs: number;

  constructor(nowMs: number) {
    this.#lookedMs = nowMs;
  }

  get state(): LivenessState {
    return this.#state;
  }

  /** A probe leaves. */
  sent(nowMs: number): void {
    this.#unanswered += 1;
    if (this.#silentSinceMs === Number.POSITIVE_INFINITY) this.#silentSinceMs = nowMs;
  }

  answered(nowMs: number): void {
    this.#unanswered = 0;
    this.#silentSinceMs = Number.POSITIVE_INFINITY;
    if (this.#state === 'unknown') this.#state = 'alive';
    else if (this.#state === 'dead') {
      this.#state = 'recovering';
      this.#recoveringSinceMs = nowMs;
    }
  }

  /** Call it before each probe. A pause of this process must not look like one of the peer: time in which nobody looked does not count. */
  look(nowMs: number, times: LivenessTimes): void {
    const sinceMs = nowMs - this.#lookedMs;
    this.#lookedMs = nowMs;
    if (sinceMs > 2 * times.intervalMs && this.#silentSinceMs !== Number.POSITIVE_INFINITY)
      this.#silentSinceMs = Math.min(nowMs, this.#silentSinceMs + sinceMs - times.intervalMs);
    const isSilent = nowMs - this.#silentSinceMs >= times.deadAfterMs && this.#unanswered >= LOST_MIN;
    if (this.#state === 'recovering') {
      if (isSilent) this.#state = 'dead';
      else if (nowMs - this.#recoveringSinceMs >= times.holdMs) this.#state = 'alive';
    } else if (this.#state === 'alive' && isSilent) this.#state = 'dead';
  }

  /** Time from this probe to the next. An answer takes less than `timeoutMs`. */
  nextInMs(nowMs: number, { intervalMs }: LivenessTimes, timeoutMs: number): number {
    const isLosing =
      this.#state !== 'unknown' &&
      this.#state !== 'dead' &&
      nowMs - this.#silentSinceMs > Math.max(intervalMs / FAST, Math.min(intervalMs, timeoutMs));
    return isLosing ? intervalMs / FAST : intervalMs;
  }
}
