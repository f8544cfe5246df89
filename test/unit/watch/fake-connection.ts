import { systemClock } from '../../../src/base/clock.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { ClusterNotes } from '../../../src/watch/cluster-notes.ts';
import type { WatchEnvironment } from '../../../src/watch/environment.ts';
import type {
  Connect,
  Connection,
  OpenStream,
  Projection,
} from '../../../src/watch/kubernetes/connection.ts';
import {
  type KubernetesObject,
  type Resource,
  resourceName,
} from '../../../src/watch/kubernetes-api/resource.ts';
import { OwnGatewayFeed } from '../../../src/watch/own-gateway.ts';
import { StreamRegistry } from '../../../src/watch/stream-state.ts';
import { ScriptedStream } from './scripted-stream.ts';

export function testEnvironment(changes: Partial<WatchEnvironment> = {}): WatchEnvironment {
  return {
    clock: systemClock,
    logger: silentLogger,
    streams: new StreamRegistry(),
    notes: new ClusterNotes(),
    own: new OwnGatewayFeed({ cluster: 'east', name: 'gw-1', address: undefined, cidrs: [] }),
    family: 'ipv4',
    random: () => 0.5,
    ...changes,
  };
}

interface Reader {
  readonly resource: string;
  readonly listed: () => void;
  readonly changed: (name: string, object: KubernetesObject | undefined) => void;
  readonly said: (word: 'fresh' | { stale: string }) => void;
}

/** An API server without a network: collections by the names that kubectl has for them (`ippools.crd.projectcalico.org`). */
export class FakeConnection {
  readonly server = 'https://198.51.100.1:6443';
  readonly #collections = new Map<string, Map<string, KubernetesObject>>();
  readonly #readers = new Set<Reader>();
  /** How often each was opened. */
  readonly opened: string[] = [];
  closed = 0;

  readonly connect: Connect = (source, _access, environment): Connection => ({
    server: this.server,
    stream: (resource, project) => this.#stream(source, resource, project, environment),
    close: () => {
      this.closed++;
    },
  });

  /** Collections that the server knows from now on, as they are. */
  serve(...names: string[]): this {
    for (const name of names) {
      if (this.#collections.has(name)) continue;
      this.#collections.set(name, new Map());
      this.#relist(name);
    }
    return this;
  }

  /** The server does not know the collection any more. */
  withdraw(name: string): void {
    this.#collections.delete(name);
    this.#relist(name);
  }

  put(collection: string, name: string, fields: object): void {
    const metadata = { ...(fields as { metadata?: object }).metadata, name };
    const object = { ...fields, metadata };
    this.#objects(collection).set(name, object);
    for (const reader of this.#readers) if (reader.resource === collection) reader.changed(name, object);
  }

  delete(collection: string, name: string): void {
    this.#objects(collection).delete(name);
    for (const reader of this.#readers) if (reader.resource === collection) reader.changed(name, undefined);
  }

  /** All lists again, as after 410; `silently` changes what is there first. */
  relist(collection: string, silently: (objects: Map<string, KubernetesObject>) => void = () => {}): void {
    silently(this.#objects(collection));
    this.#relist(collection);
  }

  /** Every list-watch of these collections says that the server is away. */
  fail(reason: string, ...collections: string[]): void {
    for (const reader of this.#readers) {
      if (collections.includes(reader.resource)) reader.said({ stale: `${reader.resource}: ${reason}` });
    }
  }

  recover(...collections: string[]): void {
    for (const reader of this.#readers) if (collections.includes(reader.resource)) reader.said('fresh');
  }

  get readers(): string[] {
    return [...this.#readers].map(({ resource }) => resource).sort();
  }

  #objects(collection: string): Map<string, KubernetesObject> {
    const objects = this.#collections.get(collection);
    if (objects === undefined) throw new Error(`${collection} is not served`);
    return objects;
  }

  #relist(collection: string): void {
    for (const reader of this.#readers) if (reader.resource === collection) reader.listed();
  }

  #stream<T>(
    source: string,
    resource: Resource,
    project: Projection<T>,
    environment: WatchEnvironment,
  ): OpenStream<T> {
    const name = resourceName(resource);
    const scripted = new ScriptedStream<T>();
    const reader = this.#reader(name, project, scripted);
    const state = environment.streams.open(source, name);
    this.opened.push(name);
    const begin = () => {
      this.#readers.add(reader);
      reader.listed();
    };
    const end = () => this.#readers.delete(reader);
    return {
      state,
      async *events(signal) {
        begin();
        try {
          yield* scripted.events(signal);
        } finally {
          end();
        }
      },
      close: () => environment.streams.close(state),
    };
  }

  #reader<T>(resource: string, project: Projection<T>, scripted: ScriptedStream<T>): Reader {
    return {
      resource,
      listed: () => {
        const collection = this.#collections.get(resource);
        if (collection === undefined) return scripted.say({ kind: 'absent', reason: `no ${resource} (404)` });
        const objects = new Map<string, T>();
        for (const [name, raw] of collection) {
          const object = project(raw);
          if (object !== undefined) objects.set(name, object);
        }
        scripted.say({ kind: 'replace', objects });
      },
      changed: (name, raw) => {
        const object = raw && project(raw);
        if (object === undefined) scripted.remove(name);
        else scripted.upsert(name, object);
      },
      said: (word) =>
        scripted.say(word === 'fresh' ? { kind: 'fresh' } : { kind: 'stale', reason: word.stale }),
    };
  }
}
