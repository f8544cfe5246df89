import type { ClaimUpdate } from '../../table/claim.ts';
import { noted } from '../cluster-note.ts';
import type { StreamsOf } from '../combine-streams.ts';
import type { WatchEnvironment } from '../environment.ts';
import type { GatewaySelection, LabelMatcher } from '../gateway-selection.ts';
import { type Connect, type Connection, connectToApi } from '../kubernetes/connection.ts';
import type { KubernetesAccess } from '../kubernetes-api/access.ts';
import type { Resource } from '../kubernetes-api/resource.ts';
import { matcherOf, TUNNEL_GATEWAYS, tunnelGatewayOf, whyNoGateways } from '../node-gateways.ts';
import type { ObjectStream } from '../store-event.ts';
import { streamClaims } from '../stream-claims.ts';
import type { Watcher } from '../watcher.ts';
import { CiliumClaims, type CiliumObjects } from './cilium-claims.ts';
import { ciliumNodeOf } from './cilium-node.ts';

export interface CiliumWatcherOptions {
  readonly name: string;
  /** `local` for our own cluster, which makes local claims, or the name of a remote one. */
  readonly cluster: string;
  readonly ownCluster: string;
  readonly api: KubernetesAccess;
  readonly gateways: GatewaySelection;
  readonly environment: WatchEnvironment;
  /** For tests; over the network otherwise. */
  readonly connect?: Connect;
}

const CILIUM_NODES: Resource = { group: 'cilium.io', version: 'v2', plural: 'ciliumnodes' };

/** Pod addresses of a cluster whose network is Cilium. */
export class CiliumWatcher implements Watcher {
  readonly name: string;
  readonly #options: CiliumWatcherOptions;
  readonly #matches: LabelMatcher;

  /** Throws ISTHMUS_ERR_CONFIG for a selector that cannot be understood. */
  constructor(options: CiliumWatcherOptions) {
    this.name = options.name;
    this.#options = options;
    this.#matches = matcherOf(options.name, options.gateways);
  }

  async *watch(signal: AbortSignal): AsyncGenerator<ClaimUpdate, void, void> {
    const { api, cluster, ownCluster, gateways, environment, connect = connectToApi } = this.#options;
    const connection = connect(this.name, api, environment);
    const local = cluster === 'local';
    const claims = new CiliumClaims({
      local,
      cluster: local ? ownCluster : cluster,
      selection: gateways.kind,
    });
    const updates = streamClaims(this.#streams(connection), claims, signal);
    try {
      if (local) yield* updates;
      else
        yield* noted(updates, {
          name: this.name,
          cluster,
          notes: environment.notes,
          server: () => connection.server,
          noGateways: () =>
            claims.chosen.length > 0 ? undefined : whyNoGateways(gateways, cluster, ownCluster),
        });
    } finally {
      connection.close();
    }
  }

  #streams(connection: Connection): StreamsOf<CiliumObjects> {
    const { cluster, ownCluster, gateways, environment } = this.#options;
    const { family } = environment;
    const streams: { -readonly [K in keyof CiliumObjects]?: ObjectStream<CiliumObjects[K]> } = {};
    streams.nodes = connection.stream(CILIUM_NODES, (object) =>
      ciliumNodeOf(object, object.metadata.name, this.#matches, family),
    );
    if (cluster !== 'local' && gateways.kind === 'objects')
      streams.tunnelGateways = connection.stream(TUNNEL_GATEWAYS, (object) =>
        tunnelGatewayOf(object, object.metadata.name, ownCluster, family),
      );
    // Whoever combines them asks for the names that are there, and for no other.
    return streams as StreamsOf<CiliumObjects>;
  }
}
