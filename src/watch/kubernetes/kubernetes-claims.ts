import { type Cidr, formatCidr } from '../../base/address.ts';
import type { Claim, Gateway, LocalUse } from '../../table/claim.ts';
import { ClaimLedger } from '../claim-ledger.ts';
import type { Told } from '../combine-streams.ts';
import type { GatewaySelection } from '../gateway-selection.ts';
import { LastGood, type Malformed } from '../last-good.ts';
import { NodeGateways, type TunnelGateway } from '../node-gateways.ts';
import type { StoreEvent } from '../store-event.ts';
import type { Deriver } from '../stream-claims.ts';
import type { KubernetesNode, ListedCidr, ServiceRange } from './objects.ts';
import type { RemoteCluster } from './remote-cluster.ts';

/** What is read of an API server. A watcher opens those of the streams that its claims depend on. */
export interface KubernetesObjects {
  readonly nodes: KubernetesNode | Malformed;
  readonly services: ServiceRange | Malformed;
  readonly tunnelGateways: TunnelGateway | Malformed;
  readonly remoteClusters: RemoteCluster | Malformed;
}

export interface KubernetesClaimsOptions {
  /** Whether the CIDRs are our own; then there are no gateways. */
  readonly local: boolean;
  /** Whose CIDRs of nodes and services these are. */
  readonly cluster: string;
  readonly selection: GatewaySelection['kind'];
  /** After each `replace` and `change` of RemoteClusters. */
  readonly onRemoteClusters?: (event: StoreEvent<RemoteCluster | Malformed>) => void;
}

const NO_GATEWAYS: readonly Gateway[] = [];

/** Claims of an API server's objects. Each change costs what depends on the changed object, not the whole cluster. */
export class KubernetesClaims implements Deriver<KubernetesObjects> {
  readonly ledger = new ClaimLedger();
  /** The RemoteClusters as they last made sense; whoever reads those that have an access looks here. */
  readonly remoteClusters = new LastGood<RemoteCluster>();
  readonly #options: KubernetesClaimsOptions;
  readonly #nodes = new LastGood<KubernetesNode>();
  readonly #services = new LastGood<ServiceRange>();
  readonly #tunnelGateways = new LastGood<TunnelGateway>();
  readonly #gateways: NodeGateways;
  /** Of the last `settle`. */
  #chosen: readonly Gateway[] = NO_GATEWAYS;
  readonly #changedNodes = new Set<string>();
  readonly #changedServices = new Set<string>();
  readonly #changedRemoteClusters = new Set<string>();

  constructor(options: KubernetesClaimsOptions) {
    this.#options = options;
    this.#gateways = new NodeGateways(options.selection);
  }

  /** Behind which shared traffic goes, as of the last `settle`. */
  get chosen(): readonly Gateway[] {
    return this.#chosen;
  }

  apply(told: Told<KubernetesObjects>): void {
    switch (told.stream) {
      case 'nodes':
        for (const key of this.#nodes.apply(told.event)) this.#noteNode(key);
        return;
      case 'services':
        for (const key of this.#services.apply(told.event)) this.#changedServices.add(key);
        return;
      case 'tunnelGateways':
        for (const key of this.#tunnelGateways.apply(told.event))
          this.#gateways.setObject(key, this.#tunnelGateways.get(key));
        return;
      default:
        for (const key of this.remoteClusters.apply(told.event)) this.#changedRemoteClusters.add(key);
        this.#options.onRemoteClusters?.(told.event);
    }
  }

  settle(): void {
    const chosen = this.#options.local ? NO_GATEWAYS : this.#gateways.chosen();
    if (chosen !== this.#chosen) {
      this.#chosen = chosen;
      this.#touchShared();
    }
    for (const key of this.#changedNodes) this.#putNode(key);
    for (const key of this.#changedServices) this.#putService(key);
    for (const key of this.#changedRemoteClusters) this.#putRemoteCluster(key);
    this.#changedNodes.clear();
    this.#changedServices.clear();
    this.#changedRemoteClusters.clear();
  }

  *problems(): Iterable<string> {
    yield* this.#nodes.problems();
    yield* this.#services.problems();
    yield* this.#tunnelGateways.problems();
    yield* this.remoteClusters.problems();
    yield* this.#gateways.problems();
  }

  #noteNode(key: string): void {
    this.#changedNodes.add(key);
    if (!this.#options.local) this.#gateways.setNode(key, this.#nodes.get(key));
  }

  /** Everything that is behind the chosen gateways. */
  #touchShared(): void {
    for (const [key] of this.#services.entries()) this.#changedServices.add(key);
    if (this.#options.selection === 'all') return;
    for (const key of this.#nodes.keys()) this.#changedNodes.add(key);
  }

  #putNode(key: string): void {
    const node = this.#nodes.get(key);
    const owner = ['Node/', key].join('');
    const claims =
      node === undefined ? [] : this.#claims(owner, node.podCidrs, 'pods', this.#gatewaysOf(node));
    this.ledger.put(owner, claims);
  }

  #gatewaysOf({ address }: KubernetesNode): readonly Gateway[] {
    if (this.#options.local) return NO_GATEWAYS;
    if (this.#options.selection !== 'all') return this.#chosen;
    return address === undefined ? NO_GATEWAYS : [{ address, weight: 1 }];
  }

  #putService(key: string): void {
    const range = this.#services.get(key);
    const claims = range === undefined ? [] : this.#claims(range.id, range.cidrs, 'services', this.#chosen);
    this.ledger.put(`services ${key}`, claims);
  }

  /** One that has an access is a source of its own, and what it claims as well. */
  #putRemoteCluster(name: string): void {
    const cluster = this.remoteClusters.get(name);
    const isStatic = cluster !== undefined && cluster.access === undefined;
    this.ledger.put(
      `RemoteCluster/${name}`,
      isStatic ? staticClaims(name, cluster.cidrs, cluster.gateways) : [],
    );
  }

  #claims(id: string, listed: readonly ListedCidr[], use: LocalUse, gateways: readonly Gateway[]): Claim[] {
    const { local, cluster } = this.#options;
    return listed.map(({ index, cidr }) => ({
      id: index === 0 ? id : `${id}#${index}`,
      cidr,
      cluster,
      gateways,
      ...(local && { local: use }),
    }));
  }
}

/** Claims on what stands in a RemoteCluster itself. A CIDR that is listed twice is one claim. */
export function staticClaims(
  cluster: string,
  cidrs: readonly Cidr[],
  gateways: readonly Gateway[] = NO_GATEWAYS,
): Claim[] {
  const claims = new Map<string, Claim>();
  for (const cidr of cidrs) {
    const id = `RemoteCluster/${cluster}:${formatCidr(cidr)}`;
    claims.set(id, { id, cidr, cluster, gateways });
  }
  return [...claims.values()];
}
