import type { Clock } from '../base/clock.ts';
import { readU32 } from '../packet/bytes.ts';
import { mayAnswer, writeIcmpError } from '../packet/icmp.ts';
import { IPV4 } from '../packet/ipv4.ts';

/**
 * ICMP errors on their way from an engine to the slow path, which sends them on a raw ICMP socket: written into the TUN device they
 * would carry one of the host's own addresses as source, and the kernel drops such packets as martians.
 *
 * A ring with one writer (the engine) and one reader (the control plane) in shared memory:
 *
 *   word HEAD: slots ever written     word TAIL: slots ever read     slot s = index % ICMP_SLOTS
 *   slot: | destination u32 | length u32 | ICMP message, ICMP_MESSAGE_BYTES |
 *
 *   empty: head == tail     full: head - tail == ICMP_SLOTS
 */
export const ICMP_SLOTS = 64;

/** The largest message: 576 bytes of packet (RFC 1812 §4.3.2.3) less its IPv4 header. */
export const ICMP_MESSAGE_BYTES = 556;

/**
 * The two words lie in cache lines of their own (of 64 bytes, wherever the buffer begins): the engine looks at both in each turn, and
 * would wait for the line whenever a neighbour in memory is written by another thread.
 */
const HEAD = 16;
const TAIL = 32;
const HEADER_BYTES = 192;
const SLOT_BYTES = 8 + ICMP_MESSAGE_BYTES;

export const ICMP_QUEUE_BYTES = HEADER_BYTES + ICMP_SLOTS * SLOT_BYTES;

/** Errors an engine sends in a second, and at once after a pause: what the Linux kernel allows itself (icmp_msgs_per_sec, icmp_msgs_burst). */
export const ICMP_PER_SECOND = 1000;
export const ICMP_BURST = 50;

export class IcmpQueue {
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #clock: Clock;
  #tokens = ICMP_BURST;
  #refilledMs: number;
  /** The clock was asked in this turn. */
  #isRefilled = false;

  constructor(buffer: SharedArrayBuffer, clock: Clock) {
    this.#words = new Uint32Array(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#clock = clock;
    this.#refilledMs = clock.nowMs();
  }

  /**
   * The engine begins a turn. The clock is asked once in a turn, by the first error: each answer of it is 16 bytes of garbage, and in a
   * flood of packets that nobody has a route for, that would be the only garbage there is (test/alloc).
   */
  beginTurn(): void {
    this.#isRefilled = false;
  }

  /**
   * Writes an ICMP error about the checked IPv4 packet at `at` to its source. Returns 1 when it is queued, 0 when RFC 1812 §4.3.2.7 forbids
   * an answer, -1 when the rate or the ring is exhausted.
   */
  push(type: number, code: number, rest: number, bytes: Uint8Array, at: number, innerLength: number): number {
    if (!mayAnswer(bytes, at)) return 0;
    const head = this.#words[HEAD]!;
    const waiting = (head - Atomics.load(this.#words, TAIL)) >>> 0;
    if (waiting >= ICMP_SLOTS) return -1;
    if (!this.#takeToken()) return -1;
    const slotAt = HEADER_BYTES + (head % ICMP_SLOTS) * SLOT_BYTES;
    const written = writeIcmpError(this.#bytes, slotAt + 8, type, code, rest, bytes, at, innerLength);
    this.#words[slotAt >>> 2] = readU32(bytes, at + IPV4.SOURCE);
    this.#words[(slotAt >>> 2) + 1] = written;
    Atomics.store(this.#words, HEAD, (head + 1) >>> 0);
    return 1;
  }

  get isEmpty(): boolean {
    return Atomics.load(this.#words, HEAD) === Atomics.load(this.#words, TAIL);
  }

  /** The reader's side: hands every waiting message to `send`, oldest first, and returns how many there were. */
  drain(send: (destination: number, message: Uint8Array) => void): number {
    const head = Atomics.load(this.#words, HEAD);
    let tail = this.#words[TAIL]!;
    let count = 0;
    while (tail !== head) {
      const slotAt = HEADER_BYTES + (tail % ICMP_SLOTS) * SLOT_BYTES;
      const length = Math.min(this.#words[(slotAt >>> 2) + 1]!, ICMP_MESSAGE_BYTES);
      // A copy: the slot is free for the engine as soon as the tail moves on, while the socket may still hold the message.
      send(this.#words[slotAt >>> 2]!, this.#bytes.slice(slotAt + 8, slotAt + 8 + length));
      tail = (tail + 1) >>> 0;
      Atomics.store(this.#words, TAIL, tail);
      count++;
    }
    return count;
  }

  #takeToken(): boolean {
    if (!this.#isRefilled) this.#refill();
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  #refill(): void {
    this.#isRefilled = true;
    const nowMs = this.#clock.nowMs();
    this.#tokens = Math.min(ICMP_BURST, this.#tokens + ((nowMs - this.#refilledMs) * ICMP_PER_SECOND) / 1000);
    this.#refilledMs = nowMs;
  }
}
