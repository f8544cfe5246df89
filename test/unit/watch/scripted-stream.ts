import type { ObjectStream, StoreEvent } from '../../../src/watch/store-event.ts';
import { Wake } from '../../../src/watch/wake.ts';

/** A stream that says what a test makes it say, and nothing after it was told to stop. */
export class ScriptedStream<T> implements ObjectStream<T> {
  /** How many loops have begun and not ended. */
  open = 0;
  readonly #events: (StoreEvent<T> | Error)[] = [];
  readonly #wake = new Wake();

  say(...events: (StoreEvent<T> | Error)[]): void {
    this.#events.push(...events);
    this.#wake.ring();
  }

  list(objects: Readonly<Record<string, T>>): void {
    this.say({ kind: 'replace', objects: new Map(Object.entries(objects)) });
  }

  upsert(key: string, object: T): void {
    this.say({ kind: 'change', upserts: new Map([[key, object]]), removed: [] });
  }

  remove(key: string): void {
    this.say({ kind: 'change', upserts: new Map(), removed: [key] });
  }

  /** Events that nobody has asked for yet. */
  get left(): number {
    return this.#events.length;
  }

  async *events(signal: AbortSignal): AsyncGenerator<StoreEvent<T>, void, void> {
    const ring = () => this.#wake.ring();
    signal.addEventListener('abort', ring, { once: true });
    this.open++;
    try {
      while (!signal.aborted) {
        const event = this.#events.shift();
        if (event instanceof Error) throw event;
        if (event !== undefined) yield event;
        else await this.#wake.wait();
      }
    } finally {
      this.open--;
      signal.removeEventListener('abort', ring);
    }
  }
}
