import { BATCH_MAX, Batch, HEADROOM_BYTES, receiveBatch, slotBytes } from '../io/batch.ts';
import { CALL_PACKETS_MAX } from '../io/native.ts';

/**
 * All the packet memory of one engine, allocated once.
 *
 *   | slots from the device | slots from the underlay | headers of segments, a slot an entry | SPARE_BYTES: fragments we make |
 *
 * Pages that no packet touched cost no memory, so an idle engine pays for little of it.
 */
export class Slab {
  readonly bytes: Uint8Array;
  readonly fromDevice: Batch;
  readonly fromUnderlay: Batch;
  readonly toUnderlay: Batch;
  readonly toDevice: Batch;
  readonly spare: Spare;
  /** Entry `i` of `toUnderlay` may have its headers at `headersAt + i * HEADER_SLOT_BYTES`. */
  readonly headersAt: number;

  constructor() {
    this.headersAt = 2 * slotBytes(BATCH_MAX);
    const spareAt = this.headersAt + UNDERLAY_BATCH * HEADER_SLOT_BYTES;
    this.bytes = new Uint8Array(new SharedArrayBuffer(spareAt + SPARE_BYTES));
    this.fromDevice = receiveBatch(this.bytes, 0, BATCH_MAX);
    this.fromUnderlay = receiveBatch(this.bytes, slotBytes(BATCH_MAX), BATCH_MAX);
    this.toUnderlay = new Batch(this.bytes, UNDERLAY_BATCH);
    this.toDevice = new Batch(this.bytes, BATCH_MAX);
    this.spare = new Spare(spareAt, SPARE_BYTES);
  }
}

/** What one system call sends: a super-packet of the device is 45 segments and more, and the fragments of one packet must fit. */
export const UNDERLAY_BATCH = CALL_PACKETS_MAX;

/** An outer header, and the longest IPv4 and TCP headers: 140 bytes. Three cache lines, an odd number as of other slots. */
export const HEADER_SLOT_BYTES = 192;

/**
 * Fragments of one packet at most: 65,535 bytes over the smallest inner MTU that a peer can have (576, of which 552 are payload
 * in units of 8) is 119.
 */
export const FRAGMENTS_MAX = 128;

/** Besides its payload a fragment takes a header with options, what rounding to units of 8 leaves free, headroom, and alignment to 16. */
const SPARE_BYTES_PER_FRAGMENT = 60 + 8 + HEADROOM_BYTES + 16;

/** Holds the fragments of one packet of the largest size, whatever its options, and the packet too where that is a segment. */
export const SPARE_BYTES = 2 * 65_536 + FRAGMENTS_MAX * SPARE_BYTES_PER_FRAGMENT;

/** Memory for packets that the engine makes itself: handed out from the front, all given back at once when a flush is complete. */
export class Spare {
  readonly #start: number;
  readonly #end: number;
  #next: number;

  constructor(start: number, lengthBytes: number) {
    this.#start = start;
    this.#end = start + lengthBytes;
    this.#next = start;
  }

  /** Offset of `lengthBytes` of room with HEADROOM_BYTES before it, or -1. */
  take(lengthBytes: number): number {
    const at = this.#next + HEADROOM_BYTES;
    // Multiples of 16 keep the headers of made packets as aligned as those of received ones.
    const next = (at + lengthBytes + 15) & ~15;
    if (next > this.#end) return -1;
    this.#next = next;
    return at;
  }

  freeBytes(): number {
    return this.#end - this.#next;
  }

  reset(): void {
    this.#next = this.#start;
  }
}
