import type { LearnedPaths } from './path-mtu.ts';

/** What the oracle believes of a gateway: plain lists, searched from one end to the other. */
export interface ModelCidr {
  readonly address: number;
  readonly prefixLength: number;
}

export interface ModelGateway {
  readonly address: number;
  readonly weight: number;
}

export interface ModelRoute {
  readonly cidr: ModelCidr;
  readonly cluster: string;
  readonly gateways: readonly ModelGateway[];
}

export interface ModelSettings {
  readonly source: number;
  /** null: none. */
  readonly tunnelAddress: number | null;
  readonly linkMtuBytes: number;
  readonly ttl: number | 'inherit';
  readonly dscp: number | 'inherit';
  readonly ecn: 'normal' | 'compatibility';
  readonly clampMss: boolean;
  readonly fragment: 'inner' | 'outer';
  readonly innerSource: 'strict' | 'loose' | 'off';
  readonly allowedSources: readonly ModelCidr[];
  /** Clusters for which this gateway passes traffic on. */
  readonly transit: readonly string[];
}

export interface ModelPeer {
  readonly address: number;
  alive: boolean;
  /** What was counted for it since it came: by PEER_CELL. */
  readonly counts: number[];
}

export interface Model {
  settings: ModelSettings;
  local: readonly ModelCidr[];
  /** As last published. */
  routes: readonly ModelRoute[];
  /** Every gateway of every route. */
  peers: Map<number, ModelPeer>;
  readonly paths: LearnedPaths;
}

export function holds(cidr: ModelCidr, address: number): boolean {
  const size = 2 ** (32 - cidr.prefixLength);
  return address >= cidr.address && address < cidr.address + size;
}

/** The longest prefix that holds the address: our own, a route, or nothing. */
export function longestMatch(model: Model, address: number): 'local' | ModelRoute | undefined {
  let best: ModelRoute | undefined;
  for (const route of model.routes) {
    if (!holds(route.cidr, address)) continue;
    if (best === undefined || route.cidr.prefixLength > best.cidr.prefixLength) best = route;
  }
  const longest = best === undefined ? -1 : best.cidr.prefixLength;
  for (const cidr of model.local) {
    if (holds(cidr, address) && cidr.prefixLength >= longest) return 'local';
  }
  return best;
}

/** What one packet to this peer may measure on the wire. */
export function pathMtuOf(model: Model, peer: number): number {
  const learned = model.paths.bytesOf(peer);
  const link = model.settings.linkMtuBytes;
  return learned === 0 ? link : Math.min(learned, link);
}

/**
 * Takes over what was published. A gateway that is in the table before and after keeps what is known of it, whatever happened to the routes
 * that name it; one that comes, or comes back, starts alive.
 */
export function publishRoutes(model: Model, routes: readonly ModelRoute[]): void {
  const before = model.peers;
  model.routes = routes;
  model.peers = new Map();
  for (const { gateways } of routes) {
    for (const { address } of gateways) {
      const known = model.peers.get(address) ?? before.get(address);
      model.peers.set(address, known ?? { address, alive: true, counts: [0, 0, 0, 0, 0, 0] });
    }
  }
}
