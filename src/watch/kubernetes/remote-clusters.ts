import type { ChildSources } from '../environment.ts';
import { isMalformed, type LastGood, type Malformed } from '../last-good.ts';
import type { StoreEvent } from '../store-event.ts';
import { ClusterReader, type ClusterReaderOptions, servicesOf } from './cluster-reader.ts';
import type { RemoteCluster } from './remote-cluster.ts';

export interface RemoteClustersOptions
  extends Pick<ClusterReaderOptions, 'connection' | 'children' | 'environment' | 'watcherOf'> {
  /** Name of the source that reads the RemoteClusters. */
  readonly parent: string;
  readonly children: ChildSources;
}

/** The RemoteClusters of our own API server: a source or two for each that has an access, and a note on every one. */
export class RemoteClusters {
  readonly #options: RemoteClustersOptions;
  readonly #readers = new Map<string, ClusterReader>();
  /** What is wrong with an object now, by name. */
  readonly #malformed = new Map<string, string>();
  /** Such as never made sense to us. They did to whoever wrote the snapshot, so that what was known of them stays. */
  #unread: readonly string[] = [];
  /** Those without a reader that have a note. */
  readonly #noted = new Set<string>();

  constructor(options: RemoteClustersOptions) {
    this.#options = options;
  }

  /** After each `replace` and `change`, which `clusters` has taken in. */
  update(event: StoreEvent<RemoteCluster | Malformed>, clusters: LastGood<RemoteCluster>): void {
    this.#noteMalformed(event);
    for (const [name, reader] of this.#readers) {
      if (clusters.get(name)?.access !== undefined) continue;
      reader.close();
      this.#readers.delete(name);
    }
    this.#unread = [...this.#malformed.keys()].filter((name) => clusters.get(name) === undefined);
    for (const [name, cluster] of clusters.entries()) this.#setReader(name, cluster);
    this.#retain();
    this.#writeNotes(clusters);
  }

  close(): void {
    for (const reader of this.#readers.values()) reader.close();
    this.#readers.clear();
    for (const name of this.#noted) this.#options.environment.notes.delete(name);
    this.#noted.clear();
  }

  #retain(): void {
    const { parent, children } = this.#options;
    const names = new Set<string>();
    for (const reader of this.#readers.values()) for (const name of reader.sources) names.add(name);
    for (const unread of this.#unread) {
      const name = `${parent}/${unread}`;
      names.add(name).add(servicesOf(name));
    }
    children.retain(names);
  }

  #noteMalformed(event: StoreEvent<RemoteCluster | Malformed>): void {
    if (event.kind !== 'replace' && event.kind !== 'change') return;
    if (event.kind === 'replace') this.#malformed.clear();
    else for (const name of event.removed) this.#malformed.delete(name);
    for (const [name, object] of event.kind === 'replace' ? event.objects : event.upserts) {
      if (isMalformed(object)) this.#malformed.set(name, object.problem);
      else this.#malformed.delete(name);
    }
  }

  #setReader(name: string, cluster: RemoteCluster): void {
    const { access } = cluster;
    if (access === undefined) return;
    const { parent, ...options } = this.#options;
    let reader = this.#readers.get(name);
    if (reader === undefined) {
      reader = new ClusterReader({
        ...options,
        name: `${parent}/${name}`,
        cluster: name,
        onSources: () => this.#retain(),
      });
      this.#readers.set(name, reader);
      this.#noted.delete(name);
    }
    reader.set({ ...cluster, access }, this.#malformed.get(name));
  }

  /** Of those that have no reader to do it: static ones, and such as were never understood. */
  #writeNotes(clusters: LastGood<RemoteCluster>): void {
    const { notes } = this.#options.environment;
    const names = new Set([...clusters.keys(), ...this.#malformed.keys()]);
    for (const name of this.#noted) {
      if (names.has(name)) continue;
      notes.delete(name);
      this.#noted.delete(name);
    }
    for (const name of names) {
      if (this.#readers.has(name)) continue;
      const problem = this.#malformed.get(name);
      this.#noted.add(name);
      notes.set(name, {
        origin: `RemoteCluster/${name}`,
        dns: clusters.get(name)?.dns ?? null,
        server: null,
        problems: problem === undefined ? [] : [problem],
      });
    }
  }
}
