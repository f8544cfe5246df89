import { isDeepStrictEqual } from 'node:util';
import type { Cidr } from '../../base/address.ts';
import { pause } from '../../base/clock.ts';
import { GatewayError, messageOf } from '../../base/errors.ts';
import { type ClusterNote, ClusterNotes } from '../cluster-notes.ts';
import type { ChildSources, WatchEnvironment } from '../environment.ts';
import type { GatewaySelection } from '../gateway-selection.ts';
import { isMalformed, type Malformed } from '../last-good.ts';
import type { StoreEvent } from '../store-event.ts';
import type { Watcher } from '../watcher.ts';
import { type Amendment, AwayWatcher, amended } from './child-watchers.ts';
import { type ClusterCredentials, credentialsOf } from './cluster-secret.ts';
import type { Connection } from './connection.ts';
import type { ClusterAccess, RemoteCluster } from './remote-cluster.ts';

/** How a source reads one remote cluster. */
export interface ChildPlan {
  /** Of the source. */
  readonly name: string;
  readonly cluster: string;
  /** `services`: the service addresses alone, where the pod addresses come from elsewhere. */
  readonly reads: ClusterAccess['source'] | 'services';
  readonly aggregate: 'pool' | 'block';
  readonly gateways: GatewaySelection;
  readonly serviceCidrs: 'auto' | readonly Cidr[];
  readonly credentials: ClusterCredentials;
  /** Where the credentials are from, for messages: `Secret isthmus-system/west-access`. */
  readonly describe: string;
  readonly amendment: Amendment;
}

export interface ClusterReaderOptions {
  /** Of the source that the cluster becomes; a second one for services has `/services` behind it. */
  readonly name: string;
  readonly cluster: string;
  /** To the API server that has the Secret. */
  readonly connection: Connection;
  readonly children: ChildSources;
  readonly environment: WatchEnvironment;
  readonly watcherOf: (plan: ChildPlan, environment: WatchEnvironment) => Watcher;
  /** `sources` is another list now. Not called from within `set`. */
  readonly onSources: () => void;
}

/** A list-watch of a Secret that ends or throws is a fault of ours; it is started again after this. */
const RESTART_AFTER_MS = 1000;

type Accessible = RemoteCluster & { readonly access: ClusterAccess };
type SecretEvent = StoreEvent<ClusterCredentials | Malformed>;

/** A source as it was last made. */
interface Slot {
  /** What from: a plan, or why there can be none. */
  readonly made: ChildPlan | string;
  /** What it says of itself. */
  note: ClusterNote | undefined;
}

/** Follows the Secret of one RemoteCluster, and keeps the sources that read the cluster with what is in it. */
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
  readonly #slots = new Map<string, Slot>();
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

  /** Names of the sources that it has, or will have when it knows the credentials. */
  get sources(): readonly string[] {
    const { name } = this.#options;
    const { source } = this.#cluster?.access ?? {};
    const isOne = source === 'Kubernetes' || this.#credentials?.kind === 'etcd';
    return isOne ? [name] : [name, servicesOf(name)];
  }

  /** The sources stay as they are: they belong to whoever runs them. */
  close(): void {
    this.#secret?.abort();
    // Sources take their own notes back when they end, which is later.
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
        await pause(environment.clock, RESTART_AFTER_MS, signal);
      }
    } finally {
      stream.close();
    }
  }

  #hear(event: SecretEvent, { namespace, name }: ClusterAccess['secret']): void {
    const before = this.sources;
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
    if (!isDeepStrictEqual(before, this.sources)) this.#options.onSources();
  }

  /** Brings sources and note in line with what is known. */
  #refresh(): void {
    const cluster = this.#cluster;
    if (cluster === undefined) return;
    // A server that is away says nothing against credentials that were good: only where there are none yet it is the reason.
    const reason = this.#broken ?? (this.#credentials === undefined ? this.#away : undefined);
    if (reason !== undefined) for (const name of this.sources) this.#place(name, reason);
    else if (this.#credentials !== undefined) {
      for (const plan of this.#plans(cluster, this.#credentials)) this.#place(plan.name, plan);
    }
    const names = this.sources;
    for (const name of this.#slots.keys()) if (!names.includes(name)) this.#slots.delete(name);
    this.#writeNote(cluster, reason);
  }

  #place(name: string, made: ChildPlan | string): void {
    if (isDeepStrictEqual(this.#slots.get(name)?.made, made)) return;
    const { children, environment, watcherOf } = this.#options;
    const slot: Slot = { made, note: undefined };
    this.#slots.set(name, slot);
    if (typeof made === 'string') {
      children.set(new AwayWatcher(name, made));
      return;
    }
    const notes = new NotesOfChild((note) => {
      // A source that was replaced may speak once more.
      if (this.#slots.get(name) !== slot || this.#cluster === undefined) return;
      slot.note = note;
      this.#writeNote(this.#cluster, undefined);
    });
    try {
      children.set(amended(watcherOf(made, { ...environment, notes }), made.amendment));
    } catch (thrown) {
      if (!(thrown instanceof GatewayError)) throw thrown;
      const problem = `RemoteCluster/${this.#options.cluster}: ${thrown.message}`;
      slot.note = { origin: name, dns: null, server: null, problems: [problem] };
      children.set(new AwayWatcher(name, problem));
    }
  }

  #plans(remote: Accessible, credentials: ClusterCredentials): ChildPlan[] {
    const { name, cluster } = this.#options;
    const { access, cidrs, gateways, selection, serviceCidrs } = remote;
    const plan: ChildPlan = {
      name,
      cluster,
      reads: access.source,
      aggregate: access.aggregate,
      gateways: selection,
      serviceCidrs: serviceCidrs ?? 'auto',
      credentials,
      describe: `Secret ${access.secret.namespace}/${access.secret.name}`,
      amendment: { cluster, cidrs, gateways },
    };
    // Only Calico keeps its objects in an etcd of its own, and there are none of services among them.
    if (credentials.kind === 'etcd') {
      const all = [...cidrs, ...(serviceCidrs ?? [])];
      return [{ ...plan, reads: 'Calico', amendment: { cluster, cidrs: all, gateways } }];
    }
    if (access.source === 'Kubernetes') return [plan];
    // What Calico and Cilium know ends with pods.
    const amendment = { cluster, cidrs: [], gateways };
    return [plan, { ...plan, name: servicesOf(name), reads: 'services', amendment }];
  }

  #writeNote({ dns }: RemoteCluster, reason: string | undefined): void {
    const { cluster, environment } = this.#options;
    const notes = [...this.#slots.values()].map(({ note }) => note);
    const problems = [this.#malformed, reason ?? this.#away, ...notes.flatMap((note) => note?.problems)];
    environment.notes.set(cluster, {
      origin: `RemoteCluster/${cluster}`,
      dns,
      server: notes.find((note) => note !== undefined && note.server !== null)?.server ?? null,
      problems: [...new Set(problems.filter((problem) => problem !== undefined))],
    });
  }
}

/** Name of the source of a cluster's services, where that is not the one of its pods. */
export function servicesOf(name: string): string {
  return `${name}/services`;
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
