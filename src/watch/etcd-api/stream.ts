import type { Clock } from '../../base/clock.ts';
import { pause } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { Backoff } from '../backoff.ts';
import type { ObjectStream, StoreEvent } from '../store-event.ts';
import type { ListReason, StreamState } from '../stream-state.ts';
import type { EtcdApi } from './api.ts';
import { EtcdError } from './error.ts';
import { KEYS_MAX, Mirror, type Project } from './mirror.ts';
import { DEFAULT_LIMITS, type EtcdStreamLimits, WatchSession } from './watch-session.ts';

/** A watch that ends after less is followed by a pause, so that a server which takes and drops watches is not asked without end. */
export const STEADY_MS = 5_000;

/** How long an etcd that came back may wait for us; a thousand gateways that each ask once in this time are nothing to it. */
const RETRY_MS_MAX = 10_000;

export interface EtcdStreamOptions<T> {
  readonly api: EtcdApi;
  /** All keys that begin with it are objects. */
  readonly prefix: string;
  /** What the reader needs of an object; undefined: nothing. Does not throw: what cannot be understood is an object of the reader's making. */
  readonly project: Project<T>;
  readonly stream: StreamState;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A number from 0 up to 1. */
  readonly random: () => number;
  readonly limits?: Partial<EtcdStreamLimits>;
}

/**
 * The keys of a prefix, read once and watched from the next revision on. What etcd forgot (compaction), lost (another store behind the same
 * address, a backup) or did not tell (a connection that only looks alive) leads to another complete reading and never to a guess.
 */
export class EtcdStream<T> implements ObjectStream<T> {
  readonly #options: EtcdStreamOptions<T>;
  readonly #limits: EtcdStreamLimits;

  constructor(options: EtcdStreamOptions<T>) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
  }

  async *events(signal: AbortSignal): AsyncGenerator<StoreEvent<T>, void, void> {
    const { api, clock, prefix, project, random, stream } = this.#options;
    const mirror = new Mirror<T>(project);
    const backoff = new Backoff({ random, maxMs: RETRY_MS_MAX });
    let list: ListReason | undefined = 'start';
    let isStale = false;
    while (!signal.aborted) {
      let problem: string | undefined;
      if (list !== undefined) {
        problem = await this.#list(mirror, list, signal);
        if (signal.aborted) return;
      }
      if (problem === undefined) {
        if (list !== undefined) {
          list = undefined;
          isStale = false;
          yield { kind: 'replace', objects: mirror.objects() };
        }
        const session = new WatchSession({ api, prefix, mirror, stream, clock, limits: this.#limits });
        for await (const word of session.words(signal)) {
          if (word !== 'watching') yield word;
          else if (isStale) yield { kind: 'fresh' };
          isStale = false;
        }
        if (signal.aborted) return;
        list = session.outcome.list;
        problem = session.outcome.message;
        if (session.watchedMs >= STEADY_MS) {
          // Proxies and etcd itself end connections now and then: worth a word only when the next one fails.
          this.#note(problem, 'debug');
          backoff.reset();
          continue;
        }
      }
      this.#note(problem, isStale ? 'debug' : 'warn');
      isStale = true;
      yield { kind: 'stale', reason: problem };
      stream.phase = 'waiting';
      await pause(clock, backoff.next(), signal);
    }
  }

  /** Reads everything; the problem when that failed, and then nothing has changed. */
  async #list(mirror: Mirror<T>, reason: ListReason, signal: AbortSignal): Promise<string | undefined> {
    const { api, prefix, stream, clock } = this.#options;
    stream.phase = 'listing';
    const objects = new Map<string, T>();
    let keys = 0;
    try {
      for await (const { revision, storeId, entries, isLast } of api.pages(prefix, signal)) {
        stream.lastEventMs = clock.wallMs();
        mirror.collect(entries, objects);
        keys += entries.length;
        if (keys > KEYS_MAX) throw new EtcdError(`${prefix} has more than ${KEYS_MAX} keys`);
        if (isLast) mirror.replace(revision, storeId, objects, keys);
      }
    } catch (thrown) {
      return messageOf(thrown);
    }
    stream.lists[reason]++;
    stream.objects = mirror.size;
    return undefined;
  }

  #note(problem: string, level: 'debug' | 'warn'): void {
    const { logger, prefix, stream } = this.#options;
    stream.errors++;
    stream.problem = problem;
    logger[level](
      { source: stream.source, prefix, problem },
      'etcd is not followed for now; what it told last stays',
    );
  }
}
