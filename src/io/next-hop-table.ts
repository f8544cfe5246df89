import type { Address, IpAddress } from '../base/address.ts';
import { assert } from '../base/assert.ts';

/**
 * A record of eight words in shared memory for each peer of the FIB image: where packets to it leave this host. The main thread writes,
 * packet workers read (native/link.c repeats the numbers). `SEQUENCE` is odd while a record is being written; a reader that meets an odd
 * one, or another one after reading than before, takes the next hop for unknown.
 *
 *   | SEQUENCE | ADDRESS of the peer | DEVICE index, 0 = unknown | MAC bytes 0 to 3 | MAC bytes 4 and 5, then 16 zero bits | three unused |
 */
export const HOP = { SEQUENCE: 0, ADDRESS: 1, DEVICE: 2, MAC_HIGH: 3, MAC_LOW: 4 } as const;

/** 32 bytes: two records a cache line, none in two. */
export const HOP_WORDS = 8;

export const MAC_BYTES = 6;

/** Bytes of a table for `peers` peers. Pages that no peer touches cost no memory. */
export function nextHopBytes(peers: number): number {
  return peers * HOP_WORDS * Uint32Array.BYTES_PER_ELEMENT;
}

/** The writing side, and what the main thread reads for people. Peer indexes are those of the FIB image. */
export class NextHopTable {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Uint32Array;

  constructor(peers: number) {
    this.buffer = new SharedArrayBuffer(nextHopBytes(peers));
    this.#words = new Uint32Array(this.buffer);
  }

  /** Packets to `address`, which has this index, leave by the device with this index to the host with this MAC address. */
  set(peer: number, address: Address, deviceIndex: number, mac: Uint8Array): void {
    assert(deviceIndex > 0, 'device indexes begin at 1');
    assert(mac.length === MAC_BYTES, 'an Ethernet address has six bytes');
    const high = ((mac[0]! << 24) | (mac[1]! << 16) | (mac[2]! << 8) | mac[3]!) >>> 0;
    const low = ((mac[4]! << 24) | (mac[5]! << 16)) >>> 0;
    this.#write(peer, address, deviceIndex, high, low);
  }

  clear(peer: number): void {
    this.#write(peer, 0, 0, 0, 0);
  }

  has(peer: number, address: IpAddress): boolean {
    return typeof address === 'number' && hasNextHop(this.#words, peer, address);
  }

  /** How many of these have a next hop. */
  countKnown(peers: Iterable<{ readonly index: number; readonly address: IpAddress }>): number {
    let count = 0;
    for (const { index, address } of peers) if (this.has(index, address)) count += 1;
    return count;
  }

  #write(peer: number, address: Address, device: number, high: number, low: number): void {
    const words = this.#words;
    const at = peer * HOP_WORDS;
    assert(at >= 0 && at < words.length, 'a peer of the image has a record');
    Atomics.add(words, at + HOP.SEQUENCE, 1);
    Atomics.store(words, at + HOP.ADDRESS, address);
    Atomics.store(words, at + HOP.DEVICE, device);
    Atomics.store(words, at + HOP.MAC_HIGH, high);
    Atomics.store(words, at + HOP.MAC_LOW, low);
    Atomics.add(words, at + HOP.SEQUENCE, 1);
  }
}

/**
 * Whether the table names a next hop now. Only a hint on another thread than the writer's: it is read without regard to the sequence, and
 * may be another one a moment later.
 */
export function hasNextHop(words: Uint32Array, peer: number, address: number): boolean {
  const at = peer * HOP_WORDS;
  if (at < 0 || at >= words.length) return false;
  return words[at + HOP.DEVICE] !== 0 && words[at + HOP.ADDRESS] === address;
}
