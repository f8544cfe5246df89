import { assert } from '../../base/assert.ts';
import type { Clock } from '../../base/clock.ts';
import { pause } from '../../base/clock.ts';
import type { ObjectStream, StoreEvent } from '../store-event.ts';
import type { StreamState } from '../stream-state.ts';
import type { OpenStream } from './connection.ts';

export interface FallbackOptions<T> {
  /** Opened and asked in this order; the first that the server knows is read from then on. Only one is open at a time. */
  readonly streams: readonly (() => OpenStream<T>)[];
  /** What there is where the server knows none of them. */
  readonly objects: ReadonlyMap<string, T>;
  /** The server must not know them twice, this long apart: an API server that starts answers 404 for custom resources until it has loaded them. */
  readonly confirmMs: number;
  /** How often it is asked again. */
  readonly askAgainMs: number;
  /** The server knows none of them, as said in `reason`. Called each time that has been confirmed anew. */
  readonly onAbsent: (reason: string, state: StreamState) => void;
  readonly clock: Clock;
}

/**
 * A resource that a server need not have, in one version or another. Once objects were listed, a server that does not know it any more is an
 * error and no reason to forget them: behind one address there may be servers of two releases.
 */
export class StreamWithFallback<T> implements ObjectStream<T> {
  readonly #options: FallbackOptions<T>;
  #listed = false;
  #fellBack = false;
  /** The last that was told is `stale`. */
  #away = false;
  #open: { readonly index: number; readonly stream: OpenStream<T> } | undefined;

  constructor(options: FallbackOptions<T>) {
    this.#options = options;
  }

  async *events(signal: AbortSignal): AsyncGenerator<StoreEvent<T>, void, void> {
    this.#listed = false;
    this.#fellBack = false;
    this.#away = false;
    try {
      for (let round = 0; !signal.aborted; round++) yield* this.#round(round, signal);
    } finally {
      this.#open?.stream.close();
      this.#open = undefined;
    }
  }

  /** Asks each in turn; returns when the server knows none of them and has been given time, or when it is over. */
  async *#round(round: number, signal: AbortSignal): AsyncGenerator<StoreEvent<T>, void, void> {
    const { streams, objects, confirmMs, askAgainMs, onAbsent, clock } = this.#options;
    let reason = '';
    for (const index of streams.keys()) {
      const absent = yield* this.#ask(index, signal);
      if (absent === undefined) return;
      reason = absent;
    }
    if (round > 0 || confirmMs === 0) {
      if (this.#open !== undefined) onAbsent(reason, this.#open.stream.state);
      if (!this.#fellBack) yield { kind: 'replace', objects };
      else if (this.#away) yield { kind: 'fresh' };
      this.#fellBack = true;
      this.#away = false;
    }
    await pause(clock, this.#fellBack ? askAgainMs : confirmMs, signal);
  }

  /** Reads one for as long as the server knows it. Returns why it does not, or undefined when it is over. */
  async *#ask(index: number, signal: AbortSignal): AsyncGenerator<StoreEvent<T>, string | undefined, void> {
    for await (const event of this.#opened(index).events(signal)) {
      if (event.kind === 'absent' && !this.#listed) return event.reason;
      if (event.kind === 'replace') this.#listed = true;
      this.#away = event.kind === 'stale';
      yield event;
    }
    assert(signal.aborted, 'a stream goes on until it is told to stop');
    return undefined;
  }

  /** What status shows of the one that was asked last stays until another is asked. */
  #opened(index: number): OpenStream<T> {
    if (this.#open?.index === index) return this.#open.stream;
    this.#open?.stream.close();
    const open = this.#options.streams[index];
    assert(open !== undefined, `there is a stream ${index}`);
    const stream = open();
    this.#open = { index, stream };
    return stream;
  }
}
