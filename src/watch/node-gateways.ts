import type { Family, IpAddress } from '../base/address.ts';
import { GatewayError } from '../base/errors.ts';
import { GATEWAY_WEIGHT_MAX } from '../base/limits.ts';
import type { Gateway } from '../table/claim.ts';
import { GatewayPool, type GatewaySelection, type LabelMatcher, parseSelector } from './gateway-selection.ts';
import type { Resource } from './kubernetes-api/resource.ts';
import type { Malformed } from './last-good.ts';
import { addressOf, fieldAt, listAt, misfit, textAt, wellFormed } from './object-fields.ts';

export const TUNNEL_GATEWAYS: Resource = {
  group: 'isthmus.network',
  version: 'v1alpha1',
  plural: 'tunnelgateways',
};

/** Which labels make a node a gateway. Throws ISTHMUS_ERR_CONFIG, with the name of the source, for a selector that cannot be understood. */
export function matcherOf(source: string, selection: GatewaySelection): LabelMatcher {
  if (selection.kind !== 'labels') return () => false;
  const matcher = parseSelector(selection.selector);
  if (typeof matcher !== 'string') return matcher;
  throw new GatewayError('ISTHMUS_ERR_CONFIG', `${source}: gateways is "${selection.selector}": ${matcher}`);
}

/** For a cluster of which nothing can be reached. */
export function whyNoGateways(selection: GatewaySelection, cluster: string, ownCluster: string): string {
  if (selection.kind === 'all')
    return `no gateway: ${cluster} has no node with an address of the underlay's family`;
  if (selection.kind === 'labels') return `no gateway: no node of ${cluster} matches ${selection.selector}`;
  return `no gateway: no TunnelGateway of ${cluster} has an address and serves ${ownCluster}`;
}

/** A TunnelGateway object (isthmus.network/v1alpha1): who serves which clusters. */
export interface TunnelGateway {
  readonly node: string | undefined;
  readonly address: IpAddress | undefined;
  readonly weight: number;
  /** Whether it serves the cluster that asks. */
  readonly serves: boolean;
}

/** `ownCluster`: who asks; an object without names of clusters serves all. */
export function tunnelGatewayOf(
  object: unknown,
  name: string,
  ownCluster: string,
  family: Family,
): TunnelGateway | Malformed | undefined {
  return wellFormed(`TunnelGateway/${name}`, () => {
    const node = textAt(object, 'spec.nodeName', 'the name of a node');
    const text = fieldAt(object, 'spec.address');
    const address = text === undefined ? undefined : addressOf(text, 'spec.address', family);
    if (node === undefined && text === undefined)
      throw misfit('spec.nodeName', node, 'the name of a node, or spec.address');
    if (node === undefined && address === undefined) return undefined;
    const weight = fieldAt(object, 'spec.weight') ?? 1;
    if (!Number.isInteger(weight) || Number(weight) < 0 || Number(weight) > GATEWAY_WEIGHT_MAX)
      throw misfit('spec.weight', weight, `a whole number from 0 to ${GATEWAY_WEIGHT_MAX}`);
    const clusters = listAt(object, 'spec.clusters', 'a list of names of clusters');
    const serves = clusters.length === 0 || clusters.includes(ownCluster);
    return { node, address, weight: Number(weight), serves };
  });
}

/** What the choice of gateways depends on in a node. */
export interface GatewayNode {
  /** undefined where it has no IPv4 address. */
  readonly address: IpAddress | undefined;
  /** Whether its labels are those of a gateway; not asked for unless gateways are chosen by labels. */
  readonly matches: boolean;
  readonly ready: boolean;
}

/** The gateways of a remote cluster as its nodes and TunnelGateway objects come and go. */
export class NodeGateways {
  readonly #kind: GatewaySelection['kind'];
  readonly #pool: GatewayPool;
  readonly #nodes = new Map<string, GatewayNode>();
  readonly #objects = new Map<string, TunnelGateway>();

  constructor(kind: GatewaySelection['kind'], pool = new GatewayPool()) {
    this.#kind = kind;
    this.#pool = pool;
  }

  /** undefined: the node is gone. */
  setNode(name: string, node: GatewayNode | undefined): void {
    if (this.#kind === 'objects') {
      this.#setNamedNode(name, node);
      return;
    }
    const gateway = node?.address === undefined ? undefined : { address: node.address, weight: 1 };
    if (node === undefined || gateway === undefined || (this.#kind === 'labels' && !node.matches))
      this.#pool.delete(name);
    else this.#pool.set(name, gateway, node.ready);
  }

  /** undefined: the object is gone. */
  setObject(name: string, object: TunnelGateway | undefined): void {
    if (this.#kind !== 'objects') return;
    if (object === undefined) this.#objects.delete(name);
    else this.#objects.set(name, object);
    this.#place(name, object);
  }

  /** At most as many as a route may have; the same array as long as nothing of it changes. */
  chosen(): readonly Gateway[] {
    return this.#pool.chosen();
  }

  /** Sentences on objects that name a node which cannot serve them. */
  *problems(): Iterable<string> {
    for (const [name, { node, address, serves }] of this.#objects) {
      if (node === undefined || address !== undefined || !serves) continue;
      const found = this.#nodes.get(node);
      if (found === undefined)
        yield `TunnelGateway/${name}: spec.nodeName is "${node}", and there is no such node`;
      else if (found.address === undefined)
        yield `TunnelGateway/${name}: spec.nodeName is "${node}", and that node has no IPv4 address of the wanted type`;
    }
  }

  #setNamedNode(name: string, node: GatewayNode | undefined): void {
    if (node === undefined) this.#nodes.delete(name);
    else this.#nodes.set(name, node);
    // A handful of objects: an index of them by node would cost more than it saves.
    for (const [key, object] of this.#objects) if (object.node === name) this.#place(key, object);
  }

  #place(name: string, object: TunnelGateway | undefined): void {
    const node = object?.node === undefined ? undefined : this.#nodes.get(object.node);
    const address = object?.address ?? node?.address;
    if (object === undefined || address === undefined || !object.serves) this.#pool.delete(name);
    else this.#pool.set(name, { address, weight: object.weight }, node?.ready ?? true);
  }
}
