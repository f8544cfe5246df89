/** An object as a test writes it; the server adds resourceVersion, uid and generation. */
export interface FakeObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

export interface StoredEvent {
  readonly version: number;
  readonly collection: string;
  /** Undefined: removed. */
  readonly object: FakeObject | undefined;
  /** Undefined: created. */
  readonly previous: FakeObject | undefined;
}

/** Where a path points: a collection without its namespace, and what of it. */
export interface FakePlace {
  readonly collection: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

/** What the fake API server keeps: objects by collection, history since the last compaction, pages of lists under way. */
export class FakeStore {
  onEvent: (event: StoredEvent) => void = () => undefined;
  readonly #collections = new Map<string, Map<string, FakeObject>>();
  readonly #pages = new Map<string, { readonly version: string; readonly rest: readonly FakeObject[] }>();
  #history: StoredEvent[] = [];
  #version = 1000;
  #compacted = 0;
  #tokens = 0;

  /** The newest resourceVersion. */
  get version(): string {
    return String(this.#version);
  }

  serve(collection: string): void {
    if (!this.#collections.has(collection)) this.#collections.set(collection, new Map());
  }

  /** The whole resource is unknown from now on. */
  unserve(collection: string): void {
    this.#collections.delete(collection);
  }

  served(collection: string): boolean {
    return this.#collections.has(collection);
  }

  all(collection: string): FakeObject[] {
    return [...(this.#collections.get(collection)?.values() ?? [])];
  }

  get(collection: string, key: string): FakeObject | undefined {
    return this.#collections.get(collection)?.get(key);
  }

  put(collection: string, object: FakeObject): FakeObject {
    this.serve(collection);
    const key = keyOf(object);
    const previous = this.get(collection, key);
    this.#version++;
    const generation = ((previous?.metadata.generation as number | undefined) ?? 0) + 1;
    const metadata = { uid: `uid-${key}`, generation, ...object.metadata, resourceVersion: this.version };
    const stored = { ...object, metadata };
    this.#collections.get(collection)?.set(key, stored);
    this.#note({ version: this.#version, collection, object: stored, previous });
    return stored;
  }

  remove(collection: string, key: string): boolean {
    const previous = this.get(collection, key);
    if (previous === undefined) return false;
    this.#version++;
    this.#collections.get(collection)?.delete(key);
    this.#note({ version: this.#version, collection, object: undefined, previous });
    return true;
  }

  compact(): void {
    this.#history = [];
    this.#compacted = this.#version;
    this.#pages.clear();
  }

  /** Events after a resourceVersion; undefined when that is too old. */
  since(version: string, collection: string): StoredEvent[] | undefined {
    const from = Number(version);
    if (!(from >= this.#compacted)) return undefined;
    return this.#history.filter((event) => event.version > from && event.collection === collection);
  }

  /** One page of a list; undefined when its continue token is too old. */
  list(path: string, query: URLSearchParams): object | undefined {
    const limit = Number(query.get('limit') ?? 0) || Number.POSITIVE_INFINITY;
    const token = query.get('continue');
    const page = token === null ? undefined : this.#pages.get(token);
    if (token !== null && page === undefined) return undefined;
    const { collection } = this.locate(path);
    const { version, rest } = page ?? {
      version: this.version,
      rest: this.all(collection).filter(this.selector(path, query)),
    };
    const items = rest.slice(0, limit);
    const metadata: Record<string, unknown> = { resourceVersion: version };
    if (rest.length > limit) {
      const next = `page-${++this.#tokens}`;
      this.#pages.set(next, { version, rest: rest.slice(limit) });
      metadata.continue = next;
      metadata.remainingItemCount = rest.length - limit;
    }
    return { kind: 'List', apiVersion: 'v1', metadata, items };
  }

  /** Namespace, field selector on the name, and label selector (`k=v`, `k`) of a list or watch. */
  selector(path: string, query: URLSearchParams): (object: FakeObject) => boolean {
    const { namespace } = this.locate(path);
    const name = /^metadata\.name=(.*)$/.exec(query.get('fieldSelector') ?? '')?.[1];
    const labels = (query.get('labelSelector') ?? '').split(',').filter((term) => term !== '');
    return ({ metadata }) =>
      (namespace === undefined || metadata.namespace === namespace) &&
      (name === undefined || metadata.name === name) &&
      labels.every((term) => {
        const [key = '', value] = term.split(/==?/);
        const has = metadata.labels?.[key];
        return value === undefined ? has !== undefined : has === value;
      });
  }

  locate(path: string): FakePlace {
    const parts = path.split('/');
    const root = parts[1] === 'apis' ? 4 : 3;
    const namespaced = parts[root] === 'namespaces' && parts.length > root + 2;
    const at = namespaced ? root + 2 : root;
    return {
      collection: [...parts.slice(0, root), parts[at]].join('/'),
      namespace: namespaced ? parts[root + 1] : undefined,
      name: parts[at + 1],
      subresource: parts[at + 2],
    };
  }

  /** A request on one object: get, create, update, patch (merge) or delete; of a subresource, only that part is taken. */
  single(verb: string, place: FakePlace, body: unknown): { status: number; object?: unknown } {
    const { collection, namespace, name = '', subresource } = place;
    const given = (body ?? {}) as FakeObject;
    if (verb === 'create') {
      const metadata = { ...given.metadata, ...(namespace === undefined ? {} : { namespace }) };
      if (this.get(collection, keyOf({ metadata })) !== undefined) return { status: 409 };
      return { status: 201, object: this.put(collection, { ...given, metadata }) };
    }
    const key = namespace === undefined ? name : `${namespace}/${name}`;
    const found = this.get(collection, key);
    if (found === undefined) return { status: 404 };
    if (verb === 'delete') this.remove(collection, key);
    if (verb !== 'update' && verb !== 'patch') return { status: 200, object: found };
    const part = subresource === undefined ? given : { [subresource]: given[subresource] };
    const changed = (verb === 'patch' ? merge(found, part) : { ...found, ...part }) as FakeObject;
    return {
      status: 200,
      object: this.put(collection, { ...changed, metadata: { ...found.metadata, ...changed.metadata } }),
    };
  }

  #note(event: StoredEvent): void {
    this.#history.push(event);
    this.onEvent(event);
  }
}

function keyOf({ metadata }: Pick<FakeObject, 'metadata'>): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}

/** RFC 7396. */
function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const result = { ...(isMapping(target) ? target : {}) };
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = merge(result[name], value);
  }
  return result;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
