import * as layout from './layout.ts';

const { NO_GROUP, LENGTHS6, LENGTH6_WORDS, SHARDS6, SHARD6_SHIFT, HASH6_SEED, ENTRY6_WORDS } = layout;
const { TAG, ADDRESS } = layout.ENTRY6;
const { GROUP_MASK, LENGTH_SHIFT, USED } = layout.TAG6;
const { imul } = Math;

/**
 * The group of the longest IPv6 prefix that holds an address, given as four words in host order, u32 or i32, the most significant first;
 * NO_GROUP where there is none. One look into the hash for each length in use, longest first: tables have a handful of lengths, and
 * however many a remote cluster may add, there are no more than 129.
 */
export function lookup6(words: Uint32Array, w0: number, w1: number, w2: number, w3: number): number {
  for (let index = LENGTH6_WORDS - 1; index >= 0; index--) {
    let bits = words[LENGTHS6 + index]!;
    while (bits !== 0) {
      const top = 31 - Math.clz32(bits);
      bits ^= 1 << top;
      const length = (index << 5) | top;
      const m0 = w0 & maskOf(length);
      const m1 = w1 & maskOf(length - 32);
      const m2 = w2 & maskOf(length - 64);
      const m3 = w3 & maskOf(length - 96);
      const entry = findEntry6(words, m0, m1, m2, m3, length);
      if (entry !== 0) {
        const group = words[entry + TAG]! & GROUP_MASK;
        if (group !== NO_GROUP) return group;
      }
    }
  }
  return NO_GROUP;
}

/** The offset of the entry of exactly this prefix, also of one that was removed; 0 = none. Host bits are 0. */
export function findEntry6(
  words: Uint32Array,
  m0: number,
  m1: number,
  m2: number,
  m3: number,
  length: number,
): number {
  const hash = hash6(words[HASH6_SEED]!, m0, m1, m2, m3, length);
  const shard = words[SHARDS6 + (hash >>> SHARD6_SHIFT)]!;
  if (shard === 0) return 0;
  const mask = words[shard]!;
  const wanted = USED | (length << LENGTH_SHIFT);
  let slot = hash & mask;
  // Ends: a quarter of a shard is always empty (prefixes6.ts).
  for (;;) {
    const entry = shard + 1 + slot * ENTRY6_WORDS;
    const tag = words[entry + TAG]! | 0;
    if (tag === 0) return 0;
    if (
      (tag & ~GROUP_MASK) === wanted &&
      (words[entry + ADDRESS]! | 0) === m0 &&
      (words[entry + ADDRESS + 1]! | 0) === m1 &&
      (words[entry + ADDRESS + 2]! | 0) === m2 &&
      (words[entry + ADDRESS + 3]! | 0) === m3
    )
      return entry;
    slot = (slot + 1) & mask;
  }
}

/**
 * MurmurHash3_x86_32 over the four words and the length, from a seed that nobody outside knows: who could foresee it would put all his
 * prefixes into one shard.
 */
export function hash6(seed: number, m0: number, m1: number, m2: number, m3: number, length: number): number {
  let hash = mix(mix(mix(mix(seed ^ length, m0), m1), m2), m3);
  hash ^= hash >>> 16;
  hash = imul(hash, 0x85eb_ca6b);
  hash ^= hash >>> 13;
  hash = imul(hash, 0xc2b2_ae35);
  return hash ^ (hash >>> 16);
}

function mix(hash: number, word: number): number {
  const scrambled = imul(word, 0xcc9e_2d51);
  const mixed = hash ^ imul((scrambled << 15) | (scrambled >>> 17), 0x1b87_3593);
  return (imul((mixed << 13) | (mixed >>> 19), 5) + 0xe654_6b64) | 0;
}

/** The mask of a word that has `bits` bits of the prefix: none where that is negative, all from 32 on. */
function maskOf(bits: number): number {
  if (bits <= 0) return 0;
  return bits >= 32 ? -1 : -1 << (32 - bits);
}
