/** What is known of a remote cluster besides its routes. */
export interface ClusterNote {
  /** Where we learned of it: `RemoteCluster/west`, `etcd`. */
  readonly origin: string;
  /** The cluster's own resolver, an address of a service there, and the domain that it answers for. */
  readonly dns: { readonly address: string; readonly domain: string } | null;
  /** The API server or etcd that it is read from; null where its CIDRs are static. */
  readonly server: string | null;
  /** What keeps it from being read or used, in sentences. */
  readonly problems: readonly string[];
}

/** Notes on remote clusters by name, written by sources, read by status and commands. */
export class ClusterNotes {
  readonly #notes = new Map<string, ClusterNote>();

  set(cluster: string, note: ClusterNote): void {
    this.#notes.set(cluster, note);
  }

  delete(cluster: string): void {
    this.#notes.delete(cluster);
  }

  get(cluster: string): ClusterNote | undefined {
    return this.#notes.get(cluster);
  }

  entries(): Iterable<[string, ClusterNote]> {
    return this.#notes.entries();
  }
}
