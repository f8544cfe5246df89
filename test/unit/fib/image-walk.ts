import assert from 'node:assert/strict';
import type { Fib } from '../../../src/fib/fib.ts';
import {
  BUCKET_WORDS,
  ENTRY6,
  ENTRY6_WORDS,
  GROUP,
  GROUP_WORDS,
  GROUPS,
  GROUPS_MAX,
  HEADER,
  NODE,
  NODE_BIT,
  NODE_OFFSET_MASK,
  NODE_SLOTS,
  ROOT,
  ROOT_ENTRIES,
  SHARDS6,
  SHARDS6_COUNT,
  TAG6,
} from '../../../src/fib/layout.ts';

/** Follows the image as readers do, and checks the form of each node on the way. */
class Walk {
  readonly #words: Uint32Array;
  /** Every block that a reader can come to, with the words it reads there. */
  readonly blocks = new Map<number, number>();
  readonly groups = new Set<number>();

  constructor(words: Uint32Array) {
    this.#words = words;
    for (let slot = 0; slot < ROOT_ENTRIES; slot++) {
      const entry = words[ROOT + slot]!;
      if (entry >= NODE_BIT) this.#node(entry & NODE_OFFSET_MASK, true);
      else this.groups.add(entry);
    }
    for (let shard = 0; shard < SHARDS6_COUNT; shard++) {
      if (words[SHARDS6 + shard] !== 0) this.#shard(words[SHARDS6 + shard]!);
    }
    for (const group of this.groups) {
      const buckets = words[GROUPS + group * GROUP_WORDS + GROUP.BUCKETS]!;
      if (buckets !== 0) this.#reach(buckets, BUCKET_WORDS);
    }
    const allowed = words[HEADER.ALLOWED]!;
    if (allowed !== 0) this.#reach(allowed, 1 + 2 * words[allowed]!);
  }

  #reach(at: number, size: number): void {
    assert.ok(!this.blocks.has(at), `block ${at} has one owner`);
    this.blocks.set(at, size);
  }

  #shard(at: number): void {
    const slots = this.#words[at]! + 1;
    assert.equal(slots & (slots - 1), 0, 'a power of two');
    this.#reach(at, 1 + slots * ENTRY6_WORDS);
    let used = 0;
    for (let slot = 0; slot < slots; slot++) {
      const tag = this.#words[at + 1 + slot * ENTRY6_WORDS + ENTRY6.TAG]!;
      if (tag === 0) continue;
      used += 1;
      this.groups.add(tag & TAG6.GROUP_MASK);
    }
    assert.ok(used > 0 && used <= (slots * 3) / 4, `${used} of ${slots} slots, so that searches end`);
  }

  #node(at: number, hasChildren: boolean): void {
    const words = this.#words;
    const before = (index: number) => (words[at + NODE.COUNTS + (index >>> 2)]! >>> ((index & 3) * 8)) & 255;
    let runs = 0;
    for (let slot = 0; slot < NODE_SLOTS; slot++) {
      if ((slot & 31) === 0) {
        assert.equal(before(slot >>> 5), runs, 'COUNTS tells the runs before each word of STARTS');
      }
      if (((words[at + NODE.STARTS + (slot >>> 5)]! >>> (slot & 31)) & 1) === 1) runs += 1;
      if (slot === 0) assert.equal(runs, 1, 'the first slot starts a run');
    }
    this.#reach(at, NODE.RUNS + runs);
    this.groups.add(words[at + NODE.FALLBACK]!);
    for (let run = 0; run < runs; run++) {
      const entry = words[at + NODE.RUNS + run]!;
      if (run > 0) assert.notEqual(entry, words[at + NODE.RUNS + run - 1], 'neighbouring runs differ');
      if (entry < NODE_BIT) {
        this.groups.add(entry);
        continue;
      }
      assert.ok(hasChildren, 'nodes of the last byte have no children');
      this.#node(entry & NODE_OFFSET_MASK, false);
    }
    assert.ok(runs > 1 || words[at + NODE.RUNS] !== 0, 'a node that says nothing is not kept');
  }
}

/** Every block that a reader can come to now, with the words it reads there. */
export function reachableBlocks(words: Uint32Array): Map<number, number> {
  return new Walk(words).blocks;
}

/**
 * Checks the books: what can be reached is in use and large enough, and what is in use can be reached. Only the bucket block of a
 * group that no visible prefix points to (its CIDRs are ours as well), or that has no gateway alive, may rest unreached.
 */
export function checkBlocks(fib: Fib): void {
  const { blocks, groups } = new Walk(fib.words);
  let resting = 0;
  for (const block of fib.blocks()) {
    const size = blocks.get(block.at);
    if (size !== undefined) {
      assert.equal(block.state, 'used', `block ${block.at} can be reached`);
      assert.ok(size <= block.words, `block ${block.at} holds its ${size} words`);
      blocks.delete(block.at);
    } else if (block.state === 'used') {
      assert.equal(block.words, BUCKET_WORDS, `block ${block.at} is in use, so it can be reached`);
      resting += 1;
    }
  }
  assert.deepEqual([...blocks.keys()], [], 'what can be reached is a block');
  assert.ok(
    resting <= restingGroups(fib.words, groups),
    'a bucket block that rests belongs to a group that rests',
  );
}

function restingGroups(words: Uint32Array, reached: ReadonlySet<number>): number {
  let count = 0;
  for (let group = 0; group < GROUPS_MAX; group++) {
    const at = GROUPS + group * GROUP_WORDS;
    if (words[at + GROUP.MEMBERS]! < 2) continue;
    if (words[at + GROUP.BUCKETS] === 0 || !reached.has(group)) count += 1;
  }
  return count;
}
