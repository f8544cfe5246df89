import type { IpAddress } from '../base/address.ts';
import { addressOfWords, wordsOf } from '../base/address6.ts';
import { assert } from '../base/assert.ts';
import { CLUSTERS_MAX } from '../base/limits.ts';
import type { Reclaimer } from './arena.ts';
import { capacityError } from './capacity.ts';
import type { FibUdp } from './entry.ts';
import {
  HEADER,
  PEER,
  PEER_FLAG,
  PEER_HASH_BANKS,
  PEER_HASH_MASK,
  PEER_HASH_MULTIPLIER,
  PEER_HASH_SHIFT,
  PEER_HASH_TOMBSTONE,
  PEER_HASH_WORDS,
  PEER_WORDS,
  PEERS,
  PEERS_MAX,
} from './layout.ts';
import { findPeer, findPeer6, foldAddress6, peerAddressAt, peerWord } from './lookup.ts';
import type { Retired } from './retired.ts';

/**
 * With this many tombstones the hash is written anew into the other bank, so that probes for strangers stay short. Live words and tombstones
 * never fill more than 9/16 of a bank: at most PEERS_MAX live ones and these; and while readers still hold the other bank no peer index
 * comes back, so that what is added and removed meanwhile counts against PEERS_MAX too.
 */
const TOMBSTONES_MAX = PEER_HASH_WORDS / 16;

/** The index of the peer with this underlay address, -1 when there is none. */
export function peerOf(words: Uint32Array, address: IpAddress): number {
  return typeof address === 'number' ? findPeer(words, address) : findPeer6(words, ...wordsOf(address));
}

/** 32 bits that stand for the address in hashes: the whole of an IPv4 one. */
export function addressHash(address: IpAddress): number {
  return typeof address === 'number' ? address : foldAddress6(...wordsOf(address)) >>> 0;
}

/**
 * The peer records of the image and the hash that finds them by address. Peers are counted by the groups they are members of. All have
 * addresses of one family, that of the underlay.
 */
export class Peers implements Reclaimer {
  readonly #words: Uint32Array;
  readonly #retired: Retired;
  readonly #released: (peer: number, address: IpAddress) => void;
  readonly #uses = new Uint32Array(PEERS_MAX);
  /** How many groups of a cluster the peer is in, by peer * CLUSTERS_MAX + cluster. */
  readonly #clusterUses = new Map<number, number>();
  readonly #free: number[] = [];
  #highWater = 0;
  #live = 0;
  #tombstones = 0;
  #failOpen = false;
  #isIpv6 = false;
  #udp: FibUdp | undefined;
  /** No reader can still be in the bank that is not in force. */
  #spareFree = true;
  readonly #spareBank: Reclaimer = { reclaimed: () => this.#spareReclaimed() };

  /** `released` is told each index that no reader can hold any more, before it is used again. */
  constructor(words: Uint32Array, retired: Retired, released: (peer: number, address: IpAddress) => void) {
    this.#words = words;
    this.#retired = retired;
    this.#released = released;
    words[HEADER.PEER_HASH] = PEER_HASH_BANKS[0];
  }

  get count(): number {
    return this.#live;
  }

  /** Records that were ever used. */
  get highWater(): number {
    return this.#highWater;
  }

  /** Throws ISTHMUS_ERR_CAPACITY when those of `addresses` that are new would be too many. */
  checkRoom(addresses: Iterable<IpAddress>): void {
    let missing = 0;
    for (const address of addresses) if (peerOf(this.#words, address) < 0) missing += 1;
    if (missing <= this.#room()) return;
    this.#retired.reclaim(Number.POSITIVE_INFINITY);
    if (missing > this.#room()) throw capacityError('gateways', PEERS_MAX, `${missing} more do not fit`);
  }

  /** The index of the peer, counted once more for `cluster`. A new peer is alive and has the path MTU of the link. */
  acquire(address: IpAddress, cluster: number): number {
    let peer = peerOf(this.#words, address);
    if (peer < 0) peer = this.#add(address);
    this.#uses[peer]! += 1;
    const key = peer * CLUSTERS_MAX + cluster;
    const uses = this.#clusterUses.get(key) ?? 0;
    this.#clusterUses.set(key, uses + 1);
    if (uses === 0) this.#setCluster(peer, cluster, true);
    return peer;
  }

  release(peer: number, cluster: number): void {
    assert(this.#uses[peer]! > 0, 'only a peer in use is released');
    const key = peer * CLUSTERS_MAX + cluster;
    const uses = this.#clusterUses.get(key) ?? 0;
    if (uses > 1) this.#clusterUses.set(key, uses - 1);
    else {
      this.#clusterUses.delete(key);
      this.#setCluster(peer, cluster, false);
    }
    this.#uses[peer]! -= 1;
    if (this.#uses[peer] === 0) this.#remove(peer);
  }

  reclaimed(peer: number): void {
    const address = this.addressOf(peer);
    this.#words.fill(0, PEERS + peer * PEER_WORDS, PEERS + (peer + 1) * PEER_WORDS);
    this.#released(peer, address);
    this.#free.push(peer);
  }

  addressOf(peer: number): IpAddress {
    const at = peerAddressAt(peer);
    const isIpv6 = (peerWord(this.#words, peer, PEER.FLAGS) & PEER_FLAG.IPV6) !== 0;
    return isIpv6 ? addressOfWords(this.#words, at) : this.#words[at]!;
  }

  isAlive(peer: number): boolean {
    return (peerWord(this.#words, peer, PEER.FLAGS) & PEER_FLAG.ALIVE) !== 0;
  }

  setAlive(peer: number, alive: boolean): void {
    const at = PEERS + peer * PEER_WORDS + PEER.FLAGS;
    Atomics.store(this.#words, at, this.#flags(alive) | (this.#words[at]! & PEER_FLAG.IPV6));
  }

  /** Where every gateway is dead, packets go to them all the same. */
  setFailOpen(failOpen: boolean): void {
    this.#failOpen = failOpen;
    for (const peer of this.indexes()) this.setAlive(peer, this.isAlive(peer));
  }

  /** Undefined: packets go to all peers as IP protocol 4. */
  setUdp(udp: FibUdp | undefined): void {
    this.#udp = udp;
    for (const peer of this.indexes()) {
      const port = this.#portOf(this.addressOf(peer));
      Atomics.store(this.#words, PEERS + peer * PEER_WORDS + PEER.UDP_PORT, port);
    }
  }

  setPathMtu(peer: number, bytes: number): void {
    Atomics.store(this.#words, PEERS + peer * PEER_WORDS + PEER.PATH_MTU, bytes);
  }

  /** Indexes of the peers in use, ascending. */
  *indexes(): Generator<number> {
    for (let peer = 0; peer < this.#highWater; peer++) if (this.#uses[peer] !== 0) yield peer;
  }

  /** Indexes of the clusters that the peer serves, ascending. */
  clustersOf(peer: number): number[] {
    const clusters: number[] = [];
    for (let index = 0; index < CLUSTERS_MAX / 32; index++) {
      let bits = peerWord(this.#words, peer, PEER.CLUSTERS + index) | 0;
      for (; bits !== 0; bits &= bits - 1) clusters.push(index * 32 + 31 - Math.clz32(bits & -bits));
    }
    return clusters;
  }

  #portOf(address: IpAddress): number {
    return this.#udp === undefined ? 0 : (this.#udp.peerPorts.get(address) ?? this.#udp.port);
  }

  #flags(alive: boolean): number {
    if (alive) return PEER_FLAG.USED | PEER_FLAG.ALIVE | PEER_FLAG.PICKED;
    return this.#failOpen ? PEER_FLAG.USED | PEER_FLAG.PICKED : PEER_FLAG.USED;
  }

  #room(): number {
    return this.#free.length + PEERS_MAX - this.#highWater;
  }

  #add(address: IpAddress): number {
    const peer = this.#free.pop() ?? this.#highWater;
    assert(peer < PEERS_MAX, 'room for the peer was checked');
    if (peer === this.#highWater) this.#highWater += 1;
    const at = PEERS + peer * PEER_WORDS;
    const isIpv6 = typeof address === 'bigint';
    assert(this.#live === 0 || isIpv6 === this.#isIpv6, 'all peers are of one family');
    this.#isIpv6 = isIpv6;
    this.#words.set(isIpv6 ? wordsOf(address) : [address], at + PEER.ADDRESS);
    this.#words[at + PEER.PATH_MTU] = 0;
    this.#words[at + PEER.UDP_PORT] = this.#portOf(address);
    this.#words[at + PEER.FLAGS] = this.#flags(true) | (isIpv6 ? PEER_FLAG.IPV6 : 0);
    if (this.#tombstones >= TOMBSTONES_MAX) this.#rewriteHash();
    const slot = this.#slotForInsert(this.#words[HEADER.PEER_HASH]!, address);
    if (this.#words[slot] === PEER_HASH_TOMBSTONE) this.#tombstones -= 1;
    Atomics.store(this.#words, slot, peer + 1);
    this.#live += 1;
    return peer;
  }

  #remove(peer: number): void {
    const words = this.#words;
    const bank = words[HEADER.PEER_HASH]!;
    let slot = hashSlot(this.addressOf(peer));
    while (words[bank + slot] !== peer + 1) slot = (slot + 1) & PEER_HASH_MASK;
    // Shifting later words back, as linear probing usually deletes, would hide a peer from a reader that has just passed its new place.
    Atomics.store(words, bank + slot, PEER_HASH_TOMBSTONE);
    this.#tombstones += 1;
    this.#live -= 1;
    // Tombstones right before an empty word serve no probe.
    while (words[bank + slot] === PEER_HASH_TOMBSTONE && words[bank + ((slot + 1) & PEER_HASH_MASK)] === 0) {
      Atomics.store(words, bank + slot, 0);
      this.#tombstones -= 1;
      slot = (slot - 1) & PEER_HASH_MASK;
    }
    this.#retired.retire(this, peer);
  }

  /** The word where a peer that is not in the bank goes: the first empty one or tombstone of its probe sequence. */
  #slotForInsert(bank: number, address: IpAddress): number {
    let slot = hashSlot(address);
    for (;;) {
      const held = this.#words[bank + slot]!;
      if (held === 0 || held === PEER_HASH_TOMBSTONE) return bank + slot;
      slot = (slot + 1) & PEER_HASH_MASK;
    }
  }

  #rewriteHash(): void {
    if (!this.#spareFree) return;
    const words = this.#words;
    const old = words[HEADER.PEER_HASH]!;
    const bank = old === PEER_HASH_BANKS[0] ? PEER_HASH_BANKS[1] : PEER_HASH_BANKS[0];
    words.fill(0, bank, bank + PEER_HASH_WORDS);
    for (let at = old; at < old + PEER_HASH_WORDS; at++) {
      const held = words[at]!;
      if (held === 0 || held === PEER_HASH_TOMBSTONE) continue;
      words[this.#slotForInsert(bank, this.addressOf(held - 1))] = held;
    }
    Atomics.store(words, HEADER.PEER_HASH, bank);
    this.#tombstones = 0;
    this.#spareFree = false;
    this.#retired.retire(this.#spareBank, old);
  }

  #spareReclaimed(): void {
    this.#spareFree = true;
  }

  #setCluster(peer: number, cluster: number, member: boolean): void {
    const at = PEERS + peer * PEER_WORDS + PEER.CLUSTERS + (cluster >>> 5);
    const bit = 1 << (cluster & 31);
    const bits = this.#words[at]!;
    Atomics.store(this.#words, at, member ? bits | bit : bits & ~bit);
  }
}

function hashSlot(address: IpAddress): number {
  return Math.imul(addressHash(address), PEER_HASH_MULTIPLIER) >>> PEER_HASH_SHIFT;
}
