import type { Arena } from './arena.ts';
import { capacityError } from './capacity.ts';
import type { ChangeList, Changes } from './changes.ts';
import {
  NO_GROUP,
  NODE,
  NODE_BIT,
  NODE_OFFSET_MASK,
  NODE_SLOTS,
  PREFIXES_MAX,
  ROOT,
  ROOT_ENTRIES,
} from './layout.ts';
import { NodeBuilder } from './node-builder.ts';
import {
  bottomPlace,
  bundleOfChild,
  childCount,
  childrenAt,
  childWord,
  ITEMS_MAX,
  item,
  itemCount,
  type MergeTally,
  mergeItems,
  middlePlace,
  PrefixSet,
  settle,
} from './prefix-set.ts';
import type { Retired } from './retired.ts';
import { SHORT_LENGTH_MAX, shortFirstSlot, shortLength, shortPlace } from './short-prefixes.ts';

/**
 * Room for the prefix set beside an arena of `arenaWords`, so that the arena is what fills up first: each node has at least one unit there, and a
 * bundle here of one header, one word in its parent and at most three words of rounding, besides its items; while one set replaces another there
 * are twice PREFIXES_MAX of those. 3/8 instead of 5/16 leaves a fifth for fragmentation.
 */
function prefixWords(arenaWords: number): number {
  return 2 * PREFIXES_MAX + Math.ceil((arenaWords * 3) / 8);
}

/** Items of one bundle, sorted. */
class ItemList {
  readonly words = new Uint32Array(ITEMS_MAX);
  count = 0;

  /** Changes come in prefix order, which within one length is place order: nearly sorted, the case for insertion. */
  insert(word: number): void {
    let at = this.count++;
    while (at > 0 && this.words[at - 1]! > word) {
      this.words[at] = this.words[at - 1]!;
      at -= 1;
    }
    this.words[at] = word;
  }
}

/** All that a batch of changes will do, prepared: commit only swaps pointers and cannot fail. */
export class Staged {
  readonly tally: MergeTally = { released: [], added: 0, removed: 0 };
  /** Root slots with the new bundle and the new node (0 = none), in columns. */
  readonly slots: number[] = [];
  readonly bundles: number[] = [];
  readonly nodes: number[] = [];
  readonly freshBlocks: number[] = [];
  readonly freshBundles: number[] = [];
  readonly staleBlocks: number[] = [];
  readonly staleBundles: number[] = [];
  /** Short prefixes that changed, with the group they had. */
  readonly shortPlaces: number[] = [];
  readonly shortBefore: number[] = [];
}

/**
 * The writer of root and nodes. One way serves one prefix and a million: changes are sorted, the bundle of each touched node is merged and
 * compared, and only nodes whose prefixes differ are written, each once. A patch is a compile of the nodes it touches; a new
 * snapshot that equals the old one writes nothing.
 *
 * New nodes are written to unused blocks. Then each /16 switches from its old state to its new one with a single store, to its root entry or to
 * the FALLBACK of its node: no address is ever without a route because a prefix that replaces another came second.
 */
export class Trie {
  readonly prefixes: PrefixSet;
  readonly #words: Uint32Array;
  readonly #arena: Arena;
  readonly #retired: Retired;
  readonly #middle = new NodeBuilder();
  readonly #bottom = new NodeBuilder();
  readonly #middleChanges = new ItemList();
  readonly #bottomChanges = new ItemList();
  readonly #middleItems = new Uint32Array(ITEMS_MAX);
  readonly #bottomItems = new Uint32Array(ITEMS_MAX);
  readonly #children = new Uint32Array(NODE_SLOTS);
  readonly #childNodes = new Uint32Array(NODE_SLOTS);
  #childCount = 0;

  constructor(words: Uint32Array, arena: Arena, retired: Retired) {
    this.#words = words;
    this.#arena = arena;
    this.#retired = retired;
    this.prefixes = new PrefixSet(prefixWords(arena.wordsCapacity));
  }

  /**
   * Prepares `changes`; with `full`, remote prefixes that are not among them go. Throws ISTHMUS_ERR_CAPACITY and has then changed nothing.
   * The caller commits or rolls back before it stages again.
   */
  stage(changes: Changes, full: boolean): Staged {
    const staged = new Staged();
    try {
      this.#stageShort(changes.short, full, staged);
      if (full) this.#stageAllSlots(changes.long, staged);
      else this.#stageTouchedSlots(changes.long, staged);
      if (this.prefixes.count + staged.tally.added - staged.tally.removed > PREFIXES_MAX) {
        throw capacityError('prefixes', PREFIXES_MAX, 'aggregate prefixes or remove some');
      }
    } catch (cause) {
      this.rollback(staged);
      throw cause;
    }
    return staged;
  }

  rollback(staged: Staged): void {
    for (const block of staged.freshBlocks) this.#arena.free(block);
    for (const bundle of staged.freshBundles) this.prefixes.arena.free(bundle);
    for (let i = staged.shortPlaces.length - 1; i >= 0; i--) {
      this.prefixes.short.set(staged.shortPlaces[i]!, staged.shortBefore[i]!);
    }
  }

  commit(staged: Staged): void {
    const { prefixes } = this;
    for (let i = 0; i < staged.slots.length; i++) {
      const slot = staged.slots[i]!;
      const node = staged.nodes[i]!;
      prefixes.bundles[slot] = staged.bundles[i]!;
      Atomics.store(
        this.#words,
        ROOT + slot,
        node !== 0 ? (NODE_BIT | node) >>> 0 : prefixes.short.coverOf(slot),
      );
    }
    for (const place of staged.shortPlaces) this.#refreshCover(place);
    for (const block of staged.staleBlocks) this.#retired.retire(this.#arena, block);
    for (const bundle of staged.staleBundles) prefixes.arena.free(bundle);
    prefixes.count += staged.tally.added - staged.tally.removed;
  }

  /** Brings the root slots under a short prefix to what the short prefixes now say; slots that say so already are not written. */
  #refreshCover(place: number): void {
    const words = this.#words;
    const first = shortFirstSlot(place);
    const end = first + 2 ** (SHORT_LENGTH_MAX - shortLength(place));
    for (let slot = first; slot < end; slot++) {
      const cover = this.prefixes.short.coverOf(slot);
      const entry = words[ROOT + slot]!;
      const at = entry >= NODE_BIT ? (entry & NODE_OFFSET_MASK) + NODE.FALLBACK : ROOT + slot;
      if (words[at] !== cover) Atomics.store(words, at, cover);
    }
  }

  #stageShort(changes: ChangeList, full: boolean, staged: Staged): void {
    const { short } = this.prefixes;
    const kept = new Set<number>();
    for (let i = 0; i < changes.count; i++) {
      const place = shortPlace(changes.addresses[i]!, changes.lengths[i]!);
      if (full) kept.add(place);
      this.#stageShortPrefix(place, changes.groups[i]!, true, staged);
    }
    if (!full) return;
    for (const place of short.remote()) {
      if (!kept.has(place)) this.#stageShortPrefix(place, NO_GROUP, false, staged);
    }
  }

  #stageShortPrefix(place: number, group: number, isChange: boolean, staged: Staged): void {
    const before = this.prefixes.short.get(place);
    settle(isChange, before, group, staged.tally);
    if (before === group) return;
    staged.shortPlaces.push(place);
    staged.shortBefore.push(before);
    this.prefixes.short.set(place, group);
  }

  #stageTouchedSlots(changes: ChangeList, staged: Staged): void {
    for (let from = 0; from < changes.count; ) {
      const slot = changes.addresses[from]! >>> 16;
      const to = endOfSlot(changes, from, slot);
      this.#stageSlot(slot, changes, from, to, false, staged);
      from = to;
    }
  }

  #stageAllSlots(changes: ChangeList, staged: Staged): void {
    let from = 0;
    for (let slot = 0; slot < ROOT_ENTRIES; slot++) {
      const to = endOfSlot(changes, from, slot);
      if (to > from || this.prefixes.bundles[slot] !== 0)
        this.#stageSlot(slot, changes, from, to, true, staged);
      from = to;
    }
  }

  /** Prepares the new state of one /16 from changes `from` to `to`, all of which lie in it. */
  #stageSlot(
    slot: number,
    changes: ChangeList,
    from: number,
    to: number,
    full: boolean,
    staged: Staged,
  ): void {
    const { words } = this.prefixes;
    const bundle = this.prefixes.bundles[slot]!;
    const list = this.#middleChanges;
    list.count = 0;
    for (let i = from; i < to; i++) {
      const length = changes.lengths[i]!;
      if (length > 24) continue;
      list.insert(item(middlePlace(changes.addresses[i]!, length), changes.groups[i]!));
    }
    const oldCount = bundle === 0 ? 0 : itemCount(words, bundle);
    const items = this.#middleItems;
    const merged = mergeItems(words, bundle + 1, oldCount, list.words, list.count, full, items, staged.tally);
    const count = merged < 0 ? -1 - merged : merged;
    this.#middle.paint(items, count);
    const entry = this.#words[ROOT + slot]!;
    const node = entry >= NODE_BIT ? entry & NODE_OFFSET_MASK : 0;
    const childrenSame = this.#stageChildren(bundle, node, changes, from, to, full, staged);
    if (merged < 0 && childrenSame) return;
    if (bundle !== 0) staged.staleBundles.push(bundle);
    if (node !== 0) staged.staleBlocks.push(node);
    staged.slots.push(slot);
    staged.bundles.push(this.#newBundle(items, count, this.#childCount, staged));
    if (count + this.#childCount === 0) {
      staged.nodes.push(0);
      return;
    }
    for (let i = 0; i < this.#childCount; i++) {
      this.#middle.put(this.#children[i]! >>> 24, (NODE_BIT | this.#childNodes[i]!) >>> 0);
    }
    staged.nodes.push(this.#newNode(this.#middle, this.prefixes.short.coverOf(slot), staged));
  }

  /** Prepares the children of one /16, in order of their third byte; true when all stay as they are. */
  #stageChildren(
    bundle: number,
    node: number,
    changes: ChangeList,
    from: number,
    to: number,
    full: boolean,
    staged: Staged,
  ): boolean {
    const { words } = this.prefixes;
    this.#childCount = 0;
    let same = true;
    let old = bundle === 0 ? 0 : childrenAt(words, bundle);
    const oldEnd = bundle === 0 ? 0 : old + childCount(words, bundle);
    let at = nextBottom(changes, from, to);
    while (old < oldEnd || at < to) {
      const oldSlot = old < oldEnd ? words[old]! >>> 24 : NODE_SLOTS;
      const changeSlot = at < to ? (changes.addresses[at]! >>> 8) & 255 : NODE_SLOTS;
      const slot = Math.min(oldSlot, changeSlot);
      this.#bottomChanges.count = 0;
      while (at < to && ((changes.addresses[at]! >>> 8) & 255) === slot) {
        const place = bottomPlace(changes.addresses[at]!, changes.lengths[at]!);
        this.#bottomChanges.insert(item(place, changes.groups[at]!));
        at = nextBottom(changes, at + 1, to);
      }
      const oldBundle = oldSlot === slot ? bundleOfChild(words[old++]!) : 0;
      const oldNode = oldBundle === 0 ? 0 : childNode(this.#words, node, slot);
      if (!this.#stageChild(slot, oldBundle, oldNode, full, staged)) same = false;
    }
    return same;
  }

  /** Prepares one child from the changes in #bottomChanges and appends it to the children; true when it stays as it is. */
  #stageChild(slot: number, bundle: number, node: number, full: boolean, staged: Staged): boolean {
    const { words } = this.prefixes;
    const list = this.#bottomChanges;
    const items = this.#bottomItems;
    const oldCount = bundle === 0 ? 0 : itemCount(words, bundle);
    const merged = mergeItems(words, bundle + 1, oldCount, list.words, list.count, full, items, staged.tally);
    const fallback = this.#middle.slot(slot);
    if (merged < 0) {
      if (bundle === 0) return true;
      const stays = this.#words[node + NODE.FALLBACK] === fallback;
      // Changing FALLBACK in place would switch this /24 at another moment than the rest of its /16.
      this.#appendChild(slot, bundle, stays ? node : this.#copyNode(node, fallback, staged));
      if (!stays) staged.staleBlocks.push(node);
      return stays;
    }
    if (bundle !== 0) {
      staged.staleBundles.push(bundle);
      staged.staleBlocks.push(node);
    }
    if (merged === 0) return false;
    const fresh = this.#newBundle(items, merged, 0, staged);
    this.#bottom.paint(items, merged);
    this.#appendChild(slot, fresh, this.#newNode(this.#bottom, fallback, staged));
    return false;
  }

  #appendChild(slot: number, bundle: number, node: number): void {
    this.#children[this.#childCount] = childWord(slot, bundle);
    this.#childNodes[this.#childCount] = node;
    this.#childCount += 1;
  }

  /** A bundle of `count` items and the first `children` of #children; 0 when it would be empty. */
  #newBundle(items: Uint32Array, count: number, children: number, staged: Staged): number {
    if (count + children === 0) return 0;
    const { arena, words } = this.prefixes;
    const at = arena.allocate(1 + count + children);
    if (at === 0) throw capacityError('words of prefixes', arena.wordsCapacity, 'raise capacityBytes');
    staged.freshBundles.push(at);
    words[at] = (count | (children << 16)) >>> 0;
    for (let i = 0; i < count; i++) words[at + 1 + i] = items[i]!;
    for (let i = 0; i < children; i++) words[at + 1 + count + i] = this.#children[i]!;
    return at;
  }

  #newNode(builder: NodeBuilder, fallback: number, staged: Staged): number {
    const at = this.#block(builder.measure(), staged);
    builder.write(this.#words, at, fallback);
    return at;
  }

  #copyNode(node: number, fallback: number, staged: Staged): number {
    const size = this.#arena.wordsAt(node);
    const at = this.#block(size, staged);
    this.#words.copyWithin(at, node, node + size);
    this.#words[at + NODE.FALLBACK] = fallback;
    return at;
  }

  #block(size: number, staged: Staged): number {
    let at = this.#arena.allocate(size);
    if (at === 0) {
      this.#retired.reclaim(Number.POSITIVE_INFINITY);
      at = this.#arena.allocate(size);
    }
    if (at === 0) {
      throw capacityError(
        'words of blocks',
        this.#arena.wordsCapacity,
        'raise capacityBytes or aggregate prefixes',
      );
    }
    staged.freshBlocks.push(at);
    return at;
  }
}

/** The first change from `from` on that lies in a later /16 than `slot`. */
function endOfSlot(changes: ChangeList, from: number, slot: number): number {
  let at = from;
  while (at < changes.count && changes.addresses[at]! >>> 16 === slot) at += 1;
  return at;
}

/** The first change from `at` on that is longer than /24; `to` when there is none. */
function nextBottom(changes: ChangeList, at: number, to: number): number {
  let next = at;
  while (next < to && changes.lengths[next]! <= 24) next += 1;
  return next;
}

/** The node of the child at `slot`, read from the node of its /16. */
function childNode(words: Uint32Array, node: number, slot: number): number {
  let run = NODE.RUNS - 1;
  for (let index = 0; index <= slot >>> 5; index++) {
    let starts = words[node + NODE.STARTS + index]!;
    if (index === slot >>> 5) starts = (starts << (31 - (slot & 31))) >>> 0;
    for (; starts !== 0; starts = (starts & (starts - 1)) >>> 0) run += 1;
  }
  return words[node + run]! & NODE_OFFSET_MASK;
}
