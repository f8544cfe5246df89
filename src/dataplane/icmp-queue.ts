import type { Address, IpAddress } from '../base/address.ts';
import { addressAt6 } from '../base/address6.ts';
import type { Clock } from '../base/clock.ts';
import { readI32 } from '../packet/bytes.ts';
import { mayAnswer, writeIcmpError } from '../packet/icmp.ts';
import { ICMP6_ERROR_BYTES_MAX, mayAnswer6, writeIcmp6Error } from '../packet/icmp6.ts';
import { IPV4 } from '../packet/ipv4.ts';
import { IPV6 } from '../packet/ipv6.ts';
import { PROBE_INNER_BYTES, PROBE6_INNER_BYTES } from '../packet/probe.ts';

/**
 * What an engine leaves to the slow path: ICMP errors to be sent on a raw ICMP socket (written into the TUN device they would carry one of
 * the host's own addresses as source, and the kernel drops such packets as martians), and probes that came out of the tunnel.
 *
 * A ring with one writer (the engine) and one reader (the control plane) in shared memory:
 *
 *   word HEAD: slots ever written     word TAIL: slots ever read     slot s = index % SLOTS
 *   slot: | address u32 | length u32 | ICMP or ICMPv6 message, or the inner packet of a probe |
 *   length: of the message, with IPV6_BIT of an ICMPv6 one; of the outer packet of a probe, with PROBE_BIT. A probe with IPV6_BIT too has
 *   the gateway's 16 bytes before its inner packet.
 *
 *   empty: head == tail     full: for errors head - tail == ICMP_SLOTS, for probes SLOTS, so that a flood of errors displaces no probe
 */
export const ICMP_SLOTS = 64;
const SLOTS = 128;
const PROBE_BIT = 0x1_0000;
const IPV6_BIT = 0x2_0000;
const LENGTH_MASK = 0xffff;

/** The largest message: 576 bytes of packet (RFC 1812 §4.3.2.3) less its IPv4 header. */
export const ICMP_MESSAGE_BYTES = 556;

/**
 * The two words lie in cache lines of their own (of 64 bytes, wherever the buffer begins): the engine looks at both in each turn, and
 * would wait for the line whenever a neighbour in memory is written by another thread.
 */
const HEAD = 16;
const TAIL = 32;
const HEADER_BYTES = 192;
const SLOT_BYTES = 8 + ICMP6_ERROR_BYTES_MAX;

export const ICMP_QUEUE_BYTES = HEADER_BYTES + SLOTS * SLOT_BYTES;

/** Errors an engine sends in a second, and at once after a pause: what the Linux kernel allows itself (icmp_msgs_per_sec, icmp_msgs_burst). */
export const ICMP_PER_SECOND = 1000;
export const ICMP_BURST = 50;

/** Of these, at most for one inner source: a pod that floods must not keep the others from hearing of a path that is too narrow for them. */
export const SOURCE_ICMP_PER_SECOND = 200;
export const SOURCE_ICMP_BURST = 25;

/** A power of two. Sources share buckets by a hash of their address: two that meet in one have its rate together. */
const SOURCE_BUCKETS = 1024;
const SOURCE_SHIFT = 22;
const SOURCE_MULTIPLIER = 0x9e37_79b1;

/** Sends an ICMP message, from its type on, to a local host. */
export type SendIcmp = (destination: Address, message: Uint8Array) => void;

/** Sends an ICMPv6 error, from its type on, to the source of the packet that it quotes. */
export type SendIcmp6 = (message: Uint8Array) => void;

/** `inner` is the beginning of a probe's inner packet, PROBE_INNER_BYTES or PROBE6_INNER_BYTES; `outerBytes` the whole outer packet. */
export type TakeProbe = (gateway: IpAddress, outerBytes: number, inner: Uint8Array) => void;

function ignore(): void {}

export class IcmpQueue {
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #clock: Clock;
  readonly #sourceTokens = new Float64Array(SOURCE_BUCKETS).fill(SOURCE_ICMP_BURST);
  readonly #sourceRefilledMs = new Float64Array(SOURCE_BUCKETS);
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
    if (!this.#takeSourceToken(readI32(bytes, at + IPV4.SOURCE)) || !this.#takeToken()) return -1;
    const slotAt = HEADER_BYTES + (head % SLOTS) * SLOT_BYTES;
    const written = writeIcmpError(this.#bytes, slotAt + 8, type, code, rest, bytes, at, innerLength);
    this.#words[slotAt >>> 2] = readI32(bytes, at + IPV4.SOURCE);
    this.#words[(slotAt >>> 2) + 1] = written;
    Atomics.store(this.#words, HEAD, (head + 1) >>> 0);
    return 1;
  }

  /**
   * The same of an IPv6 packet, whose source is in the message: nobody needs the address in front of it. RFC 4443 §2.4(e) says what is not
   * answered.
   */
  push6(
    type: number,
    code: number,
    rest: number,
    bytes: Uint8Array,
    at: number,
    innerLength: number,
  ): number {
    if (!mayAnswer6(bytes, at, type)) return 0;
    const head = this.#words[HEAD]!;
    if ((head - Atomics.load(this.#words, TAIL)) >>> 0 >= ICMP_SLOTS) return -1;
    const source = at + IPV6.SOURCE;
    const key = readI32(bytes, source) ^ readI32(bytes, source + 4) ^ readI32(bytes, source + 8);
    if (!this.#takeSourceToken(key ^ readI32(bytes, source + 12)) || !this.#takeToken()) return -1;
    const slotAt = HEADER_BYTES + (head % SLOTS) * SLOT_BYTES;
    const written = writeIcmp6Error(this.#bytes, slotAt + 8, type, code, rest, bytes, at, innerLength);
    this.#words[(slotAt >>> 2) + 1] = written | IPV6_BIT;
    Atomics.store(this.#words, HEAD, (head + 1) >>> 0);
    return 1;
  }

  /**
   * Keeps the beginning of a probe that came from `gateway` in an outer packet of `outerBytes`, its inner packet at `at`. Lost when
   * SLOTS wait: to the prober that is a probe lost on the way.
   */
  pushProbe(gateway: number, outerBytes: number, bytes: Uint8Array, at: number): void {
    const head = this.#words[HEAD]!;
    if ((head - Atomics.load(this.#words, TAIL)) >>> 0 >= SLOTS) return;
    const slotAt = HEADER_BYTES + (head % SLOTS) * SLOT_BYTES;
    for (let i = 0; i < PROBE_INNER_BYTES; i++) this.#bytes[slotAt + 8 + i] = bytes[at + i]!;
    this.#words[slotAt >>> 2] = gateway;
    this.#words[(slotAt >>> 2) + 1] = outerBytes | PROBE_BIT;
    Atomics.store(this.#words, HEAD, (head + 1) >>> 0);
  }

  /** The same on an IPv6 underlay: the outer header at `outerAt` names the gateway. */
  pushProbe6(outerBytes: number, bytes: Uint8Array, outerAt: number, at: number): void {
    const head = this.#words[HEAD]!;
    if ((head - Atomics.load(this.#words, TAIL)) >>> 0 >= SLOTS) return;
    const slotAt = HEADER_BYTES + (head % SLOTS) * SLOT_BYTES;
    const source = outerAt + IPV6.SOURCE;
    for (let i = 0; i < IPV6.ADDRESS_BYTES; i++) this.#bytes[slotAt + 8 + i] = bytes[source + i]!;
    const innerAt = slotAt + 8 + IPV6.ADDRESS_BYTES;
    for (let i = 0; i < PROBE6_INNER_BYTES; i++) this.#bytes[innerAt + i] = bytes[at + i]!;
    this.#words[(slotAt >>> 2) + 1] = outerBytes | PROBE_BIT | IPV6_BIT;
    Atomics.store(this.#words, HEAD, (head + 1) >>> 0);
  }

  get isEmpty(): boolean {
    return Atomics.load(this.#words, HEAD) === Atomics.load(this.#words, TAIL);
  }

  /** The reader's side: hands every waiting message to `send` and every probe to `probe`, oldest first, and returns how many messages there were. */
  drain(send: SendIcmp, probe: TakeProbe = ignore, send6: SendIcmp6 = ignore): number {
    const head = Atomics.load(this.#words, HEAD);
    let tail = this.#words[TAIL]!;
    let count = 0;
    while (tail !== head) {
      const slotAt = HEADER_BYTES + (tail % SLOTS) * SLOT_BYTES;
      const address = this.#words[slotAt >>> 2]!;
      const word = this.#words[(slotAt >>> 2) + 1]!;
      const isProbe = (word & PROBE_BIT) !== 0;
      const isIpv6 = (word & IPV6_BIT) !== 0;
      const bytes = word & LENGTH_MASK;
      const probeBytes = isIpv6 ? IPV6.ADDRESS_BYTES + PROBE6_INNER_BYTES : PROBE_INNER_BYTES;
      const length = isProbe ? probeBytes : Math.min(bytes, ICMP6_ERROR_BYTES_MAX);
      // A copy: the slot is free for the engine as soon as the tail moves on, while the socket may still hold the message.
      const content = this.#bytes.slice(slotAt + 8, slotAt + 8 + length);
      if (isProbe && isIpv6) probe(addressAt6(content, 0), bytes, content.slice(IPV6.ADDRESS_BYTES));
      else if (isProbe) probe(address, bytes, content);
      else if (isIpv6) {
        send6(content);
        count++;
      } else {
        send(address, content);
        count++;
      }
      tail = (tail + 1) >>> 0;
      Atomics.store(this.#words, TAIL, tail);
    }
    return count;
  }

  #takeSourceToken(source: number): boolean {
    if (!this.#isRefilled) this.#refill();
    const bucket = Math.imul(source, SOURCE_MULTIPLIER) >>> SOURCE_SHIFT;
    const nowMs = this.#refilledMs;
    const gained = ((nowMs - this.#sourceRefilledMs[bucket]!) * SOURCE_ICMP_PER_SECOND) / 1000;
    const tokens = Math.min(SOURCE_ICMP_BURST, this.#sourceTokens[bucket]! + gained);
    const isTaken = tokens >= 1;
    this.#sourceRefilledMs[bucket] = nowMs;
    this.#sourceTokens[bucket] = isTaken ? tokens - 1 : tokens;
    return isTaken;
  }

  #takeToken(): boolean {
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
