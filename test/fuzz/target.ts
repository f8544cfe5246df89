import type { Prng } from '../../src/base/prng.ts';

/** What is fuzzed: a function of bytes, which throws when it finds something wrong. Equal inputs do equal things. */
export interface Target {
  readonly name: string;
  /** Inputs are no longer than this. */
  readonly bytesMax: number;
  /** Returns what the input came to, as small numbers: an input that came to something new is kept, also where no new code ran. */
  run(input: Uint8Array): readonly number[];
  /** Makes right again what random changes always break and the code always checks, such as checksums. In place. */
  repair(input: Uint8Array, prng: Prng): void;
  /** Where the search begins, besides the corpus. */
  seeds(): readonly Uint8Array[];
}
