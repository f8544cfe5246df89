/**
 * Packets on their way, as columns over one slab. Packet `i` begins with its first header byte at `bytes[at[i]]` and is `length[i]` bytes
 * long. All batches of one engine share one `bytes`, so a packet moves from a receive batch to a send batch by copying a few numbers.
 *
 * A received packet is contiguous. One that is sent may be gathered: its first bytes lie at `at[i]`, the others in pieces elsewhere in
 * the slab, so that a segment is sent without its payload being copied, and merged packets are written as one. `length[i]` counts them
 * all; the first piece is what the others leave of it.
 *
 *   pieces: | capacity cells: pieces of entry i behind its first, 0 = contiguous | at, length | at, length | … in the order of the entries |
 */
export class Batch {
  readonly bytes: Uint8Array;
  /** The same memory, for headers that are read by whole words. */
  readonly view: DataView;
  readonly capacity: number;
  readonly at: Int32Array;
  readonly length: Int32Array;
  /** Underlay send: outer destination, host order. Otherwise unused. */
  readonly address: Uint32Array;
  /** Index of the peer the packet goes to or came from, -1 where there is none. */
  readonly peer: Int32Array;
  /** Send: packets of the wire that the entry stands for, and the inner bytes that are counted for it. */
  readonly packets: Int32Array;
  readonly innerBytes: Int32Array;
  readonly pieces: Int32Array;
  /** Receive: where the slots are, the cells of LAYOUT; all 0 in a batch that only sends. */
  readonly layout: Int32Array;
  count = 0;

  constructor(bytes: Uint8Array, capacity: number, layout: Int32Array = new Int32Array(LAYOUT.CELLS)) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.capacity = capacity;
    this.at = new Int32Array(capacity);
    this.length = new Int32Array(capacity);
    this.address = new Uint32Array(capacity);
    this.peer = new Int32Array(capacity).fill(-1);
    this.packets = new Int32Array(capacity).fill(1);
    this.innerBytes = new Int32Array(capacity);
    this.pieces = new Int32Array(capacity + 2 * PIECES_MAX);
    this.layout = layout;
  }

  /** Where a received packet of `lengthBytes` goes that is entry `index`. */
  roomFor(index: number, lengthBytes: number): number {
    const layout = this.layout;
    return lengthBytes <= layout[LAYOUT.SMALL_BYTES]!
      ? layout[LAYOUT.SMALL_AT]! + index * layout[LAYOUT.SMALL_STRIDE]!
      : layout[LAYOUT.LARGE_AT]! + index * layout[LAYOUT.LARGE_STRIDE]!;
  }

  /** Cell of the first (at, length) pair of entry `index`. */
  pairOf(index: number): number {
    let pairs = 0;
    for (let i = 0; i < index; i++) pairs += this.pieces[i]!;
    return this.capacity + 2 * pairs;
  }

  /** Copies the whole packet of entry `index`, whose pairs begin at cell `pair`, to `target[to …]`: for ends that cannot gather. */
  gather(index: number, pair: number, target: Uint8Array, to: number): void {
    const pieces = this.pieces;
    const end = pair + 2 * pieces[index]!;
    let firstBytes = this.length[index]!;
    for (let cell = pair; cell < end; cell += 2) firstBytes -= pieces[cell + 1]!;
    const at = this.at[index]!;
    target.set(this.bytes.subarray(at, at + firstBytes), to);
    let next = to + firstBytes;
    for (let cell = pair; cell < end; cell += 2) {
      const pieceAt = pieces[cell]!;
      target.set(this.bytes.subarray(pieceAt, pieceAt + pieces[cell + 1]!), next);
      next += pieces[cell + 1]!;
    }
  }
}

/** Room before each received packet: the 20-byte outer header, a 12-byte vnet header or a 14-byte Ethernet header, rounded up. */
export const HEADROOM_BYTES = 64;

/** Raw sockets hand over merged packets up to the IPv4 maximum (measured: 64,312 bytes with GRO), and so does the device. */
export const PACKET_BYTES_MAX = 65_535;

/** Nearly every packet of an MTU up to here is whole in a small slot; 64 of them lie in 132 KiB, which the second-level cache holds. */
export const SMALL_BYTES = 2048;

/**
 * The slots of a receive batch: entry `i` has a small one and a large one. The kernel fills the small room and goes on in the large slot
 * behind its lead; a packet that got there has its first SMALL_BYTES copied to the lead, so that every packet is contiguous.
 *
 *   small slot, SMALL_SLOT_BYTES apart         large slot, LARGE_SLOT_BYTES apart
 *   | HEADROOM | SMALL_BYTES |                 | HEADROOM | lead: SMALL_BYTES | the rest of PACKET_BYTES_MAX |
 *              ^ at                                       ^ at
 *
 * Both strides are an odd number of 64-byte cache lines (33 and 1,025): by powers of two, all slots would share a few cache sets.
 */
export const LAYOUT = {
  SMALL_AT: 0,
  SMALL_STRIDE: 1,
  SMALL_BYTES: 2,
  LARGE_AT: 3,
  LARGE_STRIDE: 4,
  /** Of the whole room, lead included. 0: there are no large slots, and longer packets are cut off. */
  LARGE_BYTES: 5,
  CELLS: 6,
} as const;

export const SMALL_SLOT_BYTES = HEADROOM_BYTES + SMALL_BYTES;
export const LARGE_SLOT_BYTES = HEADROOM_BYTES + PACKET_BYTES_MAX + 1;

/** Packets moved by one call. Larger batches were measured to gain nothing: the cost is per packet, in the kernel. */
export const BATCH_MAX = 64;

/** Pieces of all entries of one batch: a full send batch of segments has one payload each, and the kernel is given no more in one call. */
export const PIECES_MAX = 256;

/** Bytes of the slots of a receive batch of `capacity` packets. */
export function slotBytes(capacity: number): number {
  return capacity * (SMALL_SLOT_BYTES + LARGE_SLOT_BYTES);
}

/** A batch of `capacity` packets that receives into `bytes[start .. start + slotBytes(capacity))`; `start` is a multiple of 64. */
export function receiveBatch(bytes: Uint8Array, start: number, capacity: number): Batch {
  const layout = Int32Array.of(
    start + HEADROOM_BYTES,
    SMALL_SLOT_BYTES,
    SMALL_BYTES,
    start + capacity * SMALL_SLOT_BYTES + HEADROOM_BYTES,
    LARGE_SLOT_BYTES,
    PACKET_BYTES_MAX,
  );
  return new Batch(bytes, capacity, layout);
}
