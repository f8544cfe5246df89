import { pause } from '../../base/clock.ts';
import { GatewayError } from '../../base/errors.ts';
import { Backoff } from '../backoff.ts';
import type { ListReason } from '../stream-state.ts';
import { ApiError } from './api-error.ts';
import type { ReflectorLimits } from './limits.ts';
import { ObjectIntake } from './object-intake.ts';
import { ObjectReader } from './object-reader.ts';
import { listAll } from './paged-list.ts';
import type { ReflectorOptions } from './reflector-options.ts';
import { resourcePath, selectorsOf } from './resource.ts';
import type { StoreFeed } from './store-feed.ts';
import { runWatch, type WatchEnd } from './watch-session.ts';

/** What a server answers that knows `sendInitialEvents` but does not allow it, or validates what it does not know. */
const NO_WATCH_LIST = [400, 405, 406, 415, 422, 501];
/** Refusals of a watch that say nothing about our resourceVersion: whoever sends them would refuse a list as well. */
const NOT_OUR_VERSION = [0, 401, 403, 429, 503];

/**
 * The loop behind one reflector: list, watch, and what to do when either ends. Each step returns how long to wait before the next. It keeps
 * the last resourceVersion for as long as a watch can go on from it; undefined means that everything has to be listed.
 */
export class ListWatch<T> {
  readonly #options: ReflectorOptions<T>;
  readonly #limits: ReflectorLimits;
  readonly #feed: StoreFeed<T>;
  readonly #intake: ObjectIntake<T>;
  readonly #backoff: Backoff;
  readonly #absence: Backoff;
  #version: string | undefined;
  #listReason: ListReason = 'start';
  #listedOnce = false;
  #watchList = true;
  /** Watches in a row that ended soon, without a word. */
  #failures = 0;
  /** Watches in a row that fell silent. */
  #silences = 0;

  constructor(options: ReflectorOptions<T>, limits: ReflectorLimits, feed: StoreFeed<T>) {
    const { random } = options;
    const { backoffMinMs, backoffMaxMs, absentMinMs, absentMaxMs } = limits;
    this.#options = options;
    this.#limits = limits;
    this.#feed = feed;
    this.#intake = new ObjectIntake(options);
    this.#backoff = new Backoff({ minMs: backoffMinMs, maxMs: backoffMaxMs, random });
    this.#absence = new Backoff({ minMs: absentMinMs, maxMs: absentMaxMs, random });
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, stream } = this.#options;
    while (!signal.aborted) {
      const delayMs = await this.#step(signal);
      if (delayMs <= 0 || signal.aborted) continue;
      if (stream.phase !== 'absent') stream.phase = 'waiting';
      await pause(clock, delayMs, signal);
    }
  }

  async #step(signal: AbortSignal): Promise<number> {
    try {
      if (this.#version === undefined && !this.#watchList) await this.#list(signal);
      return await this.#watch(signal);
    } catch (thrown) {
      if (signal.aborted) return 0;
      if (!(thrown instanceof GatewayError)) throw thrown;
      return this.#refused(thrown);
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { api, resource, stream, clock } = this.#options;
    if (stream.phase !== 'absent') stream.phase = 'listing';
    const parts = {
      api,
      resource,
      intake: this.#intake,
      feed: this.#feed,
      stream,
      clock,
      limits: this.#limits,
    };
    const { objects, version } = await listAll(parts, signal);
    this.#listed(objects, version);
  }

  #listed(objects: Map<string, T>, version: string): void {
    const { stream } = this.#options;
    stream.lists[this.#listReason]++;
    stream.problem = null;
    this.#listedOnce = true;
    this.#version = version;
    this.#absence.reset();
    this.#feed.replace(objects);
    stream.objects = this.#feed.size;
  }

  /** Watches from the last resourceVersion, or from nothing: then the watch tells first what there is. */
  async #watch(signal: AbortSignal): Promise<number> {
    const { api, resource, clock, random, stream } = this.#options;
    const { watchSecondsMin, watchSecondsMax, lineBytesMax } = this.#limits;
    const initial = this.#version === undefined;
    const seconds = Math.round(watchSecondsMin + random() * (watchSecondsMax - watchSecondsMin));
    const query = {
      ...selectorsOf(resource),
      watch: '1',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(seconds),
      ...(this.#version === undefined
        ? { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' }
        : { resourceVersion: this.#version }),
    };
    const reader = new ObjectReader<T>({
      feed: this.#feed,
      intake: this.#intake,
      stream,
      clock,
      limits: this.#limits,
      watchMs: seconds * 1000,
      initial,
      onVersion: (version) => {
        this.#version = version;
      },
      onListed: (objects, version) => this.#listed(objects, version),
    });
    if (stream.phase !== 'absent') stream.phase = initial ? 'listing' : 'connecting';
    const session = { api, path: resourcePath(resource), query, clock, lineBytesMax };
    const startMs = clock.nowMs();
    const end = await runWatch(session, reader, signal);
    if (signal.aborted) return 0;
    return this.#ended(end, clock.nowMs() - startMs, reader);
  }

  #ended(end: WatchEnd, livedMs: number, reader: ObjectReader<T>): number {
    const lasted = livedMs >= this.#limits.earlyCloseMs;
    // What cannot be read may stand right behind an event that can, and then each relist would be followed by the next.
    if (lasted || (reader.said && end.kind !== 'malformed')) this.#backoff.reset();
    if (reader.listing) return this.#endedEarly(end);
    if (end.kind !== 'closed' && end.kind !== 'expired') this.#note(end.kind, end.detail);
    if (end.kind !== 'silent' || reader.said) this.#silences = 0;
    switch (end.kind) {
      case 'expired':
        return this.#gone(reader.said || lasted);
      case 'malformed':
        return this.#relist('error', this.#backoff.next());
      case 'silent':
        // Whatever was between us and the server may be what died, so the watch is tried again before everything is read again.
        return ++this.#silences < 2 ? 0 : this.#relist('silent', 0);
      case 'closed':
        if (lasted) {
          this.#failures = 0;
          return 0;
        }
        if (!reader.said) this.#note('closed', 'the server closed the watch as soon as it had begun');
        return this.#failed(reader.said, 'closed-early');
      default:
        return this.#failed(reader.said || (lasted && end.kind === 'reset'), 'error');
    }
  }

  /** After too many watches that came to nothing, the view is checked by a list: some servers do not say that a version is too old. */
  #failed(progress: boolean, reason: ListReason): number {
    this.#failures = progress ? 0 : this.#failures + 1;
    const delayMs = this.#backoff.next();
    return this.#failures < this.#limits.failuresMax ? delayMs : this.#relist(reason, delayMs);
  }

  /** A watch-list that did not come to its end. */
  #endedEarly(end: WatchEnd): number {
    if (end.kind === 'silent') {
      this.#watchList = false;
      return 0;
    }
    this.#note(end.kind, 'detail' in end ? end.detail : 'the server ended a watch-list before its end');
    if (++this.#failures >= this.#limits.failuresMax) {
      this.#failures = 0;
      this.#watchList = false;
    }
    return this.#backoff.next();
  }

  #relist(reason: ListReason, delayMs: number): number {
    this.#version = undefined;
    if (this.#listedOnce) this.#listReason = reason;
    this.#failures = 0;
    this.#silences = 0;
    return delayMs;
  }

  /** Keeps what went wrong for status. */
  #note(kind: WatchEnd['kind'], reason: string): void {
    const { stream, logger } = this.#options;
    stream.errors++;
    stream.problem = reason;
    logger.debug({ source: stream.source, resource: stream.resource, reason }, `watch ended: ${kind}`);
  }

  /** What a refused or failed request means. The last view stands in every case. */
  #refused(error: GatewayError): number {
    const { stream } = this.#options;
    const status = error instanceof ApiError ? error.status : 0;
    const initial = this.#version === undefined && this.#watchList;
    if (initial && NO_WATCH_LIST.includes(status)) {
      this.#watchList = false;
      return 0;
    }
    if (status === 410 && (this.#version !== undefined || this.#failures < this.#limits.failuresMax))
      return this.#gone(false);
    stream.problem = error.message;
    if (status === 404) return this.#absent(error);
    stream.errors++;
    if (stream.phase === 'absent') stream.phase = 'waiting';
    this.#feed.say({ kind: 'stale', reason: error.message });
    let delayMs = this.#backoff.next();
    if (
      this.#version !== undefined &&
      !NOT_OUR_VERSION.includes(status) &&
      ++this.#failures >= this.#limits.failuresMax
    )
      this.#relist('error', 0);
    // The watch would begin with the object that did not fit; a list knows what is gone since.
    if (error.code === 'ISTHMUS_ERR_CAPACITY') this.#relist('error', 0);
    const retryAfterMs = error instanceof ApiError ? error.retryAfterMs : undefined;
    // The wish is a minimum; all who got the same number must not come back in the same instant.
    if (retryAfterMs !== undefined)
      delayMs = Math.max(delayMs, retryAfterMs * (1 + 0.2 * this.#options.random()));
    return delayMs;
  }

  /** The version of a watch, or the rest of a list begun, is not to be had any more. The first time that is nothing wrong. */
  #gone(progress: boolean): number {
    const failures = progress ? 0 : this.#failures;
    this.#relist('expired', 0);
    this.#failures = failures + 1;
    return failures === 0 ? 0 : this.#backoff.next();
  }

  /**
   * A CRD that is not installed, or is just being replaced: what was there before is not known to be gone. No error is counted: of two
   * API groups that serve the same thing, one is always absent.
   */
  #absent(error: GatewayError): number {
    this.#options.stream.phase = 'absent';
    this.#feed.say({ kind: 'absent', reason: error.message });
    this.#relist('error', 0);
    return this.#absence.next();
  }
}
