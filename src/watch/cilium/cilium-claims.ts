import type { Claim, Gateway } from '../../table/claim.ts';
import { ClaimLedger } from '../claim-ledger.ts';
import type { Told } from '../combine-streams.ts';
import type { GatewaySelection } from '../gateway-selection.ts';
import { LastGood, type Malformed } from '../last-good.ts';
import { NodeGateways, type TunnelGateway } from '../node-gateways.ts';
import type { Deriver } from '../stream-claims.ts';
import type { CiliumNode } from './cilium-node.ts';

/** What is read of Cilium. A watcher opens those of the streams that its claims depend on. */
export interface CiliumObjects {
  readonly nodes: CiliumNode | Malformed;
  readonly tunnelGateways: TunnelGateway | Malformed;
}

export interface CiliumClaimsOptions {
  /** Whether the CIDRs are our own; then there are no gateways. */
  readonly local: boolean;
  readonly cluster: string;
  readonly selection: GatewaySelection['kind'];
}

const NO_GATEWAYS: readonly Gateway[] = [];

/** Claims of CiliumNodes: each behind itself, or all behind the gateways where those are chosen by labels or objects. */
export class CiliumClaims implements Deriver<CiliumObjects> {
  readonly ledger = new ClaimLedger();
  readonly #options: CiliumClaimsOptions;
  readonly #nodes = new LastGood<CiliumNode>();
  readonly #tunnelGateways = new LastGood<TunnelGateway>();
  readonly #gateways: NodeGateways;
  /** Of the last `settle`. */
  #chosen: readonly Gateway[] = NO_GATEWAYS;
  readonly #changed = new Set<string>();

  constructor(options: CiliumClaimsOptions) {
    this.#options = options;
    this.#gateways = new NodeGateways(options.selection);
  }

  /** The gateways of what belongs to no single node, as of the last `settle`. */
  get chosen(): readonly Gateway[] {
    return this.#chosen;
  }

  apply(told: Told<CiliumObjects>): void {
    if (told.stream === 'tunnelGateways') {
      for (const key of this.#tunnelGateways.apply(told.event))
        this.#gateways.setObject(key, this.#tunnelGateways.get(key));
      return;
    }
    for (const key of this.#nodes.apply(told.event)) {
      this.#changed.add(key);
      this.#gateways.setNode(key, this.#nodes.get(key));
    }
  }

  settle(): void {
    const chosen = this.#gateways.chosen();
    if (chosen !== this.#chosen && !this.#options.local && this.#options.selection !== 'all')
      for (const key of this.#nodes.keys()) this.#changed.add(key);
    this.#chosen = chosen;
    for (const key of this.#changed) {
      const node = this.#nodes.get(key);
      this.ledger.put(key, node === undefined ? [] : this.#claims(node));
    }
    this.#changed.clear();
  }

  *problems(): Iterable<string> {
    yield* this.#nodes.problems();
    yield* this.#tunnelGateways.problems();
    yield* this.#gateways.problems();
  }

  #claims(node: CiliumNode): Claim[] {
    const { local, cluster } = this.#options;
    if (local)
      return node.ranges.map((range) => ({ ...range, cluster, gateways: NO_GATEWAYS, local: 'pods' }));
    const gateways = this.#gatewaysOf(node);
    return node.ranges.map((range) => ({ ...range, cluster, gateways }));
  }

  #gatewaysOf({ address }: CiliumNode): readonly Gateway[] {
    if (this.#options.selection !== 'all') return this.#chosen;
    return address === undefined ? NO_GATEWAYS : [{ address, weight: 1 }];
  }
}
