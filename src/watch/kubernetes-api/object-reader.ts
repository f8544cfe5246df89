import type { Clock } from '../../base/clock.ts';
import type { StreamState } from '../stream-state.ts';
import type { ReflectorLimits } from './limits.ts';
import { assertRoom, type ObjectIntake } from './object-intake.ts';
import { fieldOf } from './resource.ts';
import type { StoreFeed } from './store-feed.ts';
import type { WatchReader } from './watch-session.ts';

export interface ObjectReaderOptions<T> {
  readonly feed: StoreFeed<T>;
  readonly intake: ObjectIntake<T>;
  readonly stream: StreamState;
  readonly clock: Clock;
  readonly limits: ReflectorLimits;
  /** After this the server ends the watch. */
  readonly watchMs: number;
  /** The watch tells first what there is, up to a bookmark that says so. */
  readonly initial: boolean;
  /** With each word from which a later watch can go on. */
  readonly onVersion: (version: string) => void;
  /** All that a watch-list told first; ours from now on. */
  readonly onListed: (objects: Map<string, T>, version: string) => void;
}

/** Makes a watch's words into changes of the feed. */
export class ObjectReader<T> implements WatchReader {
  readonly #options: ObjectReaderOptions<T>;
  readonly #openedMs: number;
  #initial: Map<string, T> | undefined;
  #bookmarks = false;
  #said = false;

  constructor(options: ObjectReaderOptions<T>) {
    this.#options = options;
    this.#openedMs = options.clock.nowMs();
    this.#initial = options.initial ? new Map() : undefined;
  }

  /** An event came, or the end of the initial ones: the server serves what we asked for. Bookmarks alone may come from a cache that is stuck. */
  get said(): boolean {
    return this.#said;
  }

  /** The end of the initial events has not come. */
  get listing(): boolean {
    return this.#initial !== undefined;
  }

  opened(): void {
    const { stream, feed, clock } = this.#options;
    stream.lastEventMs = clock.wallMs();
    if (this.#initial !== undefined) return;
    stream.phase = 'watching';
    stream.problem = null;
    feed.say({ kind: 'fresh' });
  }

  changed(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: unknown): void {
    const { feed, intake, stream, clock, limits } = this.#options;
    stream.events++;
    stream.lastEventMs = clock.wallMs();
    const initial = this.#initial;
    const taken = intake.take(object, (key) => (initial ?? feed).get(key));
    if (taken === undefined) return;
    const value = type === 'DELETED' ? undefined : taken.value;
    const store = initial ?? feed;
    if (value !== undefined && !store.has(taken.key)) assertRoom(store.size + 1, limits.objectsMax, stream);
    if (initial === undefined) {
      feed.set(taken.key, value);
      stream.objects = feed.size;
    } else if (value === undefined) initial.delete(taken.key);
    else initial.set(taken.key, feed.settle(taken.key, value));
    if (initial !== undefined) return;
    this.#said = true;
    const version = fieldOf(fieldOf(object, 'metadata'), 'resourceVersion');
    if (typeof version === 'string' && version !== '') this.#options.onVersion(version);
  }

  bookmark(version: string | undefined, initialEnd: boolean): void {
    const { stream, clock, onVersion, onListed } = this.#options;
    stream.lastEventMs = clock.wallMs();
    this.#bookmarks = true;
    if (version === undefined) return;
    if (this.#initial === undefined) {
      onVersion(version);
      return;
    }
    if (!initialEnd) return;
    const objects = this.#initial;
    this.#initial = undefined;
    this.#said = true;
    onListed(objects, version);
    stream.phase = 'watching';
  }

  odd(reason: string): void {
    this.#options.intake.odd(reason);
  }

  silenceMaxMs(): number {
    const { limits, watchMs, clock } = this.#options;
    if (this.#initial !== undefined) {
      const leftMs = this.#openedMs + limits.initialEventsMs - clock.nowMs();
      return Math.min(limits.initialEventsSilenceMs, leftMs);
    }
    return Math.min(
      watchMs + limits.watchMarginMs,
      this.#bookmarks ? limits.bookmarkSilenceMs : Number.POSITIVE_INFINITY,
    );
  }
}
