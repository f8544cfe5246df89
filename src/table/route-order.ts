import { type Cidr4, cidrKey, cidrOfKey, prefixMask } from '../base/address.ts';
import type { Entry } from './entry.ts';
import type { PrefixMap } from './prefix-map.ts';

/** Routes that came since the keys were sorted. Beyond this, and an eighth of those sorted, sorting again is cheaper than carrying them. */
const RECENT_MIN = 4096;

/**
 * Answers "which route lies inside this CIDR", which only own CIDRs that are learned ask. So the keys are sorted (15 ms for 100,000 routes)
 * when the first one asks, and a gateway that learns none pays nothing for them.
 */
export class RouteOrder {
  readonly #entries: PrefixMap<Entry>;
  #sorted: Float64Array | undefined;
  /** Of routes that came later; some may stand in `#sorted` too. */
  #recent: number[] = [];
  #recentSorted: Float64Array = new Float64Array(0);

  constructor(entries: PrefixMap<Entry>) {
    this.#entries = entries;
  }

  /** A CIDR without a route has one now. One that goes needs no word: it is not in force when it is found. */
  appeared(cidr: Cidr4): void {
    if (this.#sorted === undefined) return;
    this.#recent.push(cidrKey(cidr));
    if (this.#recent.length > RECENT_MIN + this.#sorted.length / 8) this.#sorted = undefined;
  }

  /** The first by address of the routes whose CIDR is `cidr` or lies in it. */
  inside(cidr: Cidr4): Entry | undefined {
    const sorted = this.#upToDate();
    return this.#firstIn(sorted, cidr) ?? this.#firstIn(this.#recentSorted, cidr);
  }

  #upToDate(): Float64Array {
    if (this.#sorted === undefined) {
      const keys: number[] = [];
      for (const { cidr, inForce } of this.#entries.values())
        if (inForce !== undefined) keys.push(cidrKey(cidr));
      this.#sorted = Float64Array.from(keys).sort();
      this.#recent = [];
    }
    if (this.#recentSorted.length !== this.#recent.length)
      this.#recentSorted = Float64Array.from(this.#recent).sort();
    return this.#sorted;
  }

  /** Keys sort by address, then by length: all from the CIDR itself to its last address lie in it. */
  #firstIn(keys: Float64Array, cidr: Cidr4): Entry | undefined {
    const first = cidrKey(cidr);
    const last = ((cidr.address | ~prefixMask(cidr.prefixLength)) >>> 0) * 64 + 32;
    for (let i = lowerBound(keys, first); i < keys.length && keys[i]! <= last; i++) {
      const entry = this.#entries.get(cidrOfKey(keys[i]!));
      if (entry?.inForce !== undefined) return entry;
    }
    return undefined;
  }
}

/** Index of the first key that is not below `key`. */
function lowerBound(keys: Float64Array, key: number): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
