/** Probes of which the share of lost ones is shown. */
const WINDOW = 128;

/** Both ends answer from their event loops, which may be busy for this long without anything being wrong. */
const TIMEOUT_MS_MIN = 60;

/** Round-trip time, its variation and loss of one path, from probes (RFC 6298 §2 smoothing). Pure; in milliseconds. */
export class RoundTrips {
  #smoothedMs = 0;
  #variationMs = 0;
  #samples = 0;
  #sent = 0;
  #answered = 0;
  /** 1 for an answered probe of the last WINDOW ones that are settled, by their number. */
  readonly #window = new Uint8Array(WINDOW);
  #settled = 0;

  /** Smoothed; undefined before the first answer. */
  get roundTripMs(): number | undefined {
    return this.#samples === 0 ? undefined : this.#smoothedMs;
  }

  /** Mean deviation from the smoothed time. */
  get jitterMs(): number | undefined {
    return this.#samples === 0 ? undefined : this.#variationMs;
  }

  /** Share of the last WINDOW settled probes that were lost, 0 to 1; undefined while none is settled. */
  get loss(): number | undefined {
    const count = Math.min(this.#settled, WINDOW);
    if (count === 0) return undefined;
    let answered = 0;
    for (let i = 0; i < count; i++) answered += this.#window[i]!;
    return 1 - answered / count;
  }

  /** Since the beginning. */
  get sent(): number {
    return this.#sent;
  }

  get answered(): number {
    return this.#answered;
  }

  /** Time after which a probe counts as lost: well beyond what its answer usually takes. */
  timeoutMs(intervalMs: number): number {
    if (this.#samples === 0) return Math.max(intervalMs, TIMEOUT_MS_MIN);
    return Math.max(TIMEOUT_MS_MIN, this.#smoothedMs * 1.5 + 4 * this.#variationMs);
  }

  countSent(): void {
    this.#sent += 1;
  }

  settle(answered: boolean): void {
    this.#window[this.#settled % WINDOW] = Number(answered);
    this.#settled += 1;
  }

  countAnswered(roundTripMs: number): void {
    this.#answered += 1;
    const error = roundTripMs - this.#smoothedMs;
    if (this.#samples === 0) {
      this.#smoothedMs = roundTripMs;
      this.#variationMs = roundTripMs / 2;
    } else {
      this.#variationMs += (Math.abs(error) - this.#variationMs) / 4;
      this.#smoothedMs += error / 8;
    }
    this.#samples += 1;
  }
}
