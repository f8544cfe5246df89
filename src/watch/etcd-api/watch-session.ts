import type { Clock, Timer } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { StoreEvent } from '../store-event.ts';
import type { ListReason, StreamState } from '../stream-state.ts';
import { Wake } from '../wake.ts';
import type { EtcdApi, EtcdExtent } from './api.ts';
import { EtcdError } from './error.ts';
import type { Mirror } from './mirror.ts';
import type { WatchMessage } from './watch-messages.ts';

export interface EtcdStreamLimits {
  /** So long after the last word of the watch the store is asked whether something was missed. */
  readonly probeAfterMs: number;
  /** So long a watch may be behind the store before it is given up. */
  readonly lagMs: number;
}

/**
 * etcd's own progress notes come every ten minutes, and its gateway cannot ask for one in between: it reads a request to its end before it
 * answers. A count that etcd takes from its index is as good, and nobody notices one every ten seconds of silence.
 */
export const DEFAULT_LIMITS: EtcdStreamLimits = { probeAfterMs: 10_000, lagMs: 5_000 };

/** Why a watch ended. */
export interface Outcome {
  /** Undefined: the next watch can go on from where this one was. */
  readonly list: ListReason | undefined;
  readonly message: string;
}

export interface SessionParts<T> {
  readonly api: EtcdApi;
  readonly prefix: string;
  readonly mirror: Mirror<T>;
  readonly stream: StreamState;
  readonly clock: Clock;
  readonly limits: EtcdStreamLimits;
}

/** One watch, from its request to its end, and the doubt whether it still tells everything. */
export class WatchSession<T> {
  readonly #parts: SessionParts<T>;
  readonly #abort = new AbortController();
  readonly #wake = new Wake();
  #outcome: Outcome | undefined;
  #watchingSinceMs: number | undefined;
  #heardMs: number;
  #doubt: Timer | undefined;

  constructor(parts: SessionParts<T>) {
    this.#parts = parts;
    this.#heardMs = parts.clock.nowMs();
  }

  /** Known once `words` has ended without its signal. */
  get outcome(): Outcome {
    return this.#outcome ?? { list: undefined, message: 'the watch was stopped' };
  }

  /** How long it has watched; 0 when it never came to that. */
  get watchedMs(): number {
    return this.#watchingSinceMs === undefined ? 0 : this.#parts.clock.nowMs() - this.#watchingSinceMs;
  }

  /** `watching` once etcd has agreed, then changes; those that come while the reader is busy are told together. Ends with the watch. */
  async *words(signal: AbortSignal): AsyncGenerator<StoreEvent<T> | 'watching', void, void> {
    const stop = (): void => this.#end({ list: undefined, message: 'the watch was stopped' });
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    const reading = this.#read();
    let isAgreed = false;
    try {
      while (this.#outcome === undefined) {
        await this.#wake.wait();
        if (!isAgreed && this.#watchingSinceMs !== undefined) {
          isAgreed = true;
          yield 'watching';
        }
        const change = this.#parts.mirror.takeChange();
        if (change !== undefined) yield change;
      }
    } finally {
      signal.removeEventListener('abort', stop);
      stop();
      await reading;
    }
  }

  async #read(): Promise<void> {
    const { api, prefix, mirror } = this.#parts;
    try {
      for await (const message of api.watch(prefix, mirror.nextRevision, this.#abort.signal)) {
        this.#hear();
        const outcome = this.#take(message);
        if (outcome !== undefined) return this.#end(outcome);
        this.#wake.ring();
      }
    } catch (thrown) {
      // What cannot be understood would be sent again if the watch went on from here.
      const isUnderstood = thrown instanceof EtcdError && (thrown.passing || thrown.status !== 0);
      this.#end({ list: isUnderstood ? undefined : 'error', message: messageOf(thrown) });
    }
  }

  #take(message: WatchMessage): Outcome | undefined {
    const { mirror, stream, clock, prefix } = this.#parts;
    switch (message.kind) {
      case 'created': {
        // etcd would wait in silence for a revision that it may reach in a year.
        if (message.storeId !== mirror.storeId || message.revision < mirror.nextRevision - 1) {
          return {
            list: 'expired',
            message: `watching ${prefix}: the store is another one, or an older copy of it: it is at revision ${message.revision}, we know ${mirror.nextRevision - 1}`,
          };
        }
        this.#watchingSinceMs = clock.nowMs();
        stream.phase = 'watching';
        stream.problem = null;
        this.#doubtIn(this.#parts.limits.probeAfterMs);
        return undefined;
      }
      case 'events':
        stream.events += message.events.length;
        mirror.apply(message.events);
        stream.objects = mirror.size;
        return undefined;
      case 'progress':
        mirror.confirm(message.revision);
        return undefined;
      case 'canceled': {
        const list = message.compacted === undefined ? undefined : 'expired';
        return { list, message: `watching ${prefix}: ${message.reason}` };
      }
    }
  }

  #hear(): void {
    const { clock, stream } = this.#parts;
    this.#heardMs = clock.nowMs();
    stream.lastEventMs = clock.wallMs();
  }

  #end(outcome: Outcome): void {
    this.#outcome ??= outcome;
    this.#doubt?.cancel();
    this.#abort.abort();
    this.#wake.ring();
  }

  #doubtIn(delayMs: number): void {
    this.#doubt?.cancel();
    if (this.#outcome !== undefined) return;
    this.#doubt = this.#parts.clock.after(delayMs, () => {
      const { clock, limits } = this.#parts;
      const restMs = this.#heardMs + limits.probeAfterMs - clock.nowMs();
      if (restMs > 0) this.#doubtIn(restMs);
      else void this.#probe();
    });
  }

  /** Whether the store has something that the watch did not tell. Never rejects. */
  async #probe(): Promise<void> {
    const { api, prefix, mirror, limits, clock } = this.#parts;
    const heardMs = this.#heardMs;
    let extent: EtcdExtent;
    try {
      extent = await api.extent(prefix, mirror.nextRevision - 1, this.#abort.signal);
    } catch (thrown) {
      return this.#end({ list: undefined, message: messageOf(thrown) });
    }
    // It spoke meanwhile, so it lives, and the comparison would be with what it has changed.
    if (this.#heardMs !== heardMs) return this.#doubtIn(limits.probeAfterMs);
    // The same number of keys and none written since: none can have come, so none can have gone.
    if (extent.count === mirror.keys && extent.newest < mirror.nextRevision) {
      mirror.confirm(extent.revision);
      this.#hear();
      return this.#doubtIn(limits.probeAfterMs);
    }
    this.#doubt = clock.after(limits.lagMs, () => {
      if (this.#heardMs !== heardMs) return this.#doubtIn(limits.probeAfterMs);
      const message = `watching ${prefix}: the store is at revision ${extent.revision} with ${extent.count} keys, the watch told of ${mirror.keys} up to ${mirror.nextRevision - 1}`;
      this.#end({ list: 'silent', message });
    });
  }
}
