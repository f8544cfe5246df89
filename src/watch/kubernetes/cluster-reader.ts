import { isDeepStrictEqual } from 'node:util';
import type { Cidr } from '../../base/address.ts';
import { GatewayError, messageOf } from '../../base/errors.ts';
import { type ClusterNote, ClusterNotes } from '../cluster-notes.ts';
import type { ChildSources, WatchEnvironment } from '../environment.ts';
import type { GatewaySelection } from '../gateway-selection.ts';
import { isMalformed, type Malformed } from '../last-good.ts';
import type { StoreEvent } from '../store-event.ts';
import type { Watcher } from '../watcher.ts';
import { AwayWatcher, amended } from './child-watchers.ts';
import { type ClusterCredentials, credentialsOf } from './cluster-secret.ts';
import type { Connection } from './connection.ts';
import type { ClusterAccess, RemoteCluster } from './remote-cluster.ts';
import { sleep } from './sleep.ts';

/** How one remote cluster is to be read. */
export interface ChildPlan {
  readonly name: string;
  readonly cluster: string;
  /** Of no meaning with credentials for etcd, where only Calico keeps its objects. */
  readonly source: ClusterAccess['source'];
  readonly aggregate: 'pool' | 'block';
  readonly gateways: GatewaySelection;
  readonly serviceCidrs: 'auto' | readonly Cidr[];
  readonly credentials: ClusterCredentials;
  /** Where the credentials are from, for messages: `Secret isthmus-system/west-access`. */
  readonly describe: string;
}

export interface ClusterReaderOptions {
  /** Of the source that it becomes. */
  readonly name: string;
  readonly cluster: string;
  /** To the API server that has the Secret. */
  readonly connection: Connection;
  readonly children: ChildSources;
  readonly environment: WatchEnvironment;
  readonly watcherOf: (plan: ChildPlan, environment: WatchEnvironment) => Watcher;
}

/** A list-watch of a Secret that ends or throws is a fault of ours; it is started again after this. */
const RESTART_AFTER_MS = 1000;

type Accessible = RemoteCluster & { readonly access: ClusterAccess };
type SecretEvent = StoreEvent<ClusterCredentials | Malformed>;

/** Follows the Secret of one RemoteCluster, and keeps a source that reads the cluster with what is in it. */
export class ClusterReader {
  readonly #options: ClusterReaderOptions;
  #cluster: Accessible | undefined;
  #credentials: ClusterCredentials | undefined;
  /** Why the Secret cannot be used as it is now. */
  #broken: string | undefined;
  /** Why it is not known whether the Secret is still the same. */
  #away: string | undefined;
  /** What the object itself has wrong now, since when the last good one is used. */
  #malformed: string | undefined;
  /** What the child says of itself. */
  #childNote: ClusterNote | undefined;
  /** What the child was made from: a plan with its amendments, or why there can be none. */
  #made: unknown;
  #secret: AbortController | undefined;

  constructor(options: ClusterReaderOptions) {
    this.#options = options;
  }

  /** The object as it last made sense, and what is wrong with it now. */
  set(cluster: Accessible, malformed: string | undefined): void {
    const before = this.#cluster;
    this.#malformed = malformed;
    this.#cluster = cluster;
    if (!isDeepStrictEqual(before?.access.secret, cluster.access.secret)) this.#readSecret(cluster.access);
    this.#refresh();
  }

  /** The child stays as it is: it belongs to whoever runs the sources. */
  close(): void {
    this.#secret?.abort();
    // The child takes its own note back when it ends, which is later.
    this.#cluster = undefined;
    this.#options.environment.notes.delete(this.#options.cluster);
  }

  #readSecret({ secret }: ClusterAccess): void {
    this.#secret?.abort();
    this.#secret = new AbortController();
    this.#credentials = undefined;
    this.#broken = undefined;
    this.#away = undefined;
    void this.#follow(secret, this.#secret.signal);
  }

  async #follow(secret: ClusterAccess['secret'], signal: AbortSignal): Promise<void> {
    const { connection, environment } = this.#options;
    const stream = connection.stream(
      { group: '', version: 'v1', plural: 'secrets', ...secret },
      credentialsOf,
    );
    try {
      while (!signal.aborted) {
        try {
          for await (const event of stream.events(signal)) {
            if (signal.aborted) return;
            this.#hear(event, secret);
          }
        } catch (thrown) {
          if (signal.aborted) return;
          environment.logger.error(
            { source: this.#options.name, reason: messageOf(thrown) },
            'the watch of a Secret failed; it is started again',
          );
        }
        await sleep(environment.clock, RESTART_AFTER_MS, signal);
      }
    } finally {
      stream.close();
    }
  }

  #hear(event: SecretEvent, { namespace, name }: ClusterAccess['secret']): void {
    this.#away = event.kind === 'stale' || event.kind === 'absent' ? event.reason : undefined;
    if (
      event.kind === 'replace' ||
      (event.kind === 'change' && event.upserts.size + event.removed.length > 0)
    ) {
      const objects = event.kind === 'replace' ? event.objects : event.upserts;
      const [found] = objects.values();
      const missing = `Secret ${namespace}/${name}: there is none, and RemoteCluster/${this.#options.cluster} names it`;
      if (found === undefined) this.#broken = missing;
      else if (isMalformed(found)) this.#broken = found.problem;
      else {
        this.#broken = undefined;
        this.#credentials = found;
      }
    }
    this.#refresh();
  }

  /** Brings child and note in line with what is known. */
  #refresh(): void {
    const { name, children } = this.#options;
    const cluster = this.#cluster;
    if (cluster === undefined) return;
    // A server that is away says nothing against credentials that were good: only where there are none yet it is the reason.
    const reason = this.#broken ?? (this.#credentials === undefined ? this.#away : undefined);
    if (reason !== undefined) {
      if (this.#made !== reason) {
        this.#childNote = undefined;
        children.set(new AwayWatcher(name, reason));
      }
      this.#made = reason;
    } else if (this.#credentials !== undefined) this.#read(cluster, this.#credentials);
    this.#writeNote(cluster, reason);
  }

  #read(cluster: Accessible, credentials: ClusterCredentials): void {
    const { name, children, environment, watcherOf } = this.#options;
    const plan = this.#plan(cluster, credentials);
    const amendment = { cluster: this.#options.cluster, cidrs: cluster.cidrs, gateways: cluster.gateways };
    const made = { plan, amendment };
    if (isDeepStrictEqual(this.#made, made)) return;
    this.#made = made;
    this.#childNote = undefined;
    const notes = new NotesOfChild((note) => this.#hearChild(made, note));
    try {
      children.set(amended(watcherOf(plan, { ...environment, notes }), amendment));
    } catch (thrown) {
      if (!(thrown instanceof GatewayError)) throw thrown;
      const problem = `RemoteCluster/${this.#options.cluster}: ${thrown.message}`;
      this.#childNote = { origin: name, dns: null, server: null, problems: [problem] };
      children.set(new AwayWatcher(name, problem));
    }
  }

  #plan({ access, selection, serviceCidrs }: Accessible, credentials: ClusterCredentials): ChildPlan {
    return {
      name: this.#options.name,
      cluster: this.#options.cluster,
      source: access.source,
      aggregate: access.aggregate,
      gateways: selection,
      serviceCidrs: serviceCidrs ?? 'auto',
      credentials,
      describe: `Secret ${access.secret.namespace}/${access.secret.name}`,
    };
  }

  /** A child that was replaced may speak once more. */
  #hearChild(made: object, note: ClusterNote | undefined): void {
    if (this.#made !== made || this.#cluster === undefined) return;
    this.#childNote = note;
    this.#writeNote(this.#cluster, undefined);
  }

  #writeNote({ dns }: RemoteCluster, reason: string | undefined): void {
    const { cluster, environment } = this.#options;
    const problems = [this.#malformed, reason ?? this.#away, ...(this.#childNote?.problems ?? [])];
    environment.notes.set(cluster, {
      origin: `RemoteCluster/${cluster}`,
      dns,
      server: this.#childNote?.server ?? null,
      problems: problems.filter((problem) => problem !== undefined),
    });
  }
}

/** What a child notes on its cluster is merged with what its RemoteCluster says. */
class NotesOfChild extends ClusterNotes {
  readonly #onNote: (note: ClusterNote | undefined) => void;

  constructor(onNote: (note: ClusterNote | undefined) => void) {
    super();
    this.#onNote = onNote;
  }

  override set(_cluster: string, note: ClusterNote): void {
    this.#onNote(note);
  }

  override delete(_cluster: string): void {
    this.#onNote(undefined);
  }
}
