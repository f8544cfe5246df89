import type { Cidr } from '../../base/address.ts';
import { formatCidr } from '../../base/address.ts';
import type { ClaimUpdate } from '../../table/claim.ts';
import { CalicoWatcher } from '../calico/calico.ts';
import { CiliumWatcher } from '../cilium/cilium.ts';
import { noted } from '../cluster-note.ts';
import type { StreamsOf } from '../combine-streams.ts';
import type { ChildSources, WatchEnvironment } from '../environment.ts';
import type { GatewaySelection, LabelMatcher } from '../gateway-selection.ts';
import type { KubernetesAccess } from '../kubernetes-api/access.ts';
import type { Resource } from '../kubernetes-api/resource.ts';
import { matcherOf, TUNNEL_GATEWAYS, tunnelGatewayOf, whyNoGateways } from '../node-gateways.ts';
import type { ObjectStream } from '../store-event.ts';
import { streamClaims } from '../stream-claims.ts';
import type { Watcher } from '../watcher.ts';
import { StreamWithFallback } from './absent-resource.ts';
import type { ChildPlan } from './cluster-reader.ts';
import { type Connect, type Connection, connectToApi } from './connection.ts';
import { KubernetesClaims, type KubernetesObjects } from './kubernetes-claims.ts';
import { type AddressType, type NodeReading, nodeOf, type ServiceRange, serviceRangeOf } from './objects.ts';
import { REMOTE_CLUSTERS, remoteClusterOf } from './remote-cluster.ts';
import { RemoteClusters } from './remote-clusters.ts';

export interface KubernetesWatcherOptions {
  readonly name: string;
  /** Whose nodes and services these are: `local` for our own, which makes local claims, or the name of a remote cluster. */
  readonly cluster: string;
  readonly ownCluster: string;
  readonly api: KubernetesAccess;
  /** Of a remote cluster; our own needs none. */
  readonly gateways: GatewaySelection;
  /** What takes the place of ServiceCIDR objects where the server has none; `auto`: nothing, and that is said. */
  readonly serviceCidrs: 'auto' | readonly Cidr[];
  readonly addressType: AddressType;
  /** Whether RemoteCluster objects are read, which only our own API server has for us. */
  readonly remoteClusters: boolean;
  /** Takes the clusters that RemoteClusters lead to. */
  readonly children: ChildSources | undefined;
  /** Whether the nodes' pod CIDRs count, as they do by default; where Calico or Cilium gives out addresses they mean nothing. */
  readonly pods?: boolean;
  readonly environment: WatchEnvironment;
  /** For tests; over the network otherwise. */
  readonly connect?: Connect;
}

const NODES: Resource = { group: '', version: 'v1', plural: 'nodes' };
/** Stable since Kubernetes 1.33, and served as v1beta1 where somebody turned it on, since 1.31. */
const SERVICE_CIDRS: readonly Resource[] = ['v1', 'v1beta1'].map((version) => ({
  group: 'networking.k8s.io',
  version,
  plural: 'servicecidrs',
}));

/** A server that has no ServiceCIDRs gets them by an upgrade, which nobody waits for in front of a screen. */
const SERVICE_CIDRS_AGAIN_MS = 300_000;
/** `isthmus join` makes the resource while gateways already run, and whoever joins wants to see the other cluster at once. */
const REMOTE_CLUSTERS_AGAIN_MS = 2000;
/** kube-apiserver knows custom resources within a second of its start. */
const REMOTE_CLUSTERS_CONFIRM_MS = 3000;

/** Nodes and services of one API server; of our own also the clusters that its RemoteCluster objects name. */
export class KubernetesWatcher implements Watcher {
  readonly name: string;
  readonly #options: KubernetesWatcherOptions;
  readonly #local: boolean;
  readonly #matches: LabelMatcher;
  /** Why there are no service addresses. */
  #withoutServices: string | undefined;

  /** Throws ISTHMUS_ERR_CONFIG for a selector that cannot be understood. */
  constructor(options: KubernetesWatcherOptions) {
    this.#matches = matcherOf(options.name, options.gateways);
    this.name = options.name;
    this.#options = options;
    this.#local = options.cluster === 'local';
  }

  async *watch(signal: AbortSignal): AsyncGenerator<ClaimUpdate, void, void> {
    const { api, environment, gateways, cluster, ownCluster, connect = connectToApi } = this.#options;
    const connection = connect(this.name, api, environment);
    const remotes = this.#remoteClusters(connection);
    const claims = new KubernetesClaims({
      local: this.#local,
      cluster: this.#local ? ownCluster : cluster,
      selection: gateways.kind,
      onRemoteClusters: (event) => remotes?.update(event, claims.remoteClusters),
    });
    this.#withoutServices = undefined;
    const updates = streamClaims(this.#streams(connection, remotes !== undefined), claims, signal);
    try {
      if (this.#local) yield* updates;
      else
        yield* noted(updates, {
          name: this.name,
          cluster,
          notes: environment.notes,
          server: () => connection.server,
          noGateways: () => this.#unreachable(claims),
        });
    } finally {
      remotes?.close();
      connection.close();
    }
  }

  /** Those that the claims depend on: a resource that is not needed must not hold up the others. */
  #streams(connection: Connection, remoteClusters: boolean): StreamsOf<KubernetesObjects> {
    const { ownCluster, gateways, environment } = this.#options;
    const streams: { -readonly [K in keyof KubernetesObjects]?: ObjectStream<KubernetesObjects[K]> } = {};
    const reading = this.#reading();
    const { family } = reading;
    streams.nodes = connection.stream(NODES, (object) => nodeOf(object, reading));
    streams.services = this.#services(connection);
    if (!this.#local && gateways.kind === 'objects')
      streams.tunnelGateways = connection.stream(TUNNEL_GATEWAYS, (object) =>
        tunnelGatewayOf(object, object.metadata.name, ownCluster, family),
      );
    if (remoteClusters)
      streams.remoteClusters = new StreamWithFallback({
        streams: [() => connection.stream(REMOTE_CLUSTERS, remoteClusterOf)],
        objects: new Map(),
        confirmMs: REMOTE_CLUSTERS_CONFIRM_MS,
        askAgainMs: REMOTE_CLUSTERS_AGAIN_MS,
        onAbsent() {},
        clock: environment.clock,
      });
    // Whoever combines them asks for the names that are there, and for no other.
    return streams as StreamsOf<KubernetesObjects>;
  }

  #reading(): NodeReading {
    const { addressType, gateways, pods = true, environment } = this.#options;
    const { family } = environment;
    if (this.#local) return { pods, addressType, family, matches: () => false, addresses: 'ignored' };
    const addresses =
      gateways.kind === 'all' ? 'of-all' : gateways.kind === 'labels' ? 'of-matching' : 'optional';
    return { pods, addressType, family, matches: this.#matches, addresses };
  }

  #services(connection: Connection): ObjectStream<KubernetesObjects['services']> {
    const { serviceCidrs, environment } = this.#options;
    const objects = new Map<string, ServiceRange>();
    for (const cidr of serviceCidrs === 'auto' ? [] : serviceCidrs) {
      const id = `serviceCidrs:${formatCidr(cidr)}`;
      objects.set(id, { id, cidrs: [{ index: 0, cidr }] });
    }
    return new StreamWithFallback({
      streams: SERVICE_CIDRS.map((resource) => () => connection.stream(resource, serviceRangeOf)),
      objects,
      confirmMs: 0,
      askAgainMs: SERVICE_CIDRS_AGAIN_MS,
      onAbsent: (reason, state) => {
        if (serviceCidrs !== 'auto') return;
        const problem = `no route to service addresses: the API server has no ServiceCIDR objects (they came with Kubernetes 1.33), and serviceCidrs is not set (${reason})`;
        state.problem = problem;
        if (this.#withoutServices === undefined)
          environment.logger.warn({ source: this.name, server: connection.server }, problem);
        this.#withoutServices = problem;
      },
      clock: environment.clock,
    });
  }

  #remoteClusters(connection: Connection): RemoteClusters | undefined {
    const options = this.#options;
    const { children, environment } = options;
    if (!this.#local || !options.remoteClusters || children === undefined) {
      // Those that were found while the configuration still asked for them.
      children?.retain(new Set());
      return undefined;
    }
    return new RemoteClusters({
      parent: this.name,
      connection,
      children,
      environment,
      watcherOf: (plan, childEnvironment) =>
        childWatcherOf(plan, { ...options, environment: childEnvironment }),
    });
  }

  /** What of a cluster that is read well nothing can be sent to. */
  #unreachable(claims: KubernetesClaims): string | undefined {
    const { gateways, cluster, ownCluster } = this.#options;
    const none = claims.chosen.length > 0 ? undefined : whyNoGateways(gateways, cluster, ownCluster);
    const reasons = [none, this.#withoutServices].filter((reason) => reason !== undefined);
    return reasons.length === 0 ? undefined : reasons.join('; ');
  }
}

/** Throws ISTHMUS_ERR_CONFIG for gateways that cannot be found there. Addresses of nodes are of the type that the source which found the cluster asks for. */
function childWatcherOf(plan: ChildPlan, parent: KubernetesWatcherOptions): Watcher {
  const { name, cluster, gateways, credentials, describe, aggregate } = plan;
  const { ownCluster, environment, addressType, connect } = parent;
  const base = {
    name,
    cluster,
    ownCluster,
    gateways,
    environment,
    ...(connect !== undefined && { connect }),
  };
  if (credentials.kind === 'etcd')
    return new CalicoWatcher({ ...base, aggregate, datastore: { kind: 'etcd', access: credentials.access } });
  const api: KubernetesAccess = { kind: 'kubeconfig-text', text: credentials.kubeconfig, describe };
  if (plan.reads === 'Calico')
    return new CalicoWatcher({ ...base, aggregate, datastore: { kind: 'kubernetes', api } });
  if (plan.reads === 'Cilium') return new CiliumWatcher({ ...base, api });
  const { serviceCidrs } = plan;
  return new KubernetesWatcher({
    ...base,
    api,
    pods: plan.reads !== 'services',
    serviceCidrs,
    addressType,
    remoteClusters: false,
    children: undefined,
  });
}
