/**
 * The FIB image: one SharedArrayBuffer seen as u32 words. The control side writes it, packet workers only read it (but for their own
 * reader line). All offsets below are word indexes; an IPv4 address is a u32 in host order, an IPv6 address four of them,
 * the most significant first.
 *
 *   0        HEADER       magic, version, peer hash in force, allow-list; the epoch, the settings and the transit bitmap on cache
 *            lines of their own
 *   80       READERS      64 lines of 16 words; word 0 of a line is that reader's epoch, 0 while it is quiescent
 *   2,048    ROOT         65,536 entries, one for each /16
 *            PEERS        65,536 records of 23 words
 *            PEER_HASH    two banks of 131,072 words; HEADER.PEER_HASH says which is read
 *            GROUPS       131,072 records of 4 words
 *            SHARDS6      4,096 words: block offsets, 0 = empty
 *            ARENA        blocks of 16-word units: nodes, bucket blocks, the allow-list
 *
 * An entry (root slot or run) is 0: nothing; below 2^31: a group; with bit 31 set: the offset of a node block.
 *
 * A node block covers 256 slots (the third or the fourth byte of the address), stored as runs of equal entries:
 *
 *   +0       FALLBACK     what shorter prefixes say about all 256 slots; 0 = nothing
 *   +1..+8   STARTS       bit s is set where slot s differs from slot s - 1; bit 0 is always set
 *   +9..+10  COUNTS       eight u8: how many runs start before word w of STARTS (at most 224, so that a u8 holds it)
 *   +11..    RUNS         one entry a run
 *
 * The runs know only the prefixes that belong to the level of the node (/17 to /24, or /25 to /32), so a /8 that comes or goes changes
 * one word in each node below it and nothing else.
 *
 * IPv6 prefixes lie in a hash by (address, length), cut into shards by the top 12 bits of the hash, each a block that is written anew when it is too
 * full. A trie would need up to a dozen dependent loads for what Calico hands out (/122), or compressed paths; a table has few lengths, and each
 * costs one look. LENGTHS6 is a bitmap of the lengths in use.
 *
 * A shard block:   +0 slots - 1 | entries of 5 words: TAG, then the address, most significant word first
 * A tag is 0: the slot was never used, a search ends; else bit 31, the length, and the group: 0 = removed. An entry keeps its address as long
 * as its block lives, so that no reader compares half of one with half of another.
 *
 * A peer record:   ADDRESS | PATH_MTU | FLAGS | UDP_PORT | CLUSTERS, a bitmap of 16 words
 * A group record:  CLUSTER | MEMBERS (with a weight) | PEER (of the only one) | BUCKETS (block offset; 0 when none of several is alive)
 * A bucket block:  1,024 u16 peer indexes, the even bucket in the low half of its word.
 * The allow-list:  count, then (network, mask) pairs.
 */
import { assert } from '../base/assert.ts';
import { CLUSTERS_MAX } from '../base/limits.ts';

export const IMAGE_MAGIC = 0x4953_5448;
export const IMAGE_VERSION = 1;

/** Workers are at most 32 (config); twice that leaves room for the replacement of a worker that died while its line is still held. */
export const READERS_MAX = 64;
/** A cache line, so that two readers that announce their epochs never write the same one. */
export const READER_WORDS = 16;
/** Bucket blocks name a peer in 16 bits; 65,536 gateways is thirteen times the largest supported Kubernetes cluster (5,000 nodes). */
export const PEERS_MAX = 65_536;
/** The prefix set packs a group into 17 bits next to the 9 bits of the prefix; twice PEERS_MAX: each peer alone and in one set with others. */
export const GROUPS_MAX = 131_072;
/** A power of two that keeps the share of each of five gateways within a few percent of its weight, at 2 KiB a group. */
export const BUCKETS = 1024;
/** Sorting packs the index of an entry (20 bits) behind its prefix (33 bits) into one exact double (53 bits). */
export const PREFIXES_MAX = 1_048_576;

export const NO_GROUP = 0;
/** The group of our own CIDRs: never tunnelled. */
export const LOCAL_GROUP = 1;
export const REMOTE_GROUP_MIN = 2;

export const HEADER = {
  MAGIC: 0,
  VERSION: 1,
  WORDS: 2,
  /** Offset of the peer hash bank in force. */
  PEER_HASH: 3,
  /** Offset of the allow-list block, 0 when it is empty. */
  ALLOWED: 4,
  EPOCH: 16,
} as const;

/** Read directly: `words[SETTINGS.SOURCE]`. */
export const SETTINGS = {
  /** Our underlay address, the outer source. */
  SOURCE: 32,
  /** Our overlay address, 0 = none. */
  TUNNEL_ADDRESS: 33,
  /** MTU of the underlay device, bytes. */
  LINK_MTU: 34,
  /** Outer TTL, 0 = inherit. */
  TTL: 35,
  /** Outer DSCP 0 to 63, 64 = inherit. */
  DSCP: 36,
  /** SETTINGS_FLAG bits. */
  FLAGS: 37,
  /** MTU of the TUN device, bytes. */
  DEVICE_MTU: 38,
  /** Bytes that encapsulation puts before an inner packet: 20, 28 with a UDP header, or 40 on an IPv6 underlay. */
  OUTER_BYTES: 39,
  /** UDP port to which encapsulated packets come, 0 = they come as IP protocol 4. */
  UDP_PORT: 40,
} as const;

export const DSCP_INHERIT = 64;
export const TTL_INHERIT = 0;

export const SETTINGS_FLAG = {
  CLAMP_MSS: 1,
  FRAGMENT_OUTER: 2,
  INNER_SOURCE_LOOSE: 4,
  INNER_SOURCE_STRICT: 8,
  ECN_COMPATIBILITY: 16,
  /** The outer header is an IPv6 one, and all peers have IPv6 addresses. */
  UNDERLAY_IPV6: 32,
} as const;

/** A bitmap of CLUSTERS_MAX bits: clusters that may be an inner destination of what comes out of the tunnel. */
export const TRANSIT = 48;

/** IPv6: a bitmap of the 129 prefix lengths in use, and what the hash starts from. */
export const LENGTHS6 = 41;
export const LENGTH6_WORDS = 5;
export const HASH6_SEED = 46;

/** Our underlay address where that is an IPv6 one, four words; SETTINGS.SOURCE is 0 then. */
export const SOURCE6 = 64;

const HEADER_WORDS = 80;
export const READERS = HEADER_WORDS;
/** What a reader's line holds while the reader is outside any epoch; epochs themselves are never 0. */
export const QUIESCENT = 0;
/** Epochs have 31 bits: Atomics.load returns a larger u32 as a heap number, which would allocate once a batch. */
export const EPOCH_MASK = 0x7fff_ffff;

export const ROOT = 2048;
export const ROOT_ENTRIES = 65_536;

export const PEERS = ROOT + ROOT_ENTRIES;
/** ADDRESS: the first word is the whole of an IPv4 address. */
export const PEER = { ADDRESS: 0, PATH_MTU: 4, FLAGS: 5, UDP_PORT: 6, CLUSTERS: 7 } as const;
/** PICKED: packets may go to it, because it is alive or because `fail-open` asks no questions where it is the only one. */
export const PEER_FLAG = { USED: 1, ALIVE: 2, PICKED: 4, IPV6: 8 } as const;
export const PEER_WORDS = PEER.CLUSTERS + CLUSTERS_MAX / 32;

/** Twice PEERS_MAX, so that a probe sequence meets an empty word soon. */
export const PEER_HASH_WORDS = 131_072;
export const PEER_HASH_MASK = PEER_HASH_WORDS - 1;
/** Keeps the top 17 bits of a 32-bit product. */
export const PEER_HASH_SHIFT = 15;
export const PEER_HASH_MULTIPLIER = 0x9e37_79b1;
/** A removed peer; probing goes on behind it. Other words are 0 (empty, probing ends) or peer index + 1. */
export const PEER_HASH_TOMBSTONE = 0xffff_ffff;
export const PEER_HASH_BANKS = [
  PEERS + PEERS_MAX * PEER_WORDS,
  PEERS + PEERS_MAX * PEER_WORDS + PEER_HASH_WORDS,
] as const;

export const GROUPS = PEER_HASH_BANKS[1] + PEER_HASH_WORDS;
export const GROUP = { CLUSTER: 0, MEMBERS: 1, PEER: 2, BUCKETS: 3 } as const;
export const GROUP_WORDS = 4;

export const SHARDS6 = GROUPS + GROUPS_MAX * GROUP_WORDS;
export const SHARDS6_COUNT = 4096;
/** Leaves the top 12 bits of a hash. */
export const SHARD6_SHIFT = 20;
export const ENTRY6 = { TAG: 0, ADDRESS: 1 } as const;
export const ENTRY6_WORDS = 5;
export const TAG6 = { USED: -0x8000_0000, LENGTH_SHIFT: 20, GROUP_MASK: 0x000f_ffff } as const;
/** A shard that holds this many slots is one block of the arena still. A million prefixes are 256 a shard. */
export const SHARD6_SLOTS_MIN = 8;
export const SHARD6_SLOTS_MAX = 512;

export const ARENA = SHARDS6 + SHARDS6_COUNT;
/** A cache line, which most nodes fit. Units of 4 words would save a tenth of the image and need four times the bookkeeping beside it. */
export const UNIT_WORDS = 16;

export const NODE_BIT = 0x8000_0000;
export const NODE_OFFSET_MASK = 0x7fff_ffff;
export const NODE = { FALLBACK: 0, STARTS: 1, COUNTS: 9, RUNS: 11 } as const;
export const NODE_SLOTS = 256;

/** Two u16 buckets a word. */
export const BUCKET_WORDS = BUCKETS / 2;
/** The bucket of a flow is the top ten bits of its hash: the low bits may already have chosen the worker. */
export const BUCKET_SHIFT = 22;

export const ARENA_BYTES_DEFAULT = 64 * 1024 * 1024;
/** Smaller than one bucket block and one full node could not hold anything. */
export const ARENA_BYTES_MIN = 16 * 1024;
/** The prefix set beside it, which grows with it, names its blocks by 24 bits; with this much here they suffice (trie.ts). */
export const ARENA_BYTES_MAX = 256 * 1024 * 1024;

/** Stops when the constants above contradict one another; called once by the writer of an image. */
export function checkLayout(): void {
  assert(READERS + READERS_MAX * READER_WORDS <= ROOT, 'the reader lines end before the root');
  assert(ARENA % UNIT_WORDS === 0, 'the arena starts on a unit');
  assert(
    BUCKETS === 2 ** (32 - BUCKET_SHIFT),
    'the bucket shift leaves one bit for each doubling of BUCKETS',
  );
  assert(PEERS_MAX <= 65_536, 'a peer index fits 16 bits');
  assert(GROUPS_MAX <= 2 ** 17, 'a group fits 17 bits');
  assert(SHARDS6_COUNT === 2 ** (32 - SHARD6_SHIFT), 'the shard shift leaves the number of a shard');
  assert(GROUPS_MAX <= TAG6.GROUP_MASK, 'a group fits its field in a tag');
  assert(
    LENGTHS6 + LENGTH6_WORDS <= HASH6_SEED && HASH6_SEED < TRANSIT,
    'the words of IPv6 lie before the transit bitmap',
  );
  assert(PEER_HASH_WORDS === 2 ** (32 - PEER_HASH_SHIFT), 'the peer hash shift fits the size of a bank');
  assert(TRANSIT + CLUSTERS_MAX / 32 <= SOURCE6, 'the transit bitmap ends before our IPv6 address');
  assert(SOURCE6 + 4 <= HEADER_WORDS, 'our IPv6 address ends before the reader lines');
  assert(CLUSTERS_MAX % 32 === 0, 'the cluster bitmap fills its words');
  assert(NODE.RUNS === 1 + NODE_SLOTS / 32 + NODE_SLOTS / 32 / 4, 'the node header holds bitmap and counts');
}
