import { isDeepStrictEqual } from 'node:util';
import type { StoreEvent } from '../store-event.ts';
import type { EtcdEntry } from './api.ts';
import { EtcdError } from './error.ts';
import type { EtcdEvent } from './watch-messages.ts';

/** The table turns away more claims than this from one source; what holds more keys is no prefix of gateways or blocks. */
export const KEYS_MAX = 1_000_000;

export type Project<T> = (key: string, value: string) => T | undefined;

/** What we know of a prefix: its objects as their reader wants them, up to which revision, and what of it the reader was not told yet. */
export class Mirror<T> {
  readonly #project: Project<T>;
  #objects = new Map<string, T>();
  /** What each key that changed was when the reader was last told of it; undefined: it was not there. */
  readonly #before = new Map<string, T | undefined>();
  #keys = 0;
  #storeId = '';
  #nextRevision = 0;

  constructor(project: Project<T>) {
    this.#project = project;
  }

  /** Keys of the prefix, also those that the reader has no use for. */
  get keys(): number {
    return this.#keys;
  }

  get size(): number {
    return this.#objects.size;
  }

  /** The first revision that we know nothing of. */
  get nextRevision(): number {
    return this.#nextRevision;
  }

  get storeId(): string {
    return this.#storeId;
  }

  /** Takes over a whole reading. */
  replace(revision: number, storeId: string, objects: Map<string, T>, keys: number): void {
    this.#objects = objects;
    this.#before.clear();
    this.#keys = keys;
    this.#storeId = storeId;
    this.#nextRevision = revision + 1;
  }

  /** For a whole reading that begins: takes entries into `objects`. */
  collect(entries: readonly EtcdEntry[], objects: Map<string, T>): void {
    for (const { key, value } of entries) {
      const object = this.#project(key, value);
      if (object !== undefined) objects.set(key, object);
    }
  }

  /** Throws EtcdError beyond KEYS_MAX. */
  apply(events: readonly EtcdEvent[]): void {
    for (const { key, value, modRevision, version } of events) {
      if (modRevision < this.#nextRevision) continue;
      if (value === undefined) this.#keys--;
      else if (version === 1) this.#keys++;
      const object = value === undefined ? undefined : this.#project(key, value);
      if (!this.#before.has(key)) this.#before.set(key, this.#objects.get(key));
      if (object === undefined) this.#objects.delete(key);
      else this.#objects.set(key, object);
    }
    if (this.#keys > KEYS_MAX) throw new EtcdError(`there are more than ${KEYS_MAX} keys`);
    // Only now: several events of one revision belong together.
    const last = events.at(-1);
    if (last !== undefined) this.confirm(last.modRevision);
  }

  /** There is nothing else up to `revision`. */
  confirm(revision: number): void {
    this.#nextRevision = Math.max(this.#nextRevision, revision + 1);
  }

  /** A copy: what the reader does with it does not reach us. */
  objects(): ReadonlyMap<string, T> {
    return new Map(this.#objects);
  }

  /** What changed since the last call, net; undefined: nothing that the reader would notice. */
  takeChange(): StoreEvent<T> | undefined {
    const upserts = new Map<string, T>();
    const removed: string[] = [];
    for (const [key, before] of this.#before) {
      const now = this.#objects.get(key);
      if (now === undefined) {
        if (before !== undefined) removed.push(key);
      } else if (!isDeepStrictEqual(before, now)) {
        upserts.set(key, now);
      }
    }
    this.#before.clear();
    return upserts.size + removed.length === 0 ? undefined : { kind: 'change', upserts, removed };
  }
}
