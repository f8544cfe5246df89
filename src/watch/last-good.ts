import type { StoreEvent } from './store-event.ts';

/** In the place of an object that cannot be understood: one sentence with its kind and name, the field, what is there and what was expected. */
export interface Malformed {
  readonly problem: string;
}

export function isMalformed<T extends object>(object: T | Malformed): object is Malformed {
  return 'problem' in object;
}

/** The objects of one stream, each as it was when it last made sense, and what is wrong with those that do not now. */
export class LastGood<T extends object> {
  readonly #good = new Map<string, T>();
  readonly #problems = new Map<string, string>();

  /** Takes in what the stream said. Returns the keys of objects that came, changed or went; a good one that turned bad is not among them. */
  apply(event: StoreEvent<T | Malformed>): readonly string[] {
    if (event.kind === 'change') {
      const changed: string[] = [];
      for (const [key, object] of event.upserts) if (this.#put(key, object)) changed.push(key);
      for (const key of event.removed) if (this.#delete(key)) changed.push(key);
      return changed;
    }
    if (event.kind !== 'replace') return [];
    const changed: string[] = [];
    for (const key of [...this.#good.keys(), ...this.#problems.keys()]) {
      if (!event.objects.has(key) && this.#delete(key)) changed.push(key);
    }
    for (const [key, object] of event.objects) if (this.#put(key, object)) changed.push(key);
    return changed;
  }

  get(key: string): T | undefined {
    return this.#good.get(key);
  }

  keys(): Iterable<string> {
    return this.#good.keys();
  }

  entries(): Iterable<[string, T]> {
    return this.#good.entries();
  }

  problems(): Iterable<string> {
    return this.#problems.values();
  }

  #put(key: string, object: T | Malformed): boolean {
    if (isMalformed(object)) {
      this.#problems.set(key, object.problem);
      return false;
    }
    this.#problems.delete(key);
    this.#good.set(key, object);
    return true;
  }

  #delete(key: string): boolean {
    this.#problems.delete(key);
    return this.#good.delete(key);
  }
}
