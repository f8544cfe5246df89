import { type Cidr4, formatCidr, prefixMask } from '../base/address.ts';
import { assert } from '../base/assert.ts';
import { NO_GROUP } from './layout.ts';
import { SHORT_LENGTH_MAX } from './short-prefixes.ts';

/** What is to become of prefixes, each once, in the order of `prefixOrder`: so a trie meets all changes of one node together. */
export class ChangeList {
  count = 0;
  readonly addresses: Uint32Array;
  readonly lengths: Uint8Array;
  /** The group to point to; NO_GROUP removes the prefix. */
  readonly groups: Uint32Array;

  constructor(room: number) {
    this.addresses = new Uint32Array(room);
    this.lengths = new Uint8Array(room);
    this.groups = new Uint32Array(room);
  }

  add(cidr: Cidr4, group: number): void {
    this.addresses[this.count] = cidr.address;
    this.lengths[this.count] = cidr.prefixLength;
    this.groups[this.count] = group;
    this.count += 1;
  }
}

/** Prefixes up to /16 change root slots, longer ones change nodes; in prefix order a /8 would stand in the middle of its /16s. */
export interface Changes {
  readonly short: ChangeList;
  readonly long: ChangeList;
}

/** A list of CIDRs with a group for each. */
interface Assignment4 {
  readonly cidrs: readonly Cidr4[];
  readonly groups: Uint32Array;
}

/**
 * A number of 33 bits for a prefix: its bits, then a 1, then zeros. Unique, and in order of it a prefix stands between its two halves,
 * so the prefixes of one /16 (or /24) are neighbours.
 */
function prefixOrder(cidr: Cidr4): number {
  return cidr.address * 2 + 2 ** (32 - cidr.prefixLength);
}

/** 2^20: the list index behind 33 bits of prefix fills the 53 bits of a double, and Float64Array sorts without calling back. */
const INDEXES = 0x10_0000;

/** Joins both lists; of equal CIDRs in `set` the last counts, and `set` counts before `removed`. `superseded` gets the groups that lost. */
export function orderChanges(set: Assignment4, removed: readonly Cidr4[], superseded: number[]): Changes {
  const setKeys = sortedKeys(set.cidrs);
  const removedKeys = sortedKeys(removed);
  const room = set.cidrs.length + removed.length;
  const changes = { short: new ChangeList(room), long: new ChangeList(room) };
  let last = -1;
  let s = 0;
  let r = 0;
  while (s < setKeys.length || r < removedKeys.length) {
    const setOrder = s < setKeys.length ? orderOf(setKeys[s]!) : Number.POSITIVE_INFINITY;
    const removedOrder = r < removedKeys.length ? orderOf(removedKeys[r]!) : Number.POSITIVE_INFINITY;
    const order = Math.min(setOrder, removedOrder);
    // Of equal orders the removal comes first, and what comes later replaces it.
    const isRemoval = removedOrder <= setOrder;
    const index = isRemoval ? indexOf(removedKeys[r++]!) : indexOf(setKeys[s++]!);
    const cidr = isRemoval ? removed[index]! : set.cidrs[index]!;
    const list = cidr.prefixLength <= SHORT_LENGTH_MAX ? changes.short : changes.long;
    if (order === last) {
      list.count -= 1;
      const group = list.groups[list.count]!;
      if (group !== NO_GROUP) superseded.push(group);
    }
    list.add(cidr, isRemoval ? NO_GROUP : set.groups[index]!);
    last = order;
  }
  return changes;
}

function sortedKeys(cidrs: readonly Cidr4[]): Float64Array {
  const keys = new Float64Array(cidrs.length);
  let ascending = true;
  let last = -1;
  for (let index = 0; index < cidrs.length; index++) {
    const cidr = cidrs[index]!;
    const hostBits = (cidr.address & ~prefixMask(cidr.prefixLength)) >>> 0;
    if (hostBits !== 0) assert(false, `the host bits of ${formatCidr(cidr)} are zero`);
    const key = prefixOrder(cidr) * INDEXES + index;
    if (key < last) ascending = false;
    last = key;
    keys[index] = key;
  }
  return ascending ? keys : keys.sort();
}

function orderOf(key: number): number {
  return Math.floor(key / INDEXES);
}

function indexOf(key: number): number {
  return key - orderOf(key) * INDEXES;
}
