import { assert } from '../base/assert.ts';
import type { ObjectStream, StoreEvent } from './store-event.ts';
import { Wake } from './wake.ts';

/** Streams by name; S maps each name to what its objects are. */
export type StreamsOf<S> = { readonly [K in keyof S & string]: ObjectStream<S[K]> };

/** What one of several streams said. */
export type Told<S> = {
  [K in keyof S & string]: { readonly stream: K; readonly event: StoreEvent<S[K]> };
}[keyof S & string];

/**
 * Several streams as one: each batch is what they said since the batch before, in the order in which they said it. A stream whose event was
 * not taken yet is not asked for another, so no more than one event of each is held, however slow the reader is. Ends with `signal`, or with
 * the loop that reads it; throws what a stream throws.
 */
export async function* combineStreams<S>(
  streams: StreamsOf<S>,
  signal: AbortSignal,
): AsyncGenerator<readonly Told<S>[], void, void> {
  const inner = new AbortController();
  const wake = new Wake();
  const stop = (): void => {
    inner.abort();
    wake.ring();
  };
  let told: Told<S>[] = [];
  /** Streams whose events are in `told`, and those whose events are in the batch that is being read. */
  let waiting: (() => void)[] = [];
  let beingRead: (() => void)[] = [];
  let failure: { readonly thrown: unknown } | undefined;

  const pump = async (name: keyof S & string): Promise<void> => {
    try {
      for await (const event of streams[name].events(inner.signal)) {
        if (inner.signal.aborted) return;
        told.push({ stream: name, event } as Told<S>);
        wake.ring();
        await new Promise<void>((taken) => waiting.push(taken));
      }
      assert(inner.signal.aborted, `the stream of ${name} goes on until it is told to stop`);
    } catch (thrown) {
      failure ??= { thrown };
      wake.ring();
    }
  };

  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  const names = Object.keys(streams) as (keyof S & string)[];
  const pumps = names.map((name) => pump(name));
  try {
    while (!inner.signal.aborted) {
      await wake.wait();
      if (inner.signal.aborted) return;
      if (failure !== undefined) throw failure.thrown;
      const batch = told;
      beingRead = waiting;
      told = [];
      waiting = [];
      if (batch.length > 0) yield batch;
      for (const resume of beingRead) resume();
    }
  } finally {
    signal.removeEventListener('abort', stop);
    inner.abort();
    for (const resume of [...waiting, ...beingRead]) resume();
    await Promise.all(pumps);
  }
}
