import { assert } from '../base/assert.ts';

/** The largest block the owners ask for, in units: a prefix bundle of 1 + 510 + 256 words in units of 4. Free blocks can be larger. */
export const BLOCK_UNITS_MAX = 192;

/** Bin n lists the free blocks of n units; the last bin lists all larger ones, each of which satisfies any request. */
const BINS = BLOCK_UNITS_MAX + 2;
const LARGE_BIN = BLOCK_UNITS_MAX + 1;

export interface Reclaimer {
  /** No reader can hold `value` any more. */
  reclaimed(value: number): void;
}

/**
 * Hands out blocks of a word array in constant time. Free neighbours are merged, because plain size classes would strand what a growing
 * trie leaves behind: a million random /24s added one by one passed through seven node sizes and would have left five times
 * the memory they need in classes nobody asks for again. All bookkeeping is here and not in the blocks, so that a reader that still looks
 * at a freed block reads old content and never a list pointer. The arrays are zero pages until a unit is used.
 */
export class Arena implements Reclaimer {
  readonly #base: number;
  readonly #unitWords: number;
  readonly #units: number;
  /** At the first unit of a block: its size, negative when it is free. */
  readonly #size: Int32Array;
  /** At the last unit of a free block: its first unit + 1. 0 elsewhere. */
  readonly #freeEnd: Int32Array;
  /** At the first unit of a free block: neighbours in its bin, + 1. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #bins = new Int32Array(BINS);
  readonly #filled = new Uint32Array((BINS + 31) >>> 5);
  /** Units from here on have no block. */
  #frontier = 0;
  #touched = 0;
  #used = 0;

  /** `base`: word offset of the first unit, above 0; `words`: how many there are; blocks start at multiples of `unitWords` behind `base`. */
  constructor(base: number, words: number, unitWords: number) {
    assert(base > 0, 'offset 0 means "no block"');
    this.#base = base;
    this.#unitWords = unitWords;
    this.#units = Math.floor(words / unitWords);
    this.#size = new Int32Array(this.#units);
    this.#freeEnd = new Int32Array(this.#units);
    this.#next = new Int32Array(this.#units);
    this.#previous = new Int32Array(this.#units);
  }

  get wordsUsed(): number {
    return this.#used * this.#unitWords;
  }

  /** The most that was ever in use at once, with the gaps: what the system had to back with memory. */
  get wordsTouched(): number {
    return this.#touched * this.#unitWords;
  }

  get wordsCapacity(): number {
    return this.#units * this.#unitWords;
  }

  /** The word offset of a block of at least `words` words with undefined content, or 0 when there is no room. */
  allocate(words: number): number {
    const units = Math.ceil(words / this.#unitWords);
    assert(units > 0 && units <= BLOCK_UNITS_MAX, 'a block has 1 to BLOCK_UNITS_MAX units');
    let start = this.#takeFree(units);
    if (start < 0) {
      if (this.#frontier + units > this.#units) return 0;
      start = this.#frontier;
      this.#frontier += units;
      if (this.#frontier > this.#touched) this.#touched = this.#frontier;
    }
    this.#size[start] = units;
    this.#used += units;
    return this.#base + start * this.#unitWords;
  }

  /** Gives a block back. Only for blocks that no reader can reach; published ones go through Retired first. */
  free(at: number): void {
    let start = (at - this.#base) / this.#unitWords;
    let units = this.#size[start] ?? 0;
    assert(units > 0, 'only a block in use is freed');
    this.#used -= units;
    this.#size[start] = 0;
    const right = start + units;
    if (right < this.#frontier && this.#size[right]! < 0) {
      const more = -this.#size[right]!;
      this.#unlink(right, more);
      units += more;
    }
    const left = start === 0 ? 0 : this.#freeEnd[start - 1]!;
    if (left !== 0) {
      const more = start - (left - 1);
      start = left - 1;
      this.#unlink(start, more);
      units += more;
    }
    if (start + units === this.#frontier) this.#frontier = start;
    else this.#link(start, units);
  }

  reclaimed(at: number): void {
    this.free(at);
  }

  /** Size of the block at `at` in words, rounded up to units. */
  wordsAt(at: number): number {
    return this.#size[(at - this.#base) / this.#unitWords]! * this.#unitWords;
  }

  /** Every block below the frontier in order of offset; throws when the bookkeeping contradicts itself. For tests and diagnosis. */
  *blocks(): Generator<{ at: number; words: number; free: boolean }> {
    for (let start = 0; start < this.#frontier; ) {
      const size = this.#size[start]!;
      assert(size !== 0, 'a block starts where the one before it ends');
      const units = Math.abs(size);
      yield { at: this.#base + start * this.#unitWords, words: units * this.#unitWords, free: size < 0 };
      start += units;
    }
  }

  #takeFree(units: number): number {
    const bin = this.#filledBinFrom(units);
    if (bin === 0) return -1;
    const start = this.#bins[bin]! - 1;
    const size = -this.#size[start]!;
    this.#unlink(start, size);
    if (size > units) this.#link(start + units, size - units);
    return start;
  }

  #filledBinFrom(units: number): number {
    let index = units >>> 5;
    let bits = this.#filled[index]! & (-1 << (units & 31));
    while (bits === 0) {
      index += 1;
      if (index === this.#filled.length) return 0;
      bits = this.#filled[index]!;
    }
    return index * 32 + 31 - Math.clz32(bits & -bits);
  }

  #link(start: number, units: number): void {
    const bin = units > BLOCK_UNITS_MAX ? LARGE_BIN : units;
    const first = this.#bins[bin]!;
    this.#size[start] = -units;
    this.#freeEnd[start + units - 1] = start + 1;
    this.#next[start] = first;
    this.#previous[start] = 0;
    if (first !== 0) this.#previous[first - 1] = start + 1;
    this.#bins[bin] = start + 1;
    this.#filled[bin >>> 5]! |= 1 << (bin & 31);
  }

  #unlink(start: number, units: number): void {
    const bin = units > BLOCK_UNITS_MAX ? LARGE_BIN : units;
    const next = this.#next[start]!;
    const previous = this.#previous[start]!;
    if (next !== 0) this.#previous[next - 1] = previous;
    if (previous !== 0) this.#next[previous - 1] = next;
    else {
      this.#bins[bin] = next;
      if (next === 0) this.#filled[bin >>> 5]! &= ~(1 << (bin & 31));
    }
    this.#size[start] = 0;
    this.#freeEnd[start + units - 1] = 0;
  }
}
