import { type Cidr, cidrContains } from '../../base/address.ts';
import type { Claim, Gateway } from '../../table/claim.ts';
import { ClaimLedger } from '../claim-ledger.ts';
import type { Told } from '../combine-streams.ts';
import type { GatewaySelection } from '../gateway-selection.ts';
import { LastGood, type Malformed } from '../last-good.ts';
import { NodeGateways, type TunnelGateway } from '../node-gateways.ts';
import type { Deriver } from '../stream-claims.ts';
import type { Block, CalicoNode, Pool } from './objects.ts';

/** What is read of Calico. A watcher opens those of the streams that its claims depend on. */
export interface CalicoObjects {
  readonly pools: Pool | Malformed;
  readonly blocks: Block | Malformed;
  readonly nodes: CalicoNode | Malformed;
  readonly tunnelGateways: TunnelGateway | Malformed;
}

export interface CalicoClaimsOptions {
  /** Pools are claimed as our own, or behind the gateways; blocks behind their nodes, unless gateways are chosen by labels or objects. */
  readonly claims: 'local-pools' | 'pools' | 'blocks';
  readonly cluster: string;
  readonly selection: GatewaySelection['kind'];
  /** What stands before the name of a node in the keys of their stream. */
  readonly nodeKeys: string;
}

const NO_GATEWAYS: readonly Gateway[] = [];

/** Claims of Calico's objects. Each change costs what depends on the changed object, not the whole cluster. */
export class CalicoClaims implements Deriver<CalicoObjects> {
  readonly ledger = new ClaimLedger();
  readonly #options: CalicoClaimsOptions;
  readonly #pools = new LastGood<Pool>();
  readonly #blocks = new LastGood<Block>();
  readonly #nodes = new LastGood<CalicoNode>();
  readonly #tunnelGateways = new LastGood<TunnelGateway>();
  readonly #gateways: NodeGateways;
  /** Of the last `settle`. */
  #chosen: readonly Gateway[] = NO_GATEWAYS;
  readonly #changedPools = new Set<string>();
  readonly #changedBlocks = new Set<string>();
  readonly #changedNodes = new Set<string>();

  constructor(options: CalicoClaimsOptions) {
    this.#options = options;
    this.#gateways = new NodeGateways(options.selection);
  }

  /** The gateways of what belongs to no single node, as of the last `settle`. */
  get chosen(): readonly Gateway[] {
    return this.#chosen;
  }

  apply(told: Told<CalicoObjects>): void {
    if (told.stream === 'pools') for (const key of this.#pools.apply(told.event)) this.#changedPools.add(key);
    else if (told.stream === 'blocks')
      for (const key of this.#blocks.apply(told.event)) this.#changedBlocks.add(key);
    else if (told.stream === 'nodes') for (const key of this.#nodes.apply(told.event)) this.#noteNode(key);
    else
      for (const key of this.#tunnelGateways.apply(told.event))
        this.#gateways.setObject(key, this.#tunnelGateways.get(key));
  }

  settle(): void {
    const chosen = this.#gateways.chosen();
    const otherGateways = chosen !== this.#chosen;
    this.#chosen = chosen;
    if (this.#options.claims === 'blocks') this.#settleBlocks(otherGateways);
    else this.#settlePools(otherGateways);
    this.#changedPools.clear();
    this.#changedBlocks.clear();
    this.#changedNodes.clear();
  }

  *problems(): Iterable<string> {
    yield* this.#pools.problems();
    yield* this.#blocks.problems();
    yield* this.#nodes.problems();
    yield* this.#tunnelGateways.problems();
    yield* this.#gateways.problems();
  }

  #noteNode(key: string): void {
    const node = this.#nodes.get(key);
    const name = key.slice(this.#options.nodeKeys.length);
    this.#changedNodes.add(name);
    const address = node?.gateways[0]?.address;
    this.#gateways.setNode(name, node && { address, matches: node.matches, ready: node.ready });
  }

  #settleBlocks(otherGateways: boolean): void {
    const ownGateways = this.#options.selection === 'all';
    if (ownGateways ? this.#changedNodes.size > 0 : otherGateways) {
      for (const [key, { node }] of this.#blocks.entries()) {
        if (!ownGateways || this.#changedNodes.has(node)) this.#changedBlocks.add(key);
      }
    }
    for (const key of this.#changedBlocks) {
      const block = this.#blocks.get(key);
      const claims: Claim[] = [];
      if (block !== undefined) {
        const holder = this.#nodes.get(this.#options.nodeKeys + block.node);
        const gateways = ownGateways ? holder?.gateways : this.#chosen;
        claims.push(this.#claim('BlockAffinity/', block, gateways ?? NO_GATEWAYS));
      }
      this.ledger.put(key, claims);
    }
  }

  #settlePools(otherGateways: boolean): void {
    for (const [key, { disabled }] of this.#pools.entries()) {
      if (otherGateways || (disabled && this.#changedBlocks.size > 0)) this.#changedPools.add(key);
    }
    for (const key of this.#changedPools) {
      const pool = this.#pools.get(key);
      const claims =
        pool !== undefined && this.#isUsed(pool) ? [this.#claim('IPPool/', pool, this.#chosen)] : [];
      this.ledger.put(key, claims);
    }
  }

  /**
   * A disabled pool gives out no addresses any more, but the pods that have some keep them: it counts until no node holds a block of it. The
   * pools that only keep another cluster's range from NAT never had one.
   */
  #isUsed(pool: Pool): boolean {
    if (!pool.disabled) return true;
    for (const [, block] of this.#blocks.entries()) if (cidrContains(pool.cidr, block.cidr)) return true;
    return false;
  }

  #claim(kind: string, { name, cidr }: { name: string; cidr: Cidr }, gateways: readonly Gateway[]): Claim {
    // Joined, not concatenated: a concatenation keeps its parts alive.
    const id = [kind, name].join('');
    const { cluster, claims } = this.#options;
    if (claims === 'local-pools') return { id, cidr, cluster, gateways: NO_GATEWAYS, local: 'pods' };
    return { id, cidr, cluster, gateways };
  }
}
