import type { Reclaimer } from './arena.ts';
import { EPOCH_MASK, HEADER, QUIESCENT, READER_WORDS, READERS, READERS_MAX } from './layout.ts';

const RING_ENTRIES_START = 1024;

/**
 * What readers may still hold: blocks, and indexes of groups, peers and clusters, each with the epoch in which it was unlinked. It goes back to
 * its owner when every reader is quiescent or in a later epoch; the argument stands at enterEpoch in lookup.ts.
 *
 * A ring of columns, `head` to `tail` modulo its size, full when tail - head equals the size; then it doubles.
 */
export class Retired {
  readonly #words: Uint32Array;
  readonly #owners: Reclaimer[] = [];
  #owner = new Uint8Array(RING_ENTRIES_START);
  #value = new Uint32Array(RING_ENTRIES_START);
  #epoch = new Uint32Array(RING_ENTRIES_START);
  #head = 0;
  #tail = 0;

  constructor(words: Uint32Array, firstEpoch: number) {
    this.#words = words;
    Atomics.store(words, HEADER.EPOCH, firstEpoch);
  }

  get epoch(): number {
    return Atomics.load(this.#words, HEADER.EPOCH);
  }

  get count(): number {
    return this.#tail - this.#head;
  }

  /** Call after the last pointer to `value` is overwritten and before publish. */
  retire(owner: Reclaimer, value: number): void {
    if (this.count === this.#value.length) this.#grow();
    const at = this.#tail % this.#value.length;
    this.#owner[at] = this.#ownerNumber(owner);
    this.#value[at] = value;
    this.#epoch[at] = this.epoch;
    this.#tail += 1;
  }

  /** Opens the next epoch: what was retired until now waits for the readers of this one and earlier ones. */
  publish(): void {
    Atomics.store(this.#words, HEADER.EPOCH, epochAfter(this.epoch));
  }

  /** Gives back, oldest first, at most `limit` values that every reader has passed; returns how many. */
  reclaim(limit: number): number {
    let done = 0;
    const oldest = this.#oldestReader();
    while (done < limit && this.#head < this.#tail) {
      const at = this.#head % this.#value.length;
      if (!isLater(oldest, this.#epoch[at]!)) break;
      this.#head += 1;
      done += 1;
      this.#owners[this.#owner[at]!]!.reclaimed(this.#value[at]!);
    }
    return done;
  }

  /** The values of `owner` that still wait. For tests and diagnosis. */
  *pending(owner: Reclaimer): Generator<number> {
    const wanted = this.#owners.indexOf(owner);
    for (let i = this.#head; i < this.#tail; i++) {
      const at = i % this.#value.length;
      if (this.#owner[at] === wanted) yield this.#value[at]!;
    }
  }

  /** The oldest epoch that a reader is in; the present one when all are quiescent. */
  #oldestReader(): number {
    let oldest = this.epoch;
    for (let reader = 0; reader < READERS_MAX; reader++) {
      const epoch = Atomics.load(this.#words, READERS + reader * READER_WORDS);
      if (epoch !== QUIESCENT && isLater(oldest, epoch)) oldest = epoch;
    }
    return oldest;
  }

  #ownerNumber(owner: Reclaimer): number {
    const number = this.#owners.indexOf(owner);
    return number >= 0 ? number : this.#owners.push(owner) - 1;
  }

  #grow(): void {
    const size = this.#value.length;
    const owner = new Uint8Array(2 * size);
    const value = new Uint32Array(2 * size);
    const epoch = new Uint32Array(2 * size);
    for (let i = 0; i < size; i++) {
      const from = (this.#head + i) % size;
      owner[i] = this.#owner[from]!;
      value[i] = this.#value[from]!;
      epoch[i] = this.#epoch[from]!;
    }
    this.#owner = owner;
    this.#value = value;
    this.#epoch = epoch;
    this.#head = 0;
    this.#tail = size;
  }
}

/** Epochs count through 31 bits and leave out QUIESCENT. */
export function epochAfter(epoch: number): number {
  const next = (epoch + 1) & EPOCH_MASK;
  return next === QUIESCENT ? 1 : next;
}

/** Whether epoch `a` comes after `b` on the 31-bit circle; right while they are less than 2^30 epochs apart (12 days at 1,000 a second). */
export function isLater(a: number, b: number): boolean {
  return (a - b) << 1 > 0;
}
