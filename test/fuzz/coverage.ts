import { Session } from 'node:inspector';

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

interface ScriptCoverage {
  readonly url: string;
  readonly functions: readonly { readonly ranges: readonly Range[] }[];
}

/** A function, and which characters of it ran. */
interface Part {
  readonly key: string;
  readonly ran: Uint8Array;
}

export interface Fresh {
  readonly isEmpty: boolean;
  keep(): void;
}

/**
 * Which parts of the shipped code ran, told by V8 itself (Profiler.takePreciseCoverage, block coverage): nothing is rewritten, so what is fuzzed
 * is what is shipped. Asking takes milliseconds, so it is asked after many inputs, not after each.
 *
 * V8 merges neighbouring ranges with equal counts, so ranges say nothing by themselves; what is kept is, for each function, which
 * characters of its text have run.
 */
export class BlockCoverage {
  readonly #session = new Session();
  readonly #part: string;
  readonly #seen = new Map<string, Uint8Array>();
  #characters = 0;

  /** Counts only scripts whose address holds `part`. */
  constructor(part: string) {
    this.#part = part;
    this.#session.connect();
    this.#post('Profiler.enable', {});
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** Characters of source text that have run so far. */
  get characters(): number {
    return this.#characters;
  }

  /** What ran since the last call and never before; it counts as seen once it is kept. */
  take(): Fresh {
    const { result } = this.#post('Profiler.takePreciseCoverage', {}) as { result: ScriptCoverage[] };
    const parts: Part[] = [];
    for (const { url, functions } of result) {
      if (!url.includes(this.#part)) continue;
      for (const { ranges } of functions) {
        const part = this.#paint(url, ranges);
        if (part !== undefined) parts.push(part);
      }
    }
    return {
      isEmpty: parts.length === 0,
      keep: () => {
        for (const part of parts) this.#keep(part);
      },
    };
  }

  close(): void {
    this.#post('Profiler.stopPreciseCoverage', {});
    this.#session.disconnect();
  }

  /** The first range is the function, the others lie in it, the inner ones behind the outer. Undefined when it has all run before. */
  #paint(url: string, ranges: readonly Range[]): Part | undefined {
    const { startOffset, endOffset, count } = ranges[0]!;
    if (count === 0) return undefined;
    const key = `${url}:${startOffset}:${endOffset}`;
    const ran = new Uint8Array(endOffset - startOffset).fill(1);
    for (const range of ranges) {
      ran.fill(range.count === 0 ? 0 : 1, range.startOffset - startOffset, range.endOffset - startOffset);
    }
    const seen = this.#seen.get(key);
    const isFresh = seen === undefined || ran.some((is, i) => is === 1 && seen[i] === 0);
    return isFresh ? { key, ran } : undefined;
  }

  #keep({ key, ran }: Part): void {
    const seen = this.#seen.get(key) ?? new Uint8Array(ran.length);
    this.#seen.set(key, seen);
    for (let i = 0; i < ran.length; i++) {
      if (ran[i] === 0 || seen[i] === 1) continue;
      seen[i] = 1;
      this.#characters += 1;
    }
  }

  /** The session answers on this thread, before `post` returns. */
  #post(method: string, parameters: object): unknown {
    let answer: unknown;
    let failure: Error | null = null;
    this.#session.post(method, parameters, (error, result) => {
      failure = error;
      answer = result;
    });
    if (failure !== null) throw failure;
    return answer;
  }
}
