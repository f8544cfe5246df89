/** Allows `perSecond` things a second in the long run, and `burst` at once after a pause. Time is the caller's, in milliseconds. */
export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #filledMs: number;

  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#filledMs = nowMs;
  }

  /** Takes one if there is one. */
  take(nowMs: number): boolean {
    this.#tokens = Math.min(this.#burst, this.#tokens + (nowMs - this.#filledMs) * this.#perMs);
    this.#filledMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Nothing was taken for so long that it is as good as a new one. */
  isFull(nowMs: number): boolean {
    return this.#tokens + (nowMs - this.#filledMs) * this.#perMs >= this.#burst;
  }
}

/** Buckets that are kept; those that have refilled make room. */
const KEYS_MAX = 4096;

/** A token bucket for each key, such as a peer's address. */
export class KeyedBuckets {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #buckets = new Map<number | bigint, TokenBucket>();

  constructor(perSecond: number, burst: number) {
    this.#perSecond = perSecond;
    this.#burst = burst;
  }

  /** Takes one from the bucket of `key` if there is one. */
  take(key: number | bigint, nowMs: number): boolean {
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= KEYS_MAX) this.#forgetFull(nowMs);
      bucket = new TokenBucket(this.#perSecond, this.#burst, nowMs);
      this.#buckets.set(key, bucket);
    }
    return bucket.take(nowMs);
  }

  #forgetFull(nowMs: number): void {
    for (const [key, bucket] of this.#buckets) if (bucket.isFull(nowMs)) this.#buckets.delete(key);
    // All of them busy: the oldest starts anew, which a bucket for all has to bound.
    const oldest = this.#buckets.keys().next().value;
    if (this.#buckets.size >= KEYS_MAX && oldest !== undefined) this.#buckets.delete(oldest);
  }
}
