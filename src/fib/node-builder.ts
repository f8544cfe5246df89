import { NODE, NODE_SLOTS } from './layout.ts';
import { groupOfItem, placeOfItem } from './prefix-set.ts';

/**
 * Makes the content of one node block from the prefixes of its level. Boundaries are marked as prefixes are painted, so that finding the
 * runs looks at those places only: most nodes hold a few prefixes, and comparing all 256 slots took two thirds of a compile.
 */
export class NodeBuilder {
  readonly #slots = new Uint32Array(NODE_SLOTS);
  readonly #starts = new Uint32Array(NODE_SLOTS / 32);
  readonly #runs = new Uint32Array(NODE_SLOTS);
  #count = 0;

  /** Paints `count` items, which must stand in order of place: shorter prefixes first, so that longer ones lie on top. */
  paint(items: Uint32Array, count: number): void {
    this.#slots.fill(0);
    this.#starts.fill(0);
    this.#starts[0] = 1;
    for (let i = 0; i < count; i++) {
      const place = placeOfItem(items[i]!);
      const shift = 31 - Math.clz32(place);
      const width = NODE_SLOTS >>> shift;
      const start = (place - (1 << shift)) * width;
      const group = groupOfItem(items[i]!);
      if (width === 1) this.#slots[start] = group;
      else this.#slots.fill(group, start, start + width);
      this.#mark(start);
      this.#mark(start + width);
    }
  }

  slot(slot: number): number {
    return this.#slots[slot]!;
  }

  /** Puts an entry on top of what was painted. */
  put(slot: number, entry: number): void {
    this.#slots[slot] = entry;
    this.#mark(slot);
    this.#mark(slot + 1);
  }

  /** Finds the runs; returns how many words the node takes. */
  measure(): number {
    let count = 0;
    let last = -1;
    for (let index = 0; index < this.#starts.length; index++) {
      let marks = this.#starts[index]!;
      let kept = 0;
      while (marks !== 0) {
        const bit = marks & -marks;
        marks ^= bit;
        const entry = this.#slots[index * 32 + 31 - Math.clz32(bit)]!;
        if (entry === last) continue;
        last = entry;
        kept |= bit;
        this.#runs[count++] = entry;
      }
      this.#starts[index] = kept;
    }
    this.#count = count;
    return NODE.RUNS + count;
  }

  /** Writes the node that measure found to block `at`. */
  write(words: Uint32Array, at: number, fallback: number): void {
    words[at + NODE.FALLBACK] = fallback;
    let before = 0;
    let low = 0;
    let high = 0;
    for (let index = 0; index < this.#starts.length; index++) {
      const starts = this.#starts[index]!;
      words[at + NODE.STARTS + index] = starts;
      if (index < 4) low |= before << (index * 8);
      else high |= before << ((index - 4) * 8);
      before += populationCount(starts);
    }
    words[at + NODE.COUNTS] = low;
    words[at + NODE.COUNTS + 1] = high;
    for (let run = 0; run < this.#count; run++) words[at + NODE.RUNS + run] = this.#runs[run]!;
  }

  #mark(slot: number): void {
    if (slot < NODE_SLOTS) this.#starts[slot >>> 5]! |= 1 << (slot & 31);
  }
}

function populationCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x5555_5555);
  bits = (bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
