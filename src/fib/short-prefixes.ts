import { LOCAL_GROUP, ROOT_ENTRIES } from './layout.ts';

/** Prefixes up to this length cover whole root slots. */
export const SHORT_LENGTH_MAX = 16;

/**
 * The prefixes of length 0 to 16 as a complete binary tree: 0.0.0.0/0 is place 1, the halves of place p are 2p and 2p + 1, and the /16s are
 * the last 65,536 places. `cover` holds at each place what the longest of these prefixes at or above it says.
 */
export class ShortPrefixes {
  readonly #own = new Uint32Array(2 * ROOT_ENTRIES);
  readonly #cover = new Uint32Array(2 * ROOT_ENTRIES);

  get words(): number {
    return this.#own.length + this.#cover.length;
  }

  /** The group of exactly this prefix, 0 = none. */
  get(place: number): number {
    return this.#own[place]!;
  }

  /** What the prefixes up to /16 say about root slot `slot`. */
  coverOf(slot: number): number {
    return this.#cover[ROOT_ENTRIES + slot]!;
  }

  /** The place of the longest prefix that holds root slot `slot`, 0 = none. */
  longest(slot: number): number {
    let place = ROOT_ENTRIES + slot;
    while (place > 0 && this.#own[place] === 0) place >>>= 1;
    return place;
  }

  /** Sets or (with 0) removes a prefix. */
  set(place: number, group: number): void {
    this.#own[place] = group;
    const inherited = this.#cover[place >>> 1]!;
    this.#cover[place] = group !== 0 ? group : inherited;
    let first = 2 * place;
    for (let count = 2; first < 2 * ROOT_ENTRIES; count *= 2, first *= 2) {
      for (let below = first; below < first + count; below++) {
        const own = this.#own[below]!;
        this.#cover[below] = own !== 0 ? own : this.#cover[below >>> 1]!;
      }
    }
  }

  /** The places of remote prefixes, ascending. */
  *remote(): Generator<number> {
    for (let place = 1; place < this.#own.length; place++) if (this.#own[place]! > LOCAL_GROUP) yield place;
  }
}

export function shortPlace(address: number, prefixLength: number): number {
  return prefixLength === 0 ? 1 : 2 ** prefixLength + (address >>> (32 - prefixLength));
}

/** The length of the prefix at a place. */
export function shortLength(place: number): number {
  return 31 - Math.clz32(place);
}

/** The first root slot that the prefix at a place covers; it covers 2^(16 - length) of them. */
export function shortFirstSlot(place: number): number {
  const length = shortLength(place);
  return (place - 2 ** length) * 2 ** (SHORT_LENGTH_MAX - length);
}
