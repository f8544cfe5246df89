import {
  type Cidr,
  type Cidr4,
  type CidrKey,
  cidrKey,
  cidrOfKey,
  type IpAddress,
  isCidr4,
  prefixMask,
} from '../base/address.ts';
import { networkOf6, wordsOf } from '../base/address6.ts';
import { assert } from '../base/assert.ts';
import { DECAPSULATE_FROM_MAX, LOCAL_CIDRS_MAX } from '../base/limits.ts';
import { FOU_ENCAPSULATION_BYTES } from '../packet/fou.ts';
import { IPIP_ENCAPSULATION_BYTES } from '../packet/ipip.ts';
import { IPIP6_ENCAPSULATION_BYTES } from '../packet/ipip6.ts';
import { Arena } from './arena.ts';
import { capacityError } from './capacity.ts';
import { orderChanges } from './changes.ts';
import { Clusters } from './clusters.ts';
import type { FibEntry, FibSettings, FibStats, GatewayShare, PeerInfo } from './entry.ts';
import { Groups } from './groups.ts';
import {
  ARENA,
  ARENA_BYTES_DEFAULT,
  ARENA_BYTES_MAX,
  ARENA_BYTES_MIN,
  checkLayout,
  DSCP_INHERIT,
  GROUP_WORDS,
  HEADER,
  IMAGE_MAGIC,
  IMAGE_VERSION,
  LOCAL_GROUP,
  NO_GROUP,
  PEER,
  PEER_HASH_WORDS,
  PEER_WORDS,
  PREFIXES_MAX,
  QUIESCENT,
  READER_WORDS,
  READERS,
  READERS_MAX,
  ROOT,
  ROOT_ENTRIES,
  SETTINGS,
  SETTINGS_FLAG,
  SHARDS6_COUNT,
  SOURCE6,
  TTL_INHERIT,
  UNIT_WORDS,
} from './layout.ts';
import { peerWord } from './lookup.ts';
import { Peers, peerOf } from './peers.ts';
import { type Assigned6, Prefixes6, type Staged6 } from './prefixes6.ts';
import { Retired } from './retired.ts';
import { type Staged, Trie } from './trie.ts';

export type { FibEntry, FibSettings, FibStats, GatewayShare, PeerInfo } from './entry.ts';

export interface FibOptions {
  /** Room for nodes and bucket blocks, ARENA_BYTES_MIN to ARENA_BYTES_MAX. Untouched pages cost nothing. */
  readonly capacityBytes?: number;
  /** A peer index that no reader can hold any more: zero its counters, it may be given to another gateway next. `address` is whose it was. */
  readonly onPeerReleased?: (peer: number, address: IpAddress) => void;
  /** A u32 that nobody can guess: where IPv6 prefixes lie in the image. */
  readonly hashSeed?: number;
  /** For tests of epochs that wrap around. */
  readonly firstEpoch?: number;
}

/** A list of CIDRs with a group for each. */
interface Assignment {
  readonly cidrs: readonly Cidr[];
  readonly groups: Uint32Array;
}

interface BothStaged {
  readonly ipv4: Staged;
  readonly ipv6: Staged6;
}

/** Given back at most in one change, so that the change after a large one does not pay for all it left behind. */
const RECLAIM_PER_CHANGE = 1024;

/**
 * The control side of the FIB image: says what is to be forwarded, and keeps the image at it. Every method that changes something either does
 * all of it or throws ISTHMUS_ERR_CAPACITY and has done nothing. Readers in other threads see each address switch once, from old to new.
 */
export class Fib {
  readonly buffer: SharedArrayBuffer;
  readonly words: Uint32Array;
  readonly #arena: Arena;
  readonly #retired: Retired;
  readonly #clusters: Clusters;
  readonly #peers: Peers;
  readonly #groups: Groups;
  readonly #trie: Trie;
  readonly #prefixes6: Prefixes6;
  #local = new Set<CidrKey>();
  /** Groups of remote entries whose CIDR is exactly a local one, by cidrKey: local wins, and they come back when it goes. */
  #hidden = new Map<CidrKey, number>();

  constructor(options: FibOptions = {}) {
    checkLayout();
    const { capacityBytes = ARENA_BYTES_DEFAULT, onPeerReleased = () => {}, firstEpoch = 1 } = options;
    const { hashSeed = 0 } = options;
    assert(capacityBytes >= ARENA_BYTES_MIN, 'the arena holds at least ARENA_BYTES_MIN');
    assert(capacityBytes <= ARENA_BYTES_MAX, 'the arena holds at most ARENA_BYTES_MAX');
    const arenaWords = Math.floor(capacityBytes / 4 / UNIT_WORDS) * UNIT_WORDS;
    // One unit more than the arena has: a look-up may fetch the cache line behind any node.
    this.buffer = new SharedArrayBuffer((ARENA + arenaWords + UNIT_WORDS) * 4);
    this.words = new Uint32Array(this.buffer);
    this.words[HEADER.MAGIC] = IMAGE_MAGIC;
    this.words[HEADER.VERSION] = IMAGE_VERSION;
    this.words[HEADER.WORDS] = this.words.length;
    this.#arena = new Arena(ARENA, arenaWords, UNIT_WORDS);
    this.#retired = new Retired(this.words, firstEpoch);
    this.#clusters = new Clusters(this.words, this.#retired);
    this.#peers = new Peers(this.words, this.#retired, onPeerReleased);
    this.#groups = new Groups(this.words, this.#arena, this.#retired, this.#clusters, this.#peers);
    this.#trie = new Trie(this.words, this.#arena, this.#retired);
    this.#prefixes6 = new Prefixes6(this.words, this.#arena, this.#retired, hashSeed);
  }

  /** Writes the settings, one word at a time: a packet that is under way may still see some of the old ones. */
  configure(settings: FibSettings): void {
    this.#writeAllowed(settings.allowedSources);
    this.#clusters.setTransit(settings.transit);
    const failOpen = settings.failOpen ?? false;
    this.#peers.setFailOpen(failOpen);
    this.#groups.setFailOpen(failOpen);
    this.#peers.setUdp(settings.udp);
    const outerBytes = outerBytesOf(settings);
    const { source } = settings;
    const store = (word: number, value: number) => Atomics.store(this.words, word, value);
    store(SETTINGS.OUTER_BYTES, outerBytes);
    store(SETTINGS.UDP_PORT, settings.udp?.port ?? 0);
    store(SETTINGS.SOURCE, typeof source === 'number' ? source : 0);
    const words6 = wordsOf(typeof source === 'bigint' ? source : 0n);
    for (let i = 0; i < 4; i++) store(SOURCE6 + i, words6[i]!);
    store(SETTINGS.TUNNEL_ADDRESS, settings.tunnelAddress);
    store(SETTINGS.LINK_MTU, settings.linkMtuBytes);
    store(SETTINGS.DEVICE_MTU, settings.deviceMtuBytes ?? settings.linkMtuBytes - outerBytes);
    store(SETTINGS.TTL, settings.ttl === 'inherit' ? TTL_INHERIT : settings.ttl);
    store(SETTINGS.DSCP, settings.dscp === 'inherit' ? DSCP_INHERIT : settings.dscp);
    store(SETTINGS.FLAGS, settingsFlags(settings));
    this.#publish();
  }

  /** The CIDRs that are ours, instead of those given before. Of equal CIDRs local wins over remote; else the longest prefix wins. */
  setLocal(cidrs: readonly Cidr[]): void {
    const wanted = new Set<CidrKey>();
    for (const cidr of cidrs) wanted.add(cidrKey(cidr));
    if (wanted.size > LOCAL_CIDRS_MAX)
      throw capacityError('local CIDRs', LOCAL_CIDRS_MAX, `${wanted.size} were given`);
    const set: Cidr[] = [];
    const groups: number[] = [];
    const removed: Cidr[] = [];
    const hidden = new Map(this.#hidden);
    const retained: number[] = [];
    for (const key of wanted) {
      if (this.#local.has(key)) continue;
      const cidr = cidrOfKey(key);
      const group = this.#groupOf(cidr);
      if (group !== NO_GROUP) {
        hidden.set(key, group);
        retained.push(group);
      }
      set.push(cidr);
      groups.push(LOCAL_GROUP);
    }
    for (const key of this.#local) {
      if (wanted.has(key)) continue;
      const group = hidden.get(key);
      if (group === undefined) removed.push(cidrOfKey(key));
      else {
        hidden.delete(key);
        set.push(cidrOfKey(key));
        groups.push(group);
      }
    }
    const assignment = { cidrs: set, groups: Uint32Array.from(groups) };
    const staged = this.#stage(assignment, removed, false, []);
    for (const group of retained) this.#groups.retain(group);
    this.#hidden = hidden;
    this.#local = wanted;
    this.#commit(staged, []);
  }

  /** Makes `entries` all the remote entries there are. What is there already is not touched. */
  replace(entries: readonly FibEntry[]): void {
    this.#change(entries, [], true);
  }

  /** Adds or changes `set` and removes `removed`; a CIDR in both is set. Unknown CIDRs in `removed` are ignored. */
  apply(set: readonly FibEntry[], removed: readonly Cidr[]): void {
    this.#change(set, removed, false);
  }

  /** What is known about a gateway. False when no entry names it: then there is nothing to keep. */
  setPeer(address: IpAddress, change: { readonly alive?: boolean; readonly pathMtuBytes?: number }): boolean {
    const peer = peerOf(this.words, address);
    if (peer < 0) return false;
    if (change.pathMtuBytes !== undefined) this.#peers.setPathMtu(peer, change.pathMtuBytes);
    if (change.alive !== undefined && change.alive !== this.#peers.isAlive(peer)) {
      this.#peers.setAlive(peer, change.alive);
      this.#groups.peerChanged(peer, change.alive);
    }
    this.#publish();
    return true;
  }

  hasPeer(address: IpAddress): boolean {
    return peerOf(this.words, address) >= 0;
  }

  /** The UDP port to which packets for this gateway go; 0 = they go as IP protocol 4, or there is no such gateway. */
  udpPortOf(address: IpAddress): number {
    const peer = peerOf(this.words, address);
    return peer < 0 ? 0 : peerWord(this.words, peer, PEER.UDP_PORT);
  }

  /** Whether some entry has no other gateway alive than this one. */
  isNeeded(address: IpAddress): boolean {
    const peer = peerOf(this.words, address);
    return peer >= 0 && this.#groups.isNeeded(peer);
  }

  /** As `peers`, without what takes time to gather. */
  *peerAddresses(): Generator<{ readonly index: number; readonly address: IpAddress }> {
    for (const index of this.#peers.indexes()) yield { index, address: this.#peers.addressOf(index) };
  }

  peers(): PeerInfo[] {
    return Array.from(this.#peers.indexes(), (index) => ({
      index,
      address: this.#peers.addressOf(index),
      clusters: this.#peers.clustersOf(index).map((cluster) => this.#clusters.nameOf(cluster)),
      alive: this.#peers.isAlive(index),
      pathMtuBytes: peerWord(this.words, index, PEER.PATH_MTU),
    }));
  }

  /** The entry of the longest prefix that holds `address`, with its group. */
  find(address: IpAddress): { entry: FibEntry; group: number } | 'local' | undefined {
    const found =
      typeof address === 'number' ? this.#trie.prefixes.longest(address) : this.#prefixes6.longest(address);
    if (found === undefined) return undefined;
    if (found.group === LOCAL_GROUP) return 'local';
    const { cluster, gateways } = this.#groups.describe(found.group);
    return { entry: { cidr: found.cidr, cluster, gateways }, group: found.group };
  }

  /** How the flows to exactly this CIDR are shared among its gateways; empty when it is no remote entry. */
  share(cidr: Cidr): GatewayShare[] {
    const group = this.#groupOf(cidr);
    return group <= LOCAL_GROUP ? [] : this.#groups.shares(group);
  }

  /** Gives back at most `limit` of what every reader has passed. Call it now and then: changes only clear up a part. */
  reclaim(limit = Number.POSITIVE_INFINITY): number {
    return this.#retired.reclaim(limit);
  }

  /** For a reader whose thread is gone: what it held, nobody holds. */
  forgetReader(reader: number): void {
    assert(reader >= 0 && reader < READERS_MAX, 'a reader is a number below READERS_MAX');
    Atomics.store(this.words, READERS + reader * READER_WORDS, QUIESCENT);
  }

  stats(): FibStats {
    const records = this.#peers.highWater * PEER_WORDS + this.#groups.highWater * GROUP_WORDS;
    const tables = ROOT + ROOT_ENTRIES + PEER_HASH_WORDS + SHARDS6_COUNT + records;
    return {
      prefixes: this.#trie.prefixes.count + this.#prefixes6.count,
      groups: this.#groups.count,
      peers: this.#peers.count,
      clusters: this.#clusters.count,
      bytesUsed: 4 * (tables + this.#arena.wordsUsed),
      bytesTouched: 4 * (tables + this.#arena.wordsTouched),
      bytesCapacity: this.buffer.byteLength,
      controlBytes: this.#trie.prefixes.bytesUsed,
      epoch: this.#retired.epoch,
      retired: this.#retired.count,
    };
  }

  /** The blocks of the arena in order of offset. For tests and diagnosis. */
  *blocks(): Generator<{ at: number; words: number; state: 'used' | 'retired' | 'free' }> {
    const retired = new Set(this.#retired.pending(this.#arena));
    for (const { at, words, free } of this.#arena.blocks()) {
      yield { at, words, state: free ? 'free' : retired.has(at) ? 'retired' : 'used' };
    }
  }

  #change(entries: readonly FibEntry[], removed: readonly Cidr[], full: boolean): void {
    if (entries.length > PREFIXES_MAX || removed.length > PREFIXES_MAX) {
      throw capacityError(
        'prefixes',
        PREFIXES_MAX,
        `a change names ${Math.max(entries.length, removed.length)}`,
      );
    }
    const groups = this.#acquireAll(entries);
    const superseded: number[] = [];
    const hidden = full ? new Map<CidrKey, number>() : new Map(this.#hidden);
    if (full) superseded.push(...this.#hidden.values());
    let staged: BothStaged;
    try {
      const visible = this.#hideLocal(entries, groups, removed, hidden, superseded);
      staged = this.#stage(visible.set, visible.removed, full, superseded);
    } catch (cause) {
      for (const group of groups) this.#groups.release(group);
      this.#publish();
      throw cause;
    }
    this.#hidden = hidden;
    this.#commit(staged, superseded);
  }

  #groupOf(cidr: Cidr): number {
    return isCidr4(cidr) ? this.#trie.prefixes.get(cidr) : this.#prefixes6.get(cidr);
  }

  #stage(set: Assignment, removed: readonly Cidr[], full: boolean, superseded: number[]): BothStaged {
    const cidrs4: Cidr4[] = [];
    const groups4: number[] = [];
    const removed4: Cidr4[] = [];
    const changes6: Assigned6[] = [];
    for (const cidr of removed) {
      if (isCidr4(cidr)) removed4.push(cidr);
      else changes6.push({ cidr, group: NO_GROUP });
    }
    for (const [i, cidr] of set.cidrs.entries()) {
      const group = set.groups[i]!;
      if (isCidr4(cidr)) {
        cidrs4.push(cidr);
        groups4.push(group);
      } else changes6.push({ cidr, group });
    }
    const ordered = orderChanges({ cidrs: cidrs4, groups: Uint32Array.from(groups4) }, removed4, superseded);
    const ipv4 = this.#trie.stage(ordered, full);
    try {
      return { ipv4, ipv6: this.#prefixes6.stage(changes6, full, superseded) };
    } catch (cause) {
      this.#trie.rollback(ipv4);
      throw cause;
    }
  }

  #commit({ ipv4, ipv6 }: BothStaged, superseded: readonly number[]): void {
    this.#trie.commit(ipv4);
    this.#prefixes6.commit(ipv6);
    for (const group of ipv4.tally.released) this.#groups.release(group);
    for (const group of ipv6.tally.released) this.#groups.release(group);
    for (const group of superseded) this.#groups.release(group);
    this.#publish();
  }

  #publish(): void {
    this.#retired.publish();
    this.#retired.reclaim(RECLAIM_PER_CHANGE);
  }

  #acquireAll(entries: readonly FibEntry[]): Uint32Array {
    const groups = new Uint32Array(entries.length);
    let done = 0;
    try {
      for (const { cluster, gateways } of entries) groups[done++] = this.#groups.acquire(cluster, gateways);
    } catch (cause) {
      for (const group of groups) this.#groups.release(group);
      this.#publish();
      throw cause;
    }
    return groups;
  }

  /** Takes what concerns exactly a local CIDR out of the change and into `hidden`; groups that it replaces there go to `superseded`. */
  #hideLocal(
    entries: readonly FibEntry[],
    groups: Uint32Array,
    removed: readonly Cidr[],
    hidden: Map<CidrKey, number>,
    superseded: number[],
  ): { set: Assignment; removed: readonly Cidr[] } {
    if (this.#local.size === 0)
      return { set: { cidrs: entries.map((entry) => entry.cidr), groups }, removed };
    const isLocal = (cidr: Cidr) => this.#local.has(cidrKey(cidr));
    const hide = (key: CidrKey, group: number) => {
      const before = hidden.get(key) ?? NO_GROUP;
      if (before !== NO_GROUP) superseded.push(before);
      if (group === NO_GROUP) hidden.delete(key);
      else hidden.set(key, group);
    };
    for (const cidr of removed) if (isLocal(cidr)) hide(cidrKey(cidr), NO_GROUP);
    const cidrs: Cidr[] = [];
    const kept: number[] = [];
    for (let i = 0; i < entries.length; i++) {
      const { cidr } = entries[i]!;
      if (isLocal(cidr)) hide(cidrKey(cidr), groups[i]!);
      else {
        cidrs.push(cidr);
        kept.push(groups[i]!);
      }
    }
    return {
      set: { cidrs, groups: Uint32Array.from(kept) },
      removed: removed.filter((cidr) => !isLocal(cidr)),
    };
  }

  /** The list is a block of its own that is swapped whole: a half-written network and mask would let a stranger in. */
  #writeAllowed(cidrs: readonly Cidr[]): void {
    if (cidrs.length > DECAPSULATE_FROM_MAX) {
      throw capacityError('allowed sources', DECAPSULATE_FROM_MAX, `${cidrs.length} were given`);
    }
    let list = 0;
    if (cidrs.length > 0) {
      const rows = cidrs.map(allowedRow);
      list = this.#arena.allocate(1 + rows.length * rows[0]!.length);
      if (list === 0)
        throw capacityError('words of blocks', this.#arena.wordsCapacity, 'raise capacityBytes');
      this.words[list] = cidrs.length;
      this.words.set(rows.flat(), list + 1);
    }
    const before = Atomics.exchange(this.words, HEADER.ALLOWED, list);
    if (before !== 0) this.#retired.retire(this.#arena, before);
  }
}

/** Network and mask, a word each or four. */
function allowedRow(cidr: Cidr): number[] {
  if (isCidr4(cidr)) return [cidr.address, prefixMask(cidr.prefixLength)];
  const mask = networkOf6((1n << 128n) - 1n, cidr.prefixLength);
  return [...wordsOf(cidr.address), ...wordsOf(mask)];
}

function outerBytesOf({ udp, source }: FibSettings): number {
  if (typeof source === 'bigint') return IPIP6_ENCAPSULATION_BYTES;
  return udp === undefined ? IPIP_ENCAPSULATION_BYTES : FOU_ENCAPSULATION_BYTES;
}

function settingsFlags(settings: FibSettings): number {
  let flags = 0;
  if (settings.clampMss) flags |= SETTINGS_FLAG.CLAMP_MSS;
  if (settings.fragment === 'outer') flags |= SETTINGS_FLAG.FRAGMENT_OUTER;
  if (settings.innerSource === 'loose') flags |= SETTINGS_FLAG.INNER_SOURCE_LOOSE;
  if (settings.innerSource === 'strict') flags |= SETTINGS_FLAG.INNER_SOURCE_STRICT;
  if (settings.ecn === 'compatibility') flags |= SETTINGS_FLAG.ECN_COMPATIBILITY;
  if (typeof settings.source === 'bigint') flags |= SETTINGS_FLAG.UNDERLAY_IPV6;
  return flags;
}
