import { Prng } from '../../src/base/prng.ts';
import { BlockCoverage } from './coverage.ts';
import { mutated } from './mutate.ts';
import type { Target } from './target.ts';

export interface FuzzOptions {
  readonly corpus: readonly Uint8Array[];
  readonly seconds: number;
  readonly seed: number;
  /** Ends earlier than `seconds`, where a test wants to know what so many inputs find. */
  readonly inputsMax?: number;
  /** Part of the address of the scripts whose coverage guides the search. */
  readonly scripts?: string;
  readonly onProgress?: (progress: Progress) => void;
}

export interface Progress {
  readonly seconds: number;
  readonly inputs: number;
  /** Inputs that are worth changing further. */
  readonly pool: number;
  /** Characters of the guiding scripts that have run, and outcomes that were seen. */
  readonly covered: number;
  readonly outcomes: number;
}

export interface Finding {
  readonly input: Uint8Array;
  readonly error: unknown;
}

export interface FuzzResult extends Progress {
  readonly finding?: Finding;
  /** Inputs that ran code that neither the seeds nor the corpus run. */
  readonly found: readonly Uint8Array[];
  /** Those of the corpus that run code that the seeds, and shorter ones, do not. */
  readonly useful: readonly Uint8Array[];
}

/** Coverage is asked for after so many inputs, or so much time when they are slow: asking takes milliseconds. */
const BATCH = 2048;
const BATCH_MS = 100;
const PROGRESS_MS = 5000;
/** Part of the inputs that get their checksums right. */
const REPAIRED = 0.85;

/**
 * Changes inputs at random, keeps those that run code or come to an outcome that none did before, and changes these further. Coverage
 * is known by the batch; one that ran new code is run again by halves, until it is known which inputs did.
 */
export class Fuzzer {
  readonly #target: Target;
  readonly #options: FuzzOptions;
  readonly #prng: Prng;
  readonly #coverage: BlockCoverage;
  readonly #outcomes = new Set<number>();
  readonly #pool: Uint8Array[] = [];
  readonly #found: Uint8Array[] = [];
  readonly #useful: Uint8Array[] = [];
  readonly #begin = performance.now();
  #inputs = 0;
  #told = 0;

  constructor(target: Target, options: FuzzOptions) {
    this.#target = target;
    this.#options = options;
    this.#prng = new Prng(options.seed);
    this.#coverage = new BlockCoverage(options.scripts ?? '/dist/src/');
  }

  run(): FuzzResult {
    try {
      const finding = this.#start() ?? this.#search();
      return {
        ...this.#progress(),
        ...(finding === undefined ? {} : { finding }),
        found: this.#found,
        useful: this.#useful,
      };
    } finally {
      this.#coverage.close();
    }
  }

  /** The seeds, then the corpus, short ones first. */
  #start(): Finding | undefined {
    const corpus = this.#options.corpus.toSorted((a, b) => a.length - b.length);
    for (const input of this.#target.seeds()) {
      const finding = this.#try(input, []);
      if (finding !== undefined) return finding;
    }
    for (const input of corpus) {
      const finding = this.#try(input, this.#useful);
      if (finding !== undefined) return finding;
    }
    if (this.#pool.length === 0) this.#pool.push(new Uint8Array(1));
    return undefined;
  }

  #search(): Finding | undefined {
    const { seconds, inputsMax = Number.POSITIVE_INFINITY } = this.#options;
    const end = this.#begin + seconds * 1000;
    while (performance.now() < end && this.#inputs < inputsMax) {
      const batch: Uint8Array[] = [];
      const until = performance.now() + BATCH_MS;
      while (batch.length < BATCH && performance.now() < until) {
        const input = this.#next();
        batch.push(input);
        try {
          if (this.#outcome(input)) this.#pool.push(input);
        } catch (error) {
          return { input, error };
        }
      }
      const fresh = this.#coverage.take();
      if (!fresh.isEmpty) {
        const finding = this.#narrow(batch);
        if (finding !== undefined) return finding;
        // What ran only because of inputs that went before would be found new again and again.
        fresh.keep();
      }
      this.#tell();
    }
    return undefined;
  }

  #narrow(batch: readonly Uint8Array[]): Finding | undefined {
    if (batch.length === 1) return this.#try(batch[0]!, this.#found);
    const middle = batch.length >> 1;
    for (const half of [batch.slice(0, middle), batch.slice(middle)]) {
      for (const input of half) {
        try {
          this.#outcome(input);
        } catch (error) {
          return { input, error };
        }
      }
      const finding = this.#coverage.take().isEmpty ? undefined : this.#narrow(half);
      if (finding !== undefined) return finding;
    }
    return undefined;
  }

  /** Runs an input, keeps it when it is worth it, and names it in `to` when it ran new code. */
  #try(input: Uint8Array, to: Uint8Array[]): Finding | undefined {
    try {
      const isOutcome = this.#outcome(input);
      const fresh = this.#coverage.take();
      fresh.keep();
      if (!fresh.isEmpty) to.push(input);
      if (!fresh.isEmpty || isOutcome) this.#pool.push(input);
      return undefined;
    } catch (error) {
      return { input, error };
    }
  }

  #outcome(input: Uint8Array): boolean {
    this.#inputs += 1;
    let isNew = false;
    for (const outcome of this.#target.run(input)) {
      if (this.#outcomes.has(outcome)) continue;
      this.#outcomes.add(outcome);
      isNew = true;
    }
    return isNew;
  }

  /** Half of the time one of the newest, which nobody has changed much yet. */
  #next(): Uint8Array {
    const prng = this.#prng;
    const recent = Math.min(this.#pool.length, 16);
    const from = prng.chance(0.5) ? this.#pool.length - recent : 0;
    const input = this.#pool[from + prng.below(this.#pool.length - from)]!;
    const result = mutated(input, prng.pick(this.#pool), this.#target.bytesMax, prng);
    if (prng.chance(REPAIRED)) this.#target.repair(result, prng);
    return result;
  }

  #progress(): Progress {
    return {
      seconds: (performance.now() - this.#begin) / 1000,
      inputs: this.#inputs,
      pool: this.#pool.length,
      covered: this.#coverage.characters,
      outcomes: this.#outcomes.size,
    };
  }

  #tell(): void {
    const now = performance.now();
    if (now - this.#told < PROGRESS_MS) return;
    this.#told = now;
    this.#options.onProgress?.(this.#progress());
  }
}
