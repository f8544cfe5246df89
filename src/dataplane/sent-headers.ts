import type { Batch } from '../io/batch.ts';
import { readU16, readU32, writeU32 } from '../packet/bytes.ts';
import { flowHash } from '../packet/flow.ts';
import { FOU, FOU_ENCAPSULATION_BYTES, fouSourcePort } from '../packet/fou.ts';
import { IPIP_ENCAPSULATION_BYTES } from '../packet/ipip.ts';
import { IPV4, totalLength } from '../packet/ipv4.ts';

/**
 * The heads of inner packets that were sent lately, by the ID of their outer header: what RFC 2003 §4 misses for an exact relay when a
 * router quotes only the 8 bytes that RFC 792 demands, none of which is an address.
 *
 *   row = outer ID % SENT_ROWS     row: | gateway u32 | 28 bytes: an inner header without options, and 8 bytes behind it |
 *
 * Written by one engine, read by the slow path at any time. A row may be overwritten while it is read: what comes out is compared with
 * the quote before and after, and a wrong answer would be an ICMP error about no flow of its receiver, which ignores it.
 */
export const SENT_ROWS = 4096;

/** An inner header without options and the 8 bytes behind it, which an ICMP error has to quote (RFC 792). */
export const SENT_HEAD_BYTES = 28;

/**
 * Of more packets in a row than this only every third is kept: no more than a hundred errors of a peer are relayed in a second, and keeping
 * each costs 8 ns a packet where that counts (bench/engine.bench.ts). Three, because packets of two or four flows take turns.
 */
const FULL_BATCH = 16;
const STEP = 3;

const HEAD_WORDS = SENT_HEAD_BYTES / 4;
const ROW_WORDS = 1 + HEAD_WORDS;
const ROW_MASK = SENT_ROWS - 1;
/** What the least quote of an outer packet has of the inner one: version to fragment offset. */
const QUOTED_WORDS = 2;

/** Of the outer headers: IPv4, IPv4 and UDP, or IPv6. */
export type Encapsulation = 'ipip' | 'fou' | 'ipip6';

export const SENT_HEADERS_BYTES = SENT_ROWS * ROW_WORDS * 4;

export class SentHeaders {
  readonly #words: Uint32Array;
  /** Of the headers before an inner packet. */
  readonly #outerBytes: number;
  readonly #isOff: boolean;

  /** With `ipip6` nothing is kept: every ICMPv6 error quotes what it is about (RFC 4443 §2.4 (c)), and its outer header has no ID. */
  constructor(buffer: SharedArrayBuffer, encapsulation: Encapsulation = 'ipip') {
    this.#words = new Uint32Array(buffer);
    this.#outerBytes = encapsulation === 'fou' ? FOU_ENCAPSULATION_BYTES : IPIP_ENCAPSULATION_BYTES;
    this.#isOff = encapsulation === 'ipip6';
  }

  /** Keeps heads of the entries `from` … `to - 1` of what goes to the underlay; all of them where they are few. On the packet path. */
  remember(batch: Batch, from: number, to: number): void {
    if (this.#isOff) return;
    const words = this.#words;
    const outerBytes = this.#outerBytes;
    const { view, at: column, length, address } = batch;
    const step = to - from > FULL_BATCH ? STEP : 1;
    for (let i = from; i < to; i += step) {
      const at = column[i]!;
      // Only first fragments of an outer packet have an inner header, and all fragments have one ID.
      if ((view.getUint16(at + IPV4.FRAGMENT) & IPV4.OFFSET_MASK) !== 0) continue;
      if (length[i]! < outerBytes + SENT_HEAD_BYTES) continue;
      const row = (view.getUint16(at + IPV4.ID) & ROW_MASK) * ROW_WORDS;
      const head = at + outerBytes;
      words[row] = address[i]!;
      words[row + 1] = view.getInt32(head);
      words[row + 2] = view.getInt32(head + 4);
      words[row + 3] = view.getInt32(head + 8);
      words[row + 4] = view.getInt32(head + 12);
      words[row + 5] = view.getInt32(head + 16);
      words[row + 6] = view.getInt32(head + 20);
      words[row + 7] = view.getInt32(head + 24);
    }
  }

  /**
   * Writes the head of the packet that went to `gateway` with this outer ID to `out`, if the 8 bytes at `at` of `bytes`, which stood behind
   * the outer IPv4 header, are those it left with. On the slow path.
   */
  recall(gateway: number, id: number, bytes: Uint8Array, at: number, out: Uint8Array): boolean {
    const row = (id & ROW_MASK) * ROW_WORDS;
    if (this.#outerBytes === FOU_ENCAPSULATION_BYTES) {
      if (this.#words[row] !== gateway >>> 0) return false;
      this.#copy(row, out);
      return isDatagramOf(out, bytes, at);
    }
    if (!this.#matches(row, gateway, bytes, at)) return false;
    this.#copy(row, out);
    return this.#matches(row, gateway, bytes, at);
  }

  #copy(row: number, out: Uint8Array): void {
    for (let i = 0; i < HEAD_WORDS; i++) writeU32(out, i * 4, this.#words[row + 1 + i]!);
  }

  #matches(row: number, gateway: number, bytes: Uint8Array, at: number): boolean {
    if (this.#words[row] !== gateway >>> 0) return false;
    for (let i = 0; i < QUOTED_WORDS; i++) {
      if (this.#words[row + 1 + i] !== readU32(bytes, at + i * 4)) return false;
    }
    return true;
  }
}

/** Whether the UDP header at `at` of `bytes` is the one that the packet with this head went behind: its length, and the port of its flow. */
function isDatagramOf(head: Uint8Array, bytes: Uint8Array, at: number): boolean {
  if (readU16(bytes, at + FOU.LENGTH) !== totalLength(head, 0) + FOU.HEADER_BYTES) return false;
  return readU16(bytes, at + FOU.SOURCE_PORT) === fouSourcePort(flowHash(head, 0));
}
