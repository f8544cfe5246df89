export interface BackoffOptions {
  /** First delay before jitter; as client-go's reflector. */
  readonly minMs?: number;
  /** No delay is longer, jitter included. */
  readonly maxMs?: number;
  /** A number from 0 up to 1. */
  readonly random: () => number;
}

/** Delays that double, each with jitter, so that many gateways which lost one server do not come back to it in the same instant. */
export class Backoff {
  readonly #minMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  #nextMs: number;

  constructor({ minMs = 800, maxMs = 30_000, random }: BackoffOptions) {
    this.#minMs = minMs;
    this.#maxMs = maxMs;
    this.#random = random;
    this.#nextMs = minMs;
  }

  /** Milliseconds to wait now: half to one and a half times the delay that is due, at most `maxMs`. */
  next(): number {
    const delayMs = this.#nextMs;
    this.#nextMs = Math.min(this.#maxMs, delayMs * 2);
    return Math.min(this.#maxMs, delayMs * (0.5 + this.#random()));
  }

  reset(): void {
    this.#nextMs = this.#minMs;
  }
}
