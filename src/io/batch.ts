/**
 * Packets on their way, as columns over one slab. Packet `i` is `bytes[at[i] .. at[i] + length[i])`, an IPv4 packet from its first
 * header byte. All batches of one engine share one `bytes`, so a packet moves from a receive batch to a send batch by copying four
 * numbers.
 *
 *   slot s of a receive batch, SLOT_BYTES apart:
 *   |<-- HEADROOM_BYTES -->|<------------- PACKET_BYTES_MAX ------------->|
 *   |  outer header, vnet  |  the packet as it was received               |
 *                          ^ at
 */
export class Batch {
  readonly bytes: Uint8Array;
  readonly capacity: number;
  readonly at: Int32Array;
  readonly length: Int32Array;
  /** Underlay send: outer destination, host order. Otherwise unused. */
  readonly address: Uint32Array;
  /** Index of the peer the packet goes to or came from, -1 where there is none. */
  readonly peer: Int32Array;
  count = 0;

  constructor(bytes: Uint8Array, capacity: number) {
    this.bytes = bytes;
    this.capacity = capacity;
    this.at = new Int32Array(capacity);
    this.length = new Int32Array(capacity);
    this.address = new Uint32Array(capacity);
    this.peer = new Int32Array(capacity).fill(-1);
  }
}

/** Room before each received packet: the 20-byte outer header, a 12-byte vnet header or a 14-byte Ethernet header, rounded up. */
export const HEADROOM_BYTES = 64;

/** Raw sockets hand over merged packets up to the IPv4 maximum (measured: 64,312 bytes with GRO), so a slot holds any of them. */
export const PACKET_BYTES_MAX = 65_535;

/** Not a power of two: slots 64 KiB apart would all map to the same cache sets. */
export const SLOT_BYTES = 65_536 + 512;

/** Packets moved by one call. Larger batches were measured to gain nothing: the cost is per packet, in the kernel. */
export const BATCH_MAX = 64;
