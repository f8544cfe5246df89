import type { IcmpWish } from './outbound.ts';
import { hex, onesSum, sameBytes } from './wire.ts';

const PER_MS = 1;
const BURST = 50;
const SOURCE_PER_MS = 0.2;
const SOURCE_BURST = 25;
const WAITING_MAX = 64;
const MESSAGE_BYTES_MAX = 556;

/**
 * Which ICMP errors may be sent: 1,000 a second, 50 at once, of which 200 and 25 to the sources of one bucket, 64 waiting for the slow path;
 * and what each must look like.
 */
export class IcmpBudget {
  readonly #expected: IcmpWish[] = [];
  readonly #sources = new Map<bigint, { tokens: number; refilledMs: number }>();
  #tokens = BURST;
  #refilledMs: number;

  constructor(nowMs: number) {
    this.#refilledMs = nowMs;
  }

  /** True when the error is sent, false when it is suppressed. */
  wish(wish: IcmpWish, nowMs: number): boolean {
    if (this.#expected.length >= WAITING_MAX) return false;
    if (!this.#takeOfSource(wish.destination, nowMs)) return false;
    this.#tokens = Math.min(BURST, this.#tokens + (nowMs - this.#refilledMs) * PER_MS);
    this.#refilledMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    this.#expected.push(wish);
    return true;
  }

  #takeOfSource(source: number, nowMs: number): boolean {
    const bucket = ((BigInt(source) * 0x9e37_79b1n) % 2n ** 32n) / 2n ** 22n;
    const state = this.#sources.get(bucket) ?? { tokens: SOURCE_BURST, refilledMs: nowMs };
    this.#sources.set(bucket, state);
    state.tokens = Math.min(SOURCE_BURST, state.tokens + (nowMs - state.refilledMs) * SOURCE_PER_MS);
    state.refilledMs = nowMs;
    if (state.tokens < 1) return false;
    state.tokens -= 1;
    return true;
  }

  get waiting(): number {
    return this.#expected.length;
  }

  /** Takes the next message from the queue; returns what is wrong with it. RFC 792, RFC 1191 §4, RFC 1812 §4.3.2.3. */
  take(destination: number, message: Uint8Array): string | undefined {
    const wish = this.#expected.shift();
    if (wish === undefined) return `an ICMP error to ${destination} that nobody is owed: ${hex(message)}`;
    if (destination !== wish.destination)
      return `an ICMP error goes to ${destination}, not to ${wish.destination}`;
    const quote = wish.about.subarray(0, MESSAGE_BYTES_MAX - 8);
    const head = [3, wish.code, 0, 0, 0, 0, Math.floor(wish.nextHopMtu / 256), wish.nextHopMtu % 256];
    const exact = Uint8Array.from([...head, ...quote]);
    const isSealed = onesSum(message) === 0xffff;
    const unsealed = message.slice();
    unsealed.fill(0, 2, 4);
    if (isSealed && sameBytes(unsealed, exact)) return undefined;
    return `an ICMP error is wrong\n    expected ${hex(exact)}\n    got      ${hex(message)}`;
  }
}
