import { type Cidr, type CidrKey, cidrContains, cidrKey, formatCidr } from '../../base/address.ts';
import { GATEWAY_WEIGHT_MAX } from '../../base/limits.ts';
import { type KernelRoute, ROUTE_TYPE } from '../../io/netlink-route.ts';
import type { Claim, Gateway } from '../../table/claim.ts';

/** Whose routes they are, and what is made of them. */
export interface RouteReading {
  readonly protocols: readonly number[];
  /** Only routes inside one of these count; empty: all. */
  readonly within: readonly Cidr[];
  /** Our own name where the routes are ours to announce, else the name of the remote cluster that they lead to. */
  readonly cluster: string;
  readonly isLocal: boolean;
  /** Gateways of the remote cluster; empty: the next hops of each route. */
  readonly via: readonly Gateway[];
}

/**
 * Kinds of routes that somebody announces. A blackhole or unreachable route is how BIRD and Calico say "ours, and more specific routes
 * follow": for others it is reachable here.
 */
const OWN_TYPES: readonly number[] = [ROUTE_TYPE.UNICAST, ROUTE_TYPE.BLACKHOLE, ROUTE_TYPE.UNREACHABLE];

/** One claim for each prefix that counts, from the route that the kernel prefers (RFC 1812 §5.2.4.3: the lowest metric). */
export function claimsOfRoutes(routes: readonly KernelRoute[], reading: RouteReading): Claim[] {
  const best = new Map<CidrKey, KernelRoute>();
  for (const route of routes) {
    if (!counts(route, reading)) continue;
    const known = best.get(cidrKey(route.cidr));
    if (known === undefined || route.metric < known.metric) best.set(cidrKey(route.cidr), route);
  }
  return [...best.values()].map((route) => claimOf(route, reading));
}

function counts(
  { cidr, protocol, type }: KernelRoute,
  { protocols, within, isLocal }: RouteReading,
): boolean {
  if (!protocols.includes(protocol)) return false;
  if (within.length > 0 && !within.some((outer) => cidrContains(outer, cidr))) return false;
  return isLocal ? OWN_TYPES.includes(type) : type === ROUTE_TYPE.UNICAST;
}

function claimOf(route: KernelRoute, { cluster, isLocal, via }: RouteReading): Claim {
  const { cidr } = route;
  const id = `kernel:${formatCidr(cidr)}`;
  if (isLocal) return { id, cidr, cluster, gateways: [], local: 'routes' };
  return { id, cidr, cluster, gateways: via.length > 0 ? via : nextHops(route) };
}

/** Several hops may lead to the same gateway by different devices: its weights add up. None for a route that leads to a link or to IPv6. */
function nextHops({ hops }: KernelRoute): Gateway[] {
  const weights = new Map<number, number>();
  for (const { gateway, weight } of hops)
    if (gateway !== undefined) weights.set(gateway, (weights.get(gateway) ?? 0) + weight);
  return [...weights].map(([address, weight]) => ({ address, weight: Math.min(weight, GATEWAY_WEIGHT_MAX) }));
}
