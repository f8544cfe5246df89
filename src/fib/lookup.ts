/**
 * What a packet worker does with the FIB image: plain reads between enterEpoch and leaveEpoch, nothing else. No function here
 * allocates, throws or writes, but for a reader's own epoch line. `address` may be given as i32 or u32.
 */
import * as layout from './layout.ts';

// A constant of this module is compiled into the code. One that is imported is loaded from its module at each use, and a field of an
// imported object costs a check of its shape as well: bench/fib.bench.ts, "look-up, all in the cache", took 7.0 ns with those.
const {
  BUCKET_SHIFT,
  GROUP_WORDS,
  GROUPS,
  NODE_BIT,
  NODE_OFFSET_MASK,
  PEER_HASH_MASK,
  PEER_HASH_MULTIPLIER,
  PEER_HASH_SHIFT,
  PEER_HASH_TOMBSTONE,
  PEER_WORDS,
  PEERS,
  QUIESCENT,
  READER_WORDS,
  READERS,
  ROOT,
  TRANSIT,
} = layout;
const { CLUSTER: GROUP_CLUSTER, MEMBERS, PEER: GROUP_PEER, BUCKETS } = layout.GROUP;
const { PEER_HASH: PEER_HASH_BANK, ALLOWED, EPOCH } = layout.HEADER;
const { FALLBACK, STARTS, COUNTS, RUNS } = layout.NODE;
const { ADDRESS, FLAGS, CLUSTERS } = layout.PEER;
const { PICKED } = layout.PEER_FLAG;

/** The group of the longest prefix that holds `address`: NO_GROUP (0), LOCAL_GROUP (1), or a remote group. */
export function lookup(words: Uint32Array, address: number): number {
  const top = words[ROOT + (address >>> 16)]!;
  if (top < NODE_BIT) return top;
  const node = top & NODE_OFFSET_MASK;
  const middle = entryOf(words, node, (address >>> 8) & 255);
  if (middle < 0) {
    const child = middle & NODE_OFFSET_MASK;
    const bottom = entryOf(words, child, address & 255);
    if (bottom !== 0) return bottom;
    const fallback = words[child + FALLBACK]!;
    if (fallback !== 0) return fallback;
  } else if (middle !== 0) {
    return middle;
  }
  return words[node + FALLBACK]!;
}

/**
 * The entry of `slot` (0 to 255) in the node block at `node`, that of the last run that starts at or before it, as i32: negative where it
 * has NODE_BIT. As u32 those would be boxed wherever V8 does not inline the call (test/alloc/steady.test.ts).
 */
function entryOf(words: Uint32Array, node: number, slot: number): number {
  const index = slot >>> 5;
  // Of the bits of this word, those up to and with the slot: 31 - slot zero bits are shifted in from above.
  let bits = (words[node + STARTS + index]! << (31 - (slot & 31))) >>> 0;
  // Population count of 32 bits without a table: pairs, nibbles, bytes, then one multiplication adds up the four bytes.
  bits -= (bits >>> 1) & 0x5555_5555;
  bits = (bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333);
  bits = Math.imul((bits + (bits >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
  const before = (words[node + COUNTS + (index >>> 2)]! >>> ((index & 3) << 3)) & 255;
  return words[node + RUNS - 1 + before + bits]! | 0;
}

/** The cluster index of a remote group; 0 for NO_GROUP and LOCAL_GROUP, which belong to none. */
export function groupCluster(words: Uint32Array, group: number): number {
  return words[GROUPS + group * GROUP_WORDS + GROUP_CLUSTER]!;
}

/**
 * The peer for a flow: its index, or -1 when no gateway of the group may be used (and for groups that are not remote). `hash` is a
 * well-mixed u32, the same for all packets of a flow.
 */
export function pickPeer(words: Uint32Array, group: number, hash: number): number {
  const at = GROUPS + group * GROUP_WORDS;
  if (words[at + MEMBERS]! === 1) {
    const peer = words[at + GROUP_PEER]!;
    return (words[PEERS + peer * PEER_WORDS + FLAGS]! & PICKED) !== 0 ? peer : -1;
  }
  const buckets = words[at + BUCKETS]!;
  if (buckets === 0) return -1;
  const bucket = hash >>> BUCKET_SHIFT;
  return (words[buckets + (bucket >>> 1)]! >>> ((bucket & 1) << 4)) & 0xffff;
}

/** The index of the peer with this underlay address, -1 when there is none. */
export function findPeer(words: Uint32Array, address: number): number {
  const bank = words[PEER_HASH_BANK]!;
  const wanted = address >>> 0;
  let slot = Math.imul(address, PEER_HASH_MULTIPLIER) >>> PEER_HASH_SHIFT;
  // Ends: more than a third of a bank is always empty (peers.ts).
  for (;;) {
    const held = words[bank + slot]!;
    if (held === 0) return -1;
    if (held !== PEER_HASH_TOMBSTONE && words[PEERS + (held - 1) * PEER_WORDS + ADDRESS]! === wanted) {
      return held - 1;
    }
    slot = (slot + 1) & PEER_HASH_MASK;
  }
}

/** The same of an IPv6 address, four words, i32 or u32. The peers of an image are of one family (peers.ts), which says which of the two to ask. */
export function findPeer6(words: Uint32Array, w0: number, w1: number, w2: number, w3: number): number {
  const bank = words[PEER_HASH_BANK]!;
  let slot = Math.imul(foldAddress6(w0, w1, w2, w3), PEER_HASH_MULTIPLIER) >>> PEER_HASH_SHIFT;
  for (;;) {
    const held = words[bank + slot]!;
    if (held === 0) return -1;
    if (held !== PEER_HASH_TOMBSTONE) {
      const at = PEERS + (held - 1) * PEER_WORDS + ADDRESS;
      const isSame =
        (words[at]! | 0) === (w0 | 0) &&
        (words[at + 1]! | 0) === (w1 | 0) &&
        (words[at + 2]! | 0) === (w2 | 0) &&
        (words[at + 3]! | 0) === (w3 | 0);
      if (isSame) return held - 1;
    }
    slot = (slot + 1) & PEER_HASH_MASK;
  }
}

/** An i32 that stands for an IPv6 address where 32 bits are hashed. */
export function foldAddress6(w0: number, w1: number, w2: number, w3: number): number {
  const upper = Math.imul(w0 ^ Math.imul(w1, 0x85eb_ca6b), 0xc2b2_ae35);
  return Math.imul(upper ^ (upper >>> 15) ^ w2, 0x27d4_eb2f) ^ w3;
}

/** 1 when the peer is a gateway of the cluster, else 0. */
export function peerHasCluster(words: Uint32Array, peer: number, cluster: number): number {
  return (words[PEERS + peer * PEER_WORDS + CLUSTERS + (cluster >>> 5)]! >>> (cluster & 31)) & 1;
}

/** 1 when packets from the tunnel may go on to this cluster, else 0. */
export function isTransit(words: Uint32Array, cluster: number): number {
  return (words[TRANSIT + (cluster >>> 5)]! >>> (cluster & 31)) & 1;
}

/** The underlay address of a peer as an i32: a u32 from 2^31 on would be boxed wherever this call is not inlined (readI32). */
export function peerAddress(words: Uint32Array, peer: number): number {
  return words[PEERS + peer * PEER_WORDS + ADDRESS]! | 0;
}

/** One word of a peer record: `peerWord(words, peer, PEER.PATH_MTU)`. PATH_MTU is 0 where the MTU of the link holds. */
export function peerWord(words: Uint32Array, peer: number, word: number): number {
  return words[PEERS + peer * PEER_WORDS + word]!;
}

/** Where the four words of the peer's IPv6 address are. */
export function peerAddressAt(peer: number): number {
  return PEERS + peer * PEER_WORDS + ADDRESS;
}

/** 1 when `address` lies in security.decapsulateFrom, else 0. */
export function isAllowedSource(words: Uint32Array, address: number): number {
  const list = words[ALLOWED]!;
  if (list === 0) return 0;
  const end = list + 1 + 2 * words[list]!;
  for (let at = list + 1; at < end; at += 2) {
    if ((address & words[at + 1]!) >>> 0 === words[at]!) return 1;
  }
  return 0;
}

/** The same of an IPv6 address: entries of four words of the network and four of its mask. */
export function isAllowedSource6(words: Uint32Array, w0: number, w1: number, w2: number, w3: number): number {
  const list = words[ALLOWED]!;
  if (list === 0) return 0;
  const end = list + 1 + 8 * words[list]!;
  for (let at = list + 1; at < end; at += 8) {
    const differs =
      ((w0 ^ words[at]!) & words[at + 4]!) |
      ((w1 ^ words[at + 1]!) & words[at + 5]!) |
      ((w2 ^ words[at + 2]!) & words[at + 6]!) |
      ((w3 ^ words[at + 3]!) & words[at + 7]!);
    if (differs === 0) return 1;
  }
  return 0;
}

/**
 * Announces that reader `reader` (0 to READERS_MAX - 1) is about to read. Call it once a batch; calling it again without leaveEpoch
 * moves on to the present epoch and says that nothing read before is held any more: no offset, group or peer index.
 *
 * Why nothing is reused under a reader. The writer stores the new pointer, then the new epoch, then loads the readers' lines, all
 * sequentially consistent. (1) If it finds this line quiescent or newer than the block, then in the total order its load precedes
 * our store below, hence its pointer store precedes our second load of the epoch; that load therefore synchronises with it, and our
 * plain reads, which follow, see the new pointer. An epoch that is old by the time it is stored only makes the writer wait. (2) If
 * it finds an older epoch here, it waits. (3) When it later finds a newer value, our store of that value came after our last read
 * of the block, so the read happens before the writer's reuse. The second load is what orders the store before the reads: without
 * it an ARM core may read ahead of an earlier store-release.
 *
 * A pointer that is stored while we are inside an epoch is read by a plain load. Then the block behind it is seen whole because its
 * address depends on the loaded value, as in Linux's RCU (rcu_dereference): x86 and ARM keep dependent loads in order, V8 neither
 * guesses nor repeats a typed-array load, and the writer's Atomics.store orders the block before the pointer.
 */
export function enterEpoch(words: Uint32Array | Int32Array, reader: number): void {
  Atomics.store(words, READERS + reader * READER_WORDS, Atomics.load(words, EPOCH));
  Atomics.load(words, EPOCH);
}

/** Says that the reader holds nothing: before a blocking poll, and at its end. */
export function leaveEpoch(words: Uint32Array | Int32Array, reader: number): void {
  Atomics.store(words, READERS + reader * READER_WORDS, QUIESCENT);
}
