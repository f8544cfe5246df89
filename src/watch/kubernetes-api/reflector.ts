import { isDeepStrictEqual } from 'node:util';
import { pause } from '../../base/clock.ts';
import type { ObjectStream, StoreEvent } from '../store-event.ts';
import { REFLECTOR_LIMITS, type ReflectorLimits } from './limits.ts';
import { ListWatch } from './list-watch.ts';
import type { ReflectorOptions } from './reflector-options.ts';
import { StoreFeed } from './store-feed.ts';

/**
 * Lists one resource of one API server, then watches it, for as long as the loop over `events` runs. A reader that is slow is told less
 * often, never later than it takes the word before; nothing queues up. Each loop over `events` begins with a list of its own.
 */
export class Reflector<T> implements ObjectStream<T> {
  readonly #options: ReflectorOptions<T>;
  readonly #limits: ReflectorLimits;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#limits = { ...REFLECTOR_LIMITS, ...options.limits };
  }

  async *events(signal: AbortSignal): AsyncIterable<StoreEvent<T>> {
    const { clock, equals = isDeepStrictEqual } = this.#options;
    const feed = new StoreFeed<T>(equals);
    const ended = new AbortController();
    const end = () => {
      ended.abort();
      feed.wake.ring();
    };
    if (signal.aborted) return;
    signal.addEventListener('abort', end, { once: true });
    let fault: { readonly thrown: unknown } | undefined;
    const running = new ListWatch(this.#options, this.#limits, feed).run(ended.signal).catch((thrown) => {
      fault = { thrown };
      feed.wake.ring();
    });
    try {
      while (!signal.aborted && fault === undefined) {
        const word = feed.take();
        if (word === undefined) {
          await feed.wake.wait();
          continue;
        }
        yield word;
        if (word.kind === 'change') await pause(clock, this.#limits.coalesceMs, ended.signal);
      }
      if (fault !== undefined) throw fault.thrown;
    } finally {
      signal.removeEventListener('abort', end);
      end();
      await running;
    }
  }
}
