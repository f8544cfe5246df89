import type { StoreEvent } from '../store-event.ts';
import { Wake } from '../wake.ts';

/** What the server's state makes of ours. */
type Health =
  | { readonly kind: 'fresh' }
  | { readonly kind: 'stale'; readonly reason: string }
  | { readonly kind: 'absent'; readonly reason: string };

/**
 * All objects of one resource, and what the reader has not been told of them yet. What is not yet told is at most one entry an object,
 * however long the reader takes and however often the object changes meanwhile.
 */
export class StoreFeed<T> {
  /** Rings when there may be something to take. */
  readonly wake = new Wake();
  readonly #equals: (one: T, other: T) => boolean;
  #objects = new Map<string, T>();
  /** What the reader knows of objects that have changed since; undefined: that there is none. */
  readonly #before = new Map<string, T | undefined>();
  #replaced = false;
  #health: Health | undefined;
  #told: Health | undefined;

  constructor(equals: (one: T, other: T) => boolean) {
    this.#equals = equals;
  }

  get size(): number {
    return this.#objects.size;
  }

  has(key: string): boolean {
    return this.#objects.has(key);
  }

  /** What to keep for `value`: the equal one that is there already, so that a relist makes no second copy of everything. */
  settle(key: string, value: T): T {
    const known = this.#objects.get(key);
    return known !== undefined && this.#equals(known, value) ? known : value;
  }

  /** The object as last seen. */
  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  /** Sets or, with undefined, removes one object. */
  set(key: string, value: T | undefined): void {
    const known = this.#objects.get(key);
    const next = value === undefined ? undefined : this.settle(key, value);
    if (next === known) return;
    if (!this.#before.has(key)) this.#before.set(key, known);
    if (next === undefined) this.#objects.delete(key);
    else this.#objects.set(key, next);
    this.wake.ring();
  }

  /** Puts what a complete list had in the place of everything. Takes the map over. */
  replace(objects: Map<string, T>): void {
    this.#objects = objects;
    this.#before.clear();
    this.#replaced = true;
    this.#health = { kind: 'fresh' };
    this.wake.ring();
  }

  say(health: Health): void {
    this.#health = health;
    this.wake.ring();
  }

  /** The next word for the reader; undefined when everything is told. */
  take(): StoreEvent<T> | undefined {
    if (this.#replaced) {
      this.#replaced = false;
      this.#told = { kind: 'fresh' };
      return { kind: 'replace', objects: new Map(this.#objects) };
    }
    // Changes were seen while all was well, so they are told as such even when it is not any more.
    if (this.#health?.kind === 'fresh' && this.#told?.kind !== 'fresh') return this.#tell(this.#health);
    const change = this.#takeChange();
    if (change !== undefined) {
      this.#told = { kind: 'fresh' };
      return change;
    }
    const health = this.#health;
    if (health === undefined || sameHealth(health, this.#told)) return undefined;
    return this.#tell(health);
  }

  #tell(health: Health): Health {
    this.#told = health;
    return health;
  }

  #takeChange(): StoreEvent<T> | undefined {
    if (this.#before.size === 0) return undefined;
    const upserts = new Map<string, T>();
    const removed: string[] = [];
    for (const [key, before] of this.#before) {
      const now = this.#objects.get(key);
      if (now === undefined) {
        if (before !== undefined) removed.push(key);
      } else if (before === undefined || !this.#equals(before, now)) upserts.set(key, now);
    }
    this.#before.clear();
    return upserts.size + removed.length === 0 ? undefined : { kind: 'change', upserts, removed };
  }
}

function sameHealth(one: Health, other: Health | undefined): boolean {
  if (one.kind === 'fresh' || other === undefined || other.kind === 'fresh') return one.kind === other?.kind;
  return one.kind === other.kind && one.reason === other.reason;
}
