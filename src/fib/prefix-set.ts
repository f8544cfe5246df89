import type { Address, Cidr4 } from '../base/address.ts';
import { prefixMask } from '../base/address.ts';
import { Arena } from './arena.ts';
import { LOCAL_GROUP, NO_GROUP, ROOT_ENTRIES } from './layout.ts';
import { SHORT_LENGTH_MAX, ShortPrefixes, shortLength, shortPlace } from './short-prefixes.ts';

/** Most bundles of a /24 hold one or two prefixes. */
const BUNDLE_UNIT_WORDS = 4;

/**
 * All prefixes with their groups, as the control side keeps them; the image cannot say which prefixes made a run. They are kept in the shape
 * of the trie, in bundles: what belongs to one node is one sorted block of one word a prefix. A hash keyed by (address, length) would need 510
 * probes to repaint a node and a pause of tens of milliseconds whenever it doubles; here nothing grows beyond a bundle.
 *
 *   bundle of a /16:  count of items | count of children << 16,  items,  children
 *   bundle of a /24:  count of items,  items
 *   item:             place (9 bits) << 17 | group (17 bits), ascending
 *   child:            third byte of the address << 24 | unit index of the bundle of that /24, ascending
 *
 * A place numbers the prefixes of a level: with k = 1 to 8 bits behind the parent's, 2^k + those bits. Ascending places are ascending lengths.
 */
export class PrefixSet {
  readonly short = new ShortPrefixes();
  readonly words: Uint32Array;
  readonly arena: Arena;
  /** The bundle of each /16, 0 = none. */
  readonly bundles = new Uint32Array(ROOT_ENTRIES);
  count = 0;

  constructor(wordsCapacity: number) {
    this.words = new Uint32Array(wordsCapacity);
    this.arena = new Arena(BUNDLE_UNIT_WORDS, wordsCapacity - BUNDLE_UNIT_WORDS, BUNDLE_UNIT_WORDS);
  }

  get bytesUsed(): number {
    return 4 * (this.arena.wordsUsed + this.bundles.length + this.short.words);
  }

  /** The group of exactly this prefix, 0 = none. */
  get(cidr: Cidr4): number {
    const { address, prefixLength } = cidr;
    if (prefixLength <= SHORT_LENGTH_MAX) return this.short.get(shortPlace(address, prefixLength));
    const bundle = this.bundles[address >>> 16]!;
    if (bundle === 0) return NO_GROUP;
    if (prefixLength <= 24) return this.#find(bundle, middlePlace(address, prefixLength));
    const child = this.child(bundle, (address >>> 8) & 255);
    return child === 0 ? NO_GROUP : this.#find(child, bottomPlace(address, prefixLength));
  }

  /** The longest prefix that holds `address`. */
  longest(address: Address): { cidr: Cidr4; group: number } | undefined {
    const bundle = this.bundles[address >>> 16]!;
    if (bundle !== 0) {
      const child = this.child(bundle, (address >>> 8) & 255);
      for (let length = 32; length > 24 && child !== 0; length--) {
        const group = this.#find(child, bottomPlace(address, length));
        if (group !== NO_GROUP) return found(address, length, group);
      }
      for (let length = 24; length > SHORT_LENGTH_MAX; length--) {
        const group = this.#find(bundle, middlePlace(address, length));
        if (group !== NO_GROUP) return found(address, length, group);
      }
    }
    const place = this.short.longest(address >>> 16);
    return place === 0 ? undefined : found(address, shortLength(place), this.short.get(place));
  }

  /** The bundle of the /24 whose third byte is `slot`, 0 = none. */
  child(bundle: number, slot: number): number {
    let low = childrenAt(this.words, bundle);
    let high = low + childCount(this.words, bundle);
    const end = high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.words[middle]! >>> 24 < slot) low = middle + 1;
      else high = middle;
    }
    return low < end && this.words[low]! >>> 24 === slot ? bundleOfChild(this.words[low]!) : 0;
  }

  #find(bundle: number, place: number): number {
    let low = bundle + 1;
    let high = low + itemCount(this.words, bundle);
    const end = high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (placeOfItem(this.words[middle]!) < place) low = middle + 1;
      else high = middle;
    }
    return low < end && placeOfItem(this.words[low]!) === place ? groupOfItem(this.words[low]!) : NO_GROUP;
  }
}

function found(address: Address, prefixLength: number, group: number): { cidr: Cidr4; group: number } {
  return { cidr: { address: (address & prefixMask(prefixLength)) >>> 0, prefixLength }, group };
}

/** Most prefixes that one level of one node can have: 2 + 4 + … + 256. */
export const ITEMS_MAX = 510;

/** Number of a /17 to /24 among those of one /16: a heap numbering, so that length and position are one number from 2 to 511. */
export function middlePlace(address: Address, prefixLength: number): number {
  return (1 << (prefixLength - 16)) + ((address & 0xffff) >>> (32 - prefixLength));
}

/** The same for a /25 to /32 among those of one /24. */
export function bottomPlace(address: Address, prefixLength: number): number {
  return (1 << (prefixLength - 24)) + ((address & 0xff) >>> (32 - prefixLength));
}

/** A prefix of a bundle as one u32: its place in the upper 15 bits, its group in the lower 17. */
export function item(place: number, group: number): number {
  return (place << 17) | group;
}

/** The place, from 2 to 511, of an `item`. */
export function placeOfItem(word: number): number {
  return word >>> 17;
}

/** The group of an `item`. */
export function groupOfItem(word: number): number {
  return word & 0x1_ffff;
}

/** How many items the bundle at this word offset has: the low half of its first word. */
export function itemCount(words: Uint32Array, bundle: number): number {
  return words[bundle]! & 0xffff;
}

/** How many children it has: the high half of its first word. */
export function childCount(words: Uint32Array, bundle: number): number {
  return words[bundle]! >>> 16;
}

/** Word offset of its first child; they follow the items. */
export function childrenAt(words: Uint32Array, bundle: number): number {
  return bundle + 1 + itemCount(words, bundle);
}

/** A child as one u32: its slot (0 to 255) in the top byte, its bundle below, counted in units of BUNDLE_UNIT_WORDS. */
export function childWord(slot: number, bundle: number): number {
  return ((slot << 24) | (bundle / BUNDLE_UNIT_WORDS)) >>> 0;
}

/** Word offset of the bundle that a `childWord` names. */
export function bundleOfChild(word: number): number {
  return (word & 0xff_ffff) * BUNDLE_UNIT_WORDS;
}

/** What became of the prefixes in a merge. */
export interface MergeTally {
  /** Groups that lost one use. */
  readonly released: number[];
  added: number;
  removed: number;
}

/**
 * Merges `changes` (items in order of place, group 0 = remove) into the `oldCount` items at `words[oldAt]` and writes the result to `out`. With
 * `full`, remote prefixes that are not among the changes go. Returns the new count, or -1 - count when nothing changed.
 */
export function mergeItems(
  words: Uint32Array,
  oldAt: number,
  oldCount: number,
  changes: Uint32Array,
  changeCount: number,
  full: boolean,
  out: Uint32Array,
  tally: MergeTally,
): number {
  let count = 0;
  let same = true;
  let o = 0;
  let c = 0;
  while (o < oldCount || c < changeCount) {
    const old = o < oldCount ? words[oldAt + o]! : 0xffff_ffff;
    const change = c < changeCount ? changes[c]! : 0xffff_ffff;
    const isOld = placeOfItem(old) <= placeOfItem(change);
    const isChange = placeOfItem(change) <= placeOfItem(old);
    if (isOld) o += 1;
    if (isChange) c += 1;
    const oldGroup = isOld ? groupOfItem(old) : NO_GROUP;
    let group = isChange ? groupOfItem(change) : oldGroup;
    if (!isChange && full && oldGroup !== LOCAL_GROUP) group = NO_GROUP;
    if (group !== NO_GROUP) out[count++] = item(placeOfItem(isChange ? change : old), group);
    settle(isChange, oldGroup, group, tally);
    if (group !== oldGroup) same = false;
  }
  return same ? -1 - count : count;
}

/** Books one prefix that had `oldGroup` and has `group` now. A change carries one use of its group, which an unchanged prefix gives back. */
export function settle(isChange: boolean, oldGroup: number, group: number, tally: MergeTally): void {
  if (oldGroup !== NO_GROUP && (isChange || group !== oldGroup)) tally.released.push(oldGroup);
  if (oldGroup === NO_GROUP && group !== NO_GROUP) tally.added += 1;
  if (oldGroup !== NO_GROUP && group === NO_GROUP) tally.removed += 1;
}
