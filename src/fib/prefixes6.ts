import { type CidrKey, cidrKey } from '../base/address.ts';
import type { Address6, Cidr6 } from '../base/address6.ts';
import { formatCidr6, networkOf6 } from '../base/address6.ts';
import { assert } from '../base/assert.ts';
import type { Arena } from './arena.ts';
import { capacityError } from './capacity.ts';
import {
  ENTRY6,
  ENTRY6_WORDS,
  HASH6_SEED,
  LENGTHS6,
  LOCAL_GROUP,
  NO_GROUP,
  PREFIXES_MAX,
  SHARD6_SHIFT,
  SHARD6_SLOTS_MAX,
  SHARD6_SLOTS_MIN,
  SHARDS6,
  SHARDS6_COUNT,
  TAG6,
} from './layout.ts';
import { findEntry6, hash6 } from './lookup6.ts';
import { type MergeTally, settle } from './prefix-set.ts';
import type { Retired } from './retired.ts';

export interface Assigned6 {
  readonly cidr: Cidr6;
  /** NO_GROUP removes the prefix. */
  readonly group: number;
}

/** All that a batch of changes will do, prepared: commit cannot fail. */
export interface Staged6 {
  readonly tally: MergeTally;
  readonly changes: readonly Assigned6[];
  /** Shards that have to be larger or to be rid of removed entries, with the blocks that they will be. */
  readonly blocks: ReadonlyMap<number, number>;
}

const LENGTHS = 129;

/** The share of a shard's slots that entries may take, removed ones too, so that searches end soon. */
const FULL = 3 / 4;

/**
 * The writer of the IPv6 prefixes of the image, which are nowhere else. An address switches from its old prefix to its new one at once: what
 * is set is there before what is removed goes.
 */
export class Prefixes6 {
  readonly #words: Uint32Array;
  readonly #arena: Arena;
  readonly #retired: Retired;
  /** Entries of each shard, and those of them that were not removed. */
  readonly #used = new Uint16Array(SHARDS6_COUNT);
  readonly #live = new Uint16Array(SHARDS6_COUNT);
  readonly #ofLength = new Uint32Array(LENGTHS);
  count = 0;

  constructor(words: Uint32Array, arena: Arena, retired: Retired, seed: number) {
    this.#words = words;
    this.#arena = arena;
    this.#retired = retired;
    words[HASH6_SEED] = seed;
  }

  /** The group of exactly this prefix, NO_GROUP = none. */
  get(cidr: Cidr6): number {
    const entry = this.#entryOf(cidr);
    return entry === 0 ? NO_GROUP : this.#words[entry + ENTRY6.TAG]! & TAG6.GROUP_MASK;
  }

  /** The longest prefix that holds `address`. */
  longest(address: Address6): Assigned6 | undefined {
    for (let prefixLength = LENGTHS - 1; prefixLength >= 0; prefixLength--) {
      if (this.#ofLength[prefixLength] === 0) continue;
      const cidr = { address: networkOf6(address, prefixLength), prefixLength };
      const group = this.get(cidr);
      if (group !== NO_GROUP) return { cidr, group };
    }
    return undefined;
  }

  /**
   * Prepares changes; of equal CIDRs the last counts, and `superseded` gets the groups of the others. With `full`, remote prefixes that are
   * not among them go. Throws ISTHMUS_ERR_CAPACITY and has then changed nothing.
   */
  stage(wanted: readonly Assigned6[], full: boolean, superseded: number[]): Staged6 {
    const byKey = new Map<CidrKey, Assigned6>();
    for (const change of wanted) {
      const { cidr, group } = change;
      const isNetwork = networkOf6(cidr.address, cidr.prefixLength) === cidr.address;
      assert(isNetwork, isNetwork ? '' : `the host bits of ${formatCidr6(cidr)} are zero`);
      const key = cidrKey(cidr);
      const before = byKey.get(key);
      if (before !== undefined && before.group !== NO_GROUP) superseded.push(before.group);
      // Where a removal stands behind what was set, what was set counts.
      if (group !== NO_GROUP || before === undefined) byKey.set(key, change);
    }
    const changes: Assigned6[] = [];
    const tally: MergeTally = { released: [], added: 0, removed: 0 };
    const book = (cidr: Cidr6, before: number, group: number, isChange: boolean): void => {
      settle(isChange, before, group, tally);
      if (before !== group) changes.push({ cidr, group });
    };
    if (full) {
      for (const { cidr, group } of this.remote())
        if (!byKey.has(cidrKey(cidr))) book(cidr, group, NO_GROUP, false);
    }
    for (const { cidr, group } of byKey.values()) book(cidr, this.get(cidr), group, true);
    if (this.count + tally.added - tally.removed > PREFIXES_MAX)
      throw capacityError('prefixes', PREFIXES_MAX, 'aggregate prefixes or remove some');
    return { tally, changes, blocks: this.#makeRoom(changes) };
  }

  rollback({ blocks }: Staged6): void {
    for (const block of blocks.values()) this.#arena.free(block);
  }

  commit({ tally, changes, blocks }: Staged6): void {
    for (const [shard, block] of blocks) this.#move(shard, block);
    for (const change of changes) if (change.group !== NO_GROUP) this.#set(change);
    for (const { cidr, group } of changes) if (group === NO_GROUP) this.#remove(cidr);
    this.count += tally.added - tally.removed;
  }

  /** All that is not ours. */
  *remote(): Generator<Assigned6> {
    for (let shard = 0; shard < SHARDS6_COUNT; shard++) {
      for (const entry of this.#entriesOf(shard)) {
        const group = this.#words[entry + ENTRY6.TAG]! & TAG6.GROUP_MASK;
        if (group > LOCAL_GROUP) yield { cidr: this.#cidrAt(entry), group };
      }
    }
  }

  /** A block for each shard that the new entries do not fit. */
  #makeRoom(changes: readonly Assigned6[]): Map<number, number> {
    const fresh = new Map<number, number>();
    const revived = new Map<number, number>();
    for (const { cidr, group } of changes) {
      if (group === NO_GROUP || this.get(cidr) !== NO_GROUP) continue;
      // A removed entry has its slot in the present block, and needs one in another.
      const kind = this.#entryOf(cidr) === 0 ? fresh : revived;
      const shard = this.#shardOf(cidr);
      kind.set(shard, (kind.get(shard) ?? 0) + 1);
    }
    const blocks = new Map<number, number>();
    for (const [shard, added] of fresh) {
      if (this.#used[shard]! + added <= this.#slotsOf(shard) * FULL) continue;
      const block = this.#allocate(this.#live[shard]! + added + (revived.get(shard) ?? 0));
      if (block === 0) {
        for (const other of blocks.values()) this.#arena.free(other);
        throw capacityError('words of blocks', this.#arena.wordsCapacity, 'raise capacityBytes');
      }
      blocks.set(shard, block);
    }
    return blocks;
  }

  /** Room for twice as many entries as there will be, so that a shard is moved seldom. 0: there is none. */
  #allocate(entries: number): number {
    let slots = SHARD6_SLOTS_MIN;
    while (slots < 2 * entries && slots < SHARD6_SLOTS_MAX) slots *= 2;
    if (entries > slots * FULL) return 0;
    const block = this.#arena.allocate(1 + slots * ENTRY6_WORDS);
    if (block === 0) return 0;
    this.#words.fill(0, block, block + 1 + slots * ENTRY6_WORDS);
    this.#words[block] = slots - 1;
    return block;
  }

  /** Copies what lives to the new block, and shows it. */
  #move(shard: number, block: number): void {
    const words = this.#words;
    const old = words[SHARDS6 + shard]!;
    const mask = words[block]!;
    let used = 0;
    for (const entry of this.#entriesOf(shard)) {
      if ((words[entry + ENTRY6.TAG]! & TAG6.GROUP_MASK) === NO_GROUP) continue;
      const { address, prefixLength } = this.#cidrAt(entry);
      const target = emptySlot(words, block, mask, this.#hashOf({ address, prefixLength }));
      words.copyWithin(target, entry, entry + ENTRY6_WORDS);
      used += 1;
    }
    this.#used[shard] = used;
    Atomics.store(words, SHARDS6 + shard, block);
    if (old !== 0) this.#retired.retire(this.#arena, old);
  }

  #set({ cidr, group }: Assigned6): void {
    const words = this.#words;
    const tag = tagOf(cidr.prefixLength, group);
    const shard = this.#shardOf(cidr);
    let entry = this.#entryOf(cidr);
    const before = entry === 0 ? NO_GROUP : words[entry + ENTRY6.TAG]! & TAG6.GROUP_MASK;
    if (entry === 0) {
      const block = words[SHARDS6 + shard]!;
      entry = emptySlot(words, block, words[block]!, this.#hashOf(cidr));
      for (let i = 0; i < 4; i++) words[entry + ENTRY6.ADDRESS + i] = wordOf(cidr.address, i);
      this.#used[shard]! += 1;
    }
    if (before === NO_GROUP) {
      this.#live[shard]! += 1;
      this.#countLength(cidr.prefixLength, 1);
    }
    Atomics.store(words, entry + ENTRY6.TAG, tag);
  }

  #remove(cidr: Cidr6): void {
    const entry = this.#entryOf(cidr);
    if (entry === 0) return;
    Atomics.store(this.#words, entry + ENTRY6.TAG, tagOf(cidr.prefixLength, NO_GROUP));
    const shard = this.#shardOf(cidr);
    this.#live[shard]! -= 1;
    this.#countLength(cidr.prefixLength, -1);
    if (this.#live[shard] !== 0) return;
    const block = this.#words[SHARDS6 + shard]!;
    Atomics.store(this.#words, SHARDS6 + shard, 0);
    this.#used[shard] = 0;
    this.#retired.retire(this.#arena, block);
  }

  /** A length is looked for before the first prefix has it, and until the last one is gone. */
  #countLength(length: number, by: number): void {
    this.#ofLength[length]! += by;
    const at = LENGTHS6 + (length >>> 5);
    const bit = (1 << (length & 31)) >>> 0;
    const bits = this.#words[at]!;
    Atomics.store(this.#words, at, this.#ofLength[length] === 0 ? bits & ~bit : bits | bit);
  }

  *#entriesOf(shard: number): Generator<number> {
    const block = this.#words[SHARDS6 + shard]!;
    if (block === 0) return;
    for (let slot = 0; slot <= this.#words[block]!; slot++) {
      const entry = block + 1 + slot * ENTRY6_WORDS;
      if (this.#words[entry + ENTRY6.TAG] !== 0) yield entry;
    }
  }

  #slotsOf(shard: number): number {
    const block = this.#words[SHARDS6 + shard]!;
    return block === 0 ? 0 : this.#words[block]! + 1;
  }

  #cidrAt(entry: number): Cidr6 {
    let address = 0n;
    for (let i = 0; i < 4; i++) address = (address << 32n) | BigInt(this.#words[entry + ENTRY6.ADDRESS + i]!);
    return { address, prefixLength: (this.#words[entry + ENTRY6.TAG]! >>> TAG6.LENGTH_SHIFT) & 0xff };
  }

  #entryOf({ address, prefixLength }: Cidr6): number {
    const word = (i: number) => wordOf(address, i) | 0;
    return findEntry6(this.#words, word(0), word(1), word(2), word(3), prefixLength);
  }

  #shardOf(cidr: Cidr6): number {
    return this.#hashOf(cidr) >>> SHARD6_SHIFT;
  }

  #hashOf({ address, prefixLength }: Cidr6): number {
    const word = (i: number) => wordOf(address, i) | 0;
    return hash6(this.#words[HASH6_SEED]!, word(0), word(1), word(2), word(3), prefixLength);
  }
}

function tagOf(length: number, group: number): number {
  return (TAG6.USED | (length << TAG6.LENGTH_SHIFT) | group) >>> 0;
}

/** Word `index` of an address, the most significant first. */
function wordOf(address: Address6, index: number): number {
  return Number((address >> BigInt(96 - 32 * index)) & 0xffff_ffffn);
}

function emptySlot(words: Uint32Array, block: number, mask: number, hash: number): number {
  let slot = hash & mask;
  while (words[block + 1 + slot * ENTRY6_WORDS + ENTRY6.TAG] !== 0) slot = (slot + 1) & mask;
  return block + 1 + slot * ENTRY6_WORDS;
}
