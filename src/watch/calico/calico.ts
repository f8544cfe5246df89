import { GatewayError } from '../../base/errors.ts';
import type { ClaimUpdate } from '../../table/claim.ts';
import { noted } from '../cluster-note.ts';
import type { StreamsOf } from '../combine-streams.ts';
import type { WatchEnvironment } from '../environment.ts';
import type { GatewaySelection, LabelMatcher } from '../gateway-selection.ts';
import type { Connect } from '../kubernetes/connection.ts';
import { matcherOf, whyNoGateways } from '../node-gateways.ts';
import type { ObjectStream } from '../store-event.ts';
import { streamClaims } from '../stream-claims.ts';
import type { Watcher } from '../watcher.ts';
import { CalicoClaims, type CalicoObjects } from './calico-claims.ts';
import { type CalicoDatastore, type CalicoSource, openEtcd, openKubernetes } from './datastore.ts';

export interface CalicoWatcherOptions {
  readonly name: string;
  /** `local` for our own cluster, which makes local claims, or the name of a remote one. */
  readonly cluster: string;
  readonly ownCluster: string;
  readonly datastore: CalicoDatastore;
  /** Whether a remote cluster's pools become routes, or each block to the node that holds it; our own pools are local in any case. */
  readonly aggregate: 'pool' | 'block';
  readonly gateways: GatewaySelection;
  readonly environment: WatchEnvironment;
  /** For tests; over the network otherwise. */
  readonly connect?: Connect;
}

/** Pod addresses of a cluster whose network is Calico. */
export class CalicoWatcher implements Watcher {
  readonly name: string;
  readonly #options: CalicoWatcherOptions;
  readonly #matches: LabelMatcher;

  /** Throws ISTHMUS_ERR_CONFIG for gateways that cannot be found there. */
  constructor(options: CalicoWatcherOptions) {
    const { name, datastore, gateways } = options;
    if (datastore.kind === 'etcd' && gateways.kind === 'objects')
      throw new GatewayError(
        'ISTHMUS_ERR_CONFIG',
        `${name}: gateways is objects, but Calico's etcd has no TunnelGateway objects; use all, or labels of Calico's nodes`,
      );
    this.name = name;
    this.#options = options;
    this.#matches = matcherOf(name, gateways);
  }

  async *watch(signal: AbortSignal): AsyncGenerator<ClaimUpdate, void, void> {
    const { cluster, ownCluster, gateways, environment } = this.#options;
    const source = this.#open();
    const isLocal = cluster === 'local';
    const claims = new CalicoClaims({
      claims: isLocal ? 'local-pools' : this.#options.aggregate === 'pool' ? 'pools' : 'blocks',
      cluster: isLocal ? ownCluster : cluster,
      selection: gateways.kind,
      nodeKeys: source.nodeKeys,
    });
    const updates = streamClaims(this.#streams(source), claims, signal);
    try {
      if (isLocal) yield* updates;
      else
        yield* noted(updates, {
          name: this.name,
          cluster,
          notes: environment.notes,
          server: () => source.server,
          noGateways: () =>
            claims.chosen.length > 0 ? undefined : whyNoGateways(gateways, cluster, ownCluster),
        });
    } finally {
      source.close();
    }
  }

  #open(): CalicoSource {
    const { datastore, environment, connect } = this.#options;
    return datastore.kind === 'etcd'
      ? openEtcd(this.name, datastore.access, environment)
      : openKubernetes(this.name, datastore.api, environment, connect);
  }

  /** Those that the claims depend on: a resource that is not needed must not hold up the others. */
  #streams(source: CalicoSource): StreamsOf<CalicoObjects> {
    const { cluster, ownCluster, aggregate, gateways, environment } = this.#options;
    const isLocal = cluster === 'local';
    const streams: { -readonly [K in keyof CalicoObjects]?: ObjectStream<CalicoObjects[K]> } = {};
    if (isLocal || aggregate === 'pool') streams.pools = source.pools();
    streams.blocks = source.blocks();
    // Where each block is behind its own node, nobody chooses among nodes by whether they are ready.
    const readiness = aggregate === 'pool' || gateways.kind !== 'all';
    if (!isLocal)
      streams.nodes = source.nodes({ matches: this.#matches, readiness, family: environment.family });
    if (!isLocal && gateways.kind === 'objects') streams.tunnelGateways = source.tunnelGateways(ownCluster);
    // Whoever combines them asks for the names that are there, and for no other.
    return streams as StreamsOf<CalicoObjects>;
  }
}
