import type { Batch } from '../io/batch.ts';
import { type Native, SEGMENT } from '../io/native.ts';
import { HEADER_SLOT_BYTES, type Spare } from './slab.ts';

/**
 * The packet that is being cut: at most one at a time, and it may take several flushes of the output, since one of 64 KiB makes more
 * segments than a batch holds when they are small. Where it goes was decided once, for all of it.
 */
export class Segmenter {
  /** Segments that are not written yet: 0 when no packet is being cut. */
  left = 0;
  peer = -1;
  gateway = 0;
  /** Whether segments are larger than the path carries, and have to be fragmented one by one. */
  isTooBig = false;
  readonly #native: Pick<Native, 'segment'>;
  readonly #out: Batch;
  readonly #request: Int32Array;
  readonly #arenaAt: number;
  #headers = 0;
  /** One segment by itself. */
  readonly #at = new Int32Array(1);
  readonly #length = new Int32Array(1);
  readonly #pieces = new Int32Array(3);

  /**
   * `request` is shared with whoever hands out the outer IDs: its ID cells are set. Entry `i` of `out` has its headers at
   * `arenaAt + i * HEADER_SLOT_BYTES`.
   */
  constructor(native: Pick<Native, 'segment'>, out: Batch, request: Int32Array, arenaAt: number) {
    this.#native = native;
    this.#out = out;
    this.#request = request;
    this.#arenaAt = arenaAt;
    request[SEGMENT.ARENA_STRIDE] = HEADER_SLOT_BYTES;
  }

  /** From now on this packet, of `count` segments, behind the template of its outer headers, `outerBytes` long. `headers` is what gsoHeaders said. */
  begin(
    at: number,
    length: number,
    headers: number,
    size: number,
    count: number,
    peer: number,
    gateway: number,
    isTooBig: boolean,
    outerBytes: number,
  ): void {
    const request = this.#request;
    request[SEGMENT.PACKET_AT] = at;
    request[SEGMENT.PACKET_BYTES] = length;
    request[SEGMENT.SEGMENT_SIZE] = size;
    request[SEGMENT.NEXT] = 0;
    request[SEGMENT.OUTER_BYTES] = outerBytes;
    this.#headers = headers;
    this.left = count;
    this.peer = peer;
    this.gateway = gateway;
    this.isTooBig = isTooBig;
  }

  /** Appends as many segments as the output has room for. */
  append(): void {
    const out = this.#out;
    const request = this.#request;
    const from = out.count;
    const outerBytes = request[SEGMENT.OUTER_BYTES]!;
    const to = Math.min(out.capacity, from + this.left);
    request[SEGMENT.ARENA_AT] = this.#arenaAt;
    const written = this.#native.segment(out.bytes, request, out.at, out.length, out.pieces, from, to);
    const end = from + written;
    for (let i = from; i < end; i++) {
      out.address[i] = this.gateway;
      out.peer[i] = this.peer;
      out.packets[i] = 1;
      out.innerBytes[i] = out.length[i]! - outerBytes;
    }
    out.count = end;
    this.left -= written;
  }

  /** Inner bytes of the next segment. */
  nextBytes(): number {
    const request = this.#request;
    const size = request[SEGMENT.SEGMENT_SIZE]!;
    const begun = this.#headers + request[SEGMENT.NEXT]! * size;
    return this.#headers + Math.min(size, request[SEGMENT.PACKET_BYTES]! - begun);
  }

  /** Copies the next segment whole to spare memory, which has room for it, and returns where its inner header lies. */
  copyNext(spare: Spare): number {
    const bytes = this.#out.bytes;
    const request = this.#request;
    const at = spare.take(this.nextBytes());
    request[SEGMENT.ARENA_AT] = at - request[SEGMENT.OUTER_BYTES]!;
    this.#native.segment(bytes, request, this.#at, this.#length, this.#pieces, 0, 1);
    const payloadAt = this.#pieces[1]!;
    bytes.copyWithin(at + this.#headers, payloadAt, payloadAt + this.#pieces[2]!);
    this.left -= 1;
    return at;
  }
}

/**
 * What describes a packet to `Native.segment`, with the outer IDs of engine `engine` of 0 … `engines` - 1 in it: they are those of all its
 * packets. An ID must not repeat for a (source, destination, protocol) within a datagram's life when it may be fragmented (RFC 6864 §4.2),
 * so each engine has a block of its own; steps of `engines` would only keep them apart where that divides 65,536.
 */
export function segmentRequest(engine: number, engines: number): Int32Array {
  const request = new Int32Array(SEGMENT.CELLS);
  const block = Math.floor(IDS / engines);
  // Without 0, for which Linux fills in an ID of its own choice on a raw socket.
  const first = Math.max(1, engine * block);
  request[SEGMENT.ID_FIRST] = first;
  request[SEGMENT.ID_COUNT] = (engine + 1) * block - first;
  return request;
}

const IDS = 65_536;
