import {
  type Address,
  type Cidr,
  type Cidr4,
  cidrKey,
  cidrOfKey,
  formatCidr,
  isCidr4,
} from '../base/address.ts';
import type { Netlink } from '../io/netlink.ts';
import {
  HOP_WEIGHT_MAX,
  HOPS_MAX,
  type KernelRoute,
  ROUTE_TYPE,
  type RouteRow,
  type RowWay,
} from '../io/netlink-route.ts';
import type { ForwardedRoute } from '../table/route.ts';
import type { Doubt, Segment } from './segment.ts';

export type TunnelMode = 'always' | 'cross-subnet';

export interface DirectRoutesSetup {
  readonly netlink: Netlink;
  readonly segment: Segment;
  readonly table: number;
  /** Metric of the routes to the tunnel; ours are one better. */
  readonly tunnelMetric: number;
  readonly protocol: number;
  /** Source address for what this host itself sends, 0 for none. */
  readonly source: Address;
}

/** Routes handed to the kernel at a time, as in route-installer.ts. */
const ROUTES_AT_ONCE = 4096;

/** What the kernel refused, as many as a person reads. */
const FAILURES_SHOWN = 3;

type Gateways = ForwardedRoute['gateways'];

type DirectRow = RouteRow & { readonly cidr: Cidr4 };

/** Of routes whose metric is `tunnelMetric`. Negative: there is no better metric, and so no direct route. */
export function directMetric(tunnelMetric: number): number {
  return tunnelMetric - 1;
}

/** Whether a kernel route looks like one of ours past the tunnel: a next hop on every way, and our table and metric. */
export function isDirectRow(
  route: KernelRoute,
  table: number,
  tunnelMetric: number,
): route is KernelRoute & { readonly cidr: Cidr4 } {
  if (!isCidr4(route.cidr)) return false;
  if (route.table !== table || route.metric !== directMetric(tunnelMetric)) return false;
  if (route.type !== ROUTE_TYPE.UNICAST || route.hops.length === 0) return false;
  return route.hops.every((hop) => hop.gateway !== undefined);
}

/**
 * Kernel routes past the tunnel (`tunnel.mode: cross-subnet`): where all gateways of a route are on the underlay's own segment, packets go
 * to them without encapsulation. CIDRs of IPv6 always take the tunnel: there is no next hop for them in an IPv4 underlay.
 *
 * Each lies over the route to the tunnel, with a metric one better, and does not replace it. So going direct and going back are one
 * insertion or removal each, between which no packet is without a way; and when the kernel removes such a route by itself, because the
 * device went down, packets fall back into the tunnel and not to the default route in clear, also while no daemon runs.
 */
export class DirectRoutes {
  readonly #setup: DirectRoutesSetup;
  readonly #wanted = new Map<number, Gateways>();
  readonly #installed = new Map<number, readonly RowWay[]>();
  readonly #refused = new Map<number, string>();
  /** Routes of which some gateways are on the segment and some are not. */
  readonly #mixed = new Set<number>();
  #mode: TunnelMode;
  #isReconciled = false;

  constructor(setup: DirectRoutesSetup, mode: TunnelMode) {
    this.#setup = setup;
    this.#mode = mode;
  }

  /** By `cidrKey`, with their ways. */
  get installed(): ReadonlyMap<number, readonly RowWay[]> {
    return this.#installed;
  }

  /** A route that goes through the tunnel though one of its gateways is on the segment, and may send to us past the tunnel. */
  get mixed(): Cidr | undefined {
    for (const key of this.#mixed) return cidrOfKey(key);
    return undefined;
  }

  /** One sentence about what stays in the tunnel though it should not, or undefined. */
  get problem(): string | undefined {
    if (this.#mode !== 'cross-subnet') return undefined;
    if (directMetric(this.#setup.tunnelMetric) < 0) {
      return 'routes.metric is 0, and no route past the tunnel can be better than that: all packets take the tunnel; set routes.metric to 1 or more';
    }
    if (this.#refused.size === 0) return undefined;
    const shown = [...this.#refused]
      .slice(0, FAILURES_SHOWN)
      .map(([key, why]) => `${formatCidr(cidrOfKey(key))} (${why})`);
    const more =
      this.#refused.size > FAILURES_SHOWN ? ` and ${this.#refused.size - FAILURES_SHOWN} more` : '';
    return `the kernel refused routes past the tunnel: ${shown.join(', ')}${more}; packets for them take the tunnel`;
  }

  /** Needs the gateways of all routes again: in mode `always` none were kept. */
  setMode(mode: TunnelMode, routes: () => readonly Pick<ForwardedRoute, 'cidr' | 'gateways'>[]): void {
    if (mode === this.#mode) return;
    this.#mode = mode;
    this.#wanted.clear();
    this.#mixed.clear();
    this.#refused.clear();
    if (mode === 'always') this.#withdraw([...this.#installed.keys()]);
    else this.set(routes());
  }

  /** After the routes to the tunnel are in place. */
  set(routes: readonly Pick<ForwardedRoute, 'cidr' | 'gateways'>[]): void {
    if (this.#mode !== 'cross-subnet') return;
    const keys: number[] = [];
    for (const { cidr, gateways } of routes) {
      if (!isCidr4(cidr)) continue;
      this.#wanted.set(cidrKey(cidr), gateways);
      keys.push(cidrKey(cidr));
    }
    if (this.#isReconciled) this.#settle(keys);
  }

  /** Before the routes to the tunnel go. */
  remove(cidrs: readonly Cidr[]): void {
    const keys = cidrs.filter(isCidr4).map((cidr) => cidrKey(cidr));
    for (const key of keys) {
      this.#wanted.delete(key);
      this.#mixed.delete(key);
      this.#refused.delete(key);
    }
    this.#withdraw(keys.filter((key) => this.#installed.has(key)));
  }

  /** Asks the kernel again where the gateways are, and moves what has to move. */
  review(doubt: Doubt): void {
    if (this.#mode !== 'cross-subnet') return;
    if (doubt === 'everything') this.#forgetUnused();
    if (this.#setup.segment.review(doubt)) this.#settle([...this.#wanted.keys()]);
  }

  /** As `review`, of the next `count` gateways; and tries again what the kernel refused. */
  reviewSome(count: number): void {
    if (this.#mode !== 'cross-subnet') return;
    if (this.#setup.segment.reviewSome(count)) this.#settle([...this.#wanted.keys()]);
    else if (this.#refused.size > 0) this.#settle([...this.#refused.keys()]);
  }

  /**
   * Makes the kernel hold exactly what should be direct. `present` are all of its routes with our protocol number, `isFirst` says that
   * those which nobody here made are a predecessor's; later they belong to another gateway with our protocol number, or to a person.
   * Returns how many were changed.
   */
  reconcile(present: readonly KernelRoute[], isFirst: boolean): number {
    const { netlink, table, tunnelMetric } = this.#setup;
    this.#isReconciled = true;
    const before = new Map(this.#installed);
    this.#installed.clear();
    const strays: RouteRow[] = [];
    for (const route of present) {
      if (!isDirectRow(route, table, tunnelMetric)) continue;
      const key = cidrKey(route.cidr);
      if (this.#wanted.has(key)) this.#installed.set(key, this.#waysOf(route));
      else if (isFirst || before.has(key)) strays.push(this.#removal(route.cidr));
    }
    if (strays.length > 0) netlink.removeRoutes(strays);
    return strays.length + this.#settle([...this.#wanted.keys()]);
  }

  /** A route of ours that the kernel says was removed, and that should be there. */
  isMissed(route: KernelRoute): boolean {
    const { table, tunnelMetric } = this.#setup;
    return isDirectRow(route, table, tunnelMetric) && this.#installed.has(cidrKey(route.cidr));
  }

  /** The answer to "which way" is one of ours past the tunnel. */
  isOurWay(deviceIndex: number, gateway: Address | undefined): boolean {
    if (gateway === undefined || this.#installed.size === 0) return false;
    return deviceIndex === this.#setup.segment.deviceIndex && this.#setup.segment.isOnLink(gateway);
  }

  clear(): void {
    this.#wanted.clear();
    this.#mixed.clear();
    this.#refused.clear();
    this.#withdraw([...this.#installed.keys()]);
  }

  /** Brings the routes with these keys to where their gateways are now. Returns how many were changed. */
  #settle(keys: readonly number[]): number {
    const added: DirectRow[] = [];
    const replaced: DirectRow[] = [];
    const withdrawn: number[] = [];
    for (const key of keys) {
      const ways = this.#waysFor(key);
      const present = this.#installed.get(key);
      if (ways === undefined) {
        this.#refused.delete(key);
        if (present !== undefined) withdrawn.push(key);
      } else if (present === undefined) added.push(this.#row(key, ways));
      else if (!areEqual(ways, present)) replaced.push(this.#row(key, ways));
    }
    this.#withdraw(withdrawn);
    this.#install('addRoutes', added);
    // In the place of the one that is there, so that no packet takes the tunnel between.
    this.#install('replaceRoutes', replaced);
    return withdrawn.length + added.length + replaced.length - this.#refused.size;
  }

  /** The ways of a route past the tunnel, or undefined where it has to take the tunnel. */
  #waysFor(key: number): readonly RowWay[] | undefined {
    const { segment, tunnelMetric } = this.#setup;
    const gateways = this.#wanted.get(key);
    this.#mixed.delete(key);
    if (gateways === undefined || directMetric(tunnelMetric) < 0) return undefined;
    // Weight 0: it may still send to us, and gets nothing.
    const used = gateways.filter((gateway) => gateway.weight > 0);
    const near = used.filter(isIpv4).filter((gateway) => segment.isOnLink(gateway.address));
    if (near.length > 0 && near.length < used.length) this.#mixed.add(key);
    if (used.length === 0 || near.length < used.length || used.length > HOPS_MAX) return undefined;
    return waysTo(near);
  }

  #install(how: 'addRoutes' | 'replaceRoutes', rows: readonly DirectRow[]): void {
    for (let start = 0; start < rows.length; start += ROUTES_AT_ONCE) {
      const some = rows.slice(start, start + ROUTES_AT_ONCE);
      for (const row of some) {
        this.#refused.delete(cidrKey(row.cidr));
        this.#installed.set(cidrKey(row.cidr), waysOfRow(row));
      }
      for (const failure of this.#setup.netlink[how](some)) {
        const key = cidrKey(some[failure.index]!.cidr);
        const metric = directMetric(this.#setup.tunnelMetric);
        const taken = `a route with metric ${metric} is there already; change routes.metric`;
        this.#refused.set(key, failure.errno === 'EEXIST' ? taken : failure.message);
        this.#installed.delete(key);
        // What could not be replaced leads to gateways that may be gone: better the tunnel.
        if (how === 'replaceRoutes') this.#setup.netlink.removeRoutes([this.#removal(cidrOfKey(key))]);
      }
    }
  }

  #withdraw(keys: readonly number[]): void {
    for (let start = 0; start < keys.length; start += ROUTES_AT_ONCE) {
      const some = keys.slice(start, start + ROUTES_AT_ONCE);
      for (const key of some) this.#installed.delete(key);
      this.#setup.netlink.removeRoutes(some.map((key) => this.#removal(cidrOfKey(key))));
    }
  }

  #forgetUnused(): void {
    const used = new Set<Address>();
    for (const gateways of this.#wanted.values())
      for (const { address } of gateways.filter(isIpv4)) used.add(address);
    this.#setup.segment.keepOnly(used);
  }

  #row(key: number, ways: readonly RowWay[]): DirectRow {
    const { table, protocol, source, segment } = this.#setup;
    const base = {
      ...this.#removal(cidrOfKey(key)),
      deviceIndex: segment.deviceIndex,
      table,
      protocol,
      source,
    };
    return ways.length === 1 ? { ...base, gateway: ways[0]!.gateway } : { ...base, ways };
  }

  /** Whatever device and ways it has. */
  #removal(cidr: Cidr4): DirectRow {
    const { table, tunnelMetric, protocol } = this.#setup;
    return { cidr, deviceIndex: 0, table, metric: directMetric(tunnelMetric), protocol };
  }

  /** As `waysTo` gives them; of another device or source, none, which is equal to no wish. */
  #waysOf(route: KernelRoute): readonly RowWay[] {
    const { segment, source } = this.#setup;
    const isOurs = route.hops.every((hop) => hop.deviceIndex === segment.deviceIndex);
    if (!isOurs || (route.source ?? 0) !== source) return [];
    if (route.hops.length === 1) return [{ gateway: route.hops[0]!.gateway!, weight: 1 }];
    return route.hops.map(({ gateway, weight }) => ({ gateway: gateway!, weight }));
  }
}

interface Near {
  readonly address: Address;
  readonly weight: number;
}

function isIpv4(gateway: Gateways[number]): gateway is Near {
  return typeof gateway.address === 'number';
}

/** Weights up to HOP_WEIGHT_MAX are the kernel's as they are; larger ones are scaled down, and none becomes 0. */
export function waysTo(gateways: readonly Near[]): readonly RowWay[] {
  if (gateways.length === 1) return [{ gateway: gateways[0]!.address, weight: 1 }];
  const largest = Math.max(...gateways.map((gateway) => gateway.weight));
  const scale = Math.min(1, HOP_WEIGHT_MAX / largest);
  return gateways.map(({ address, weight }) => ({
    gateway: address,
    weight: Math.max(1, Math.round(weight * scale)),
  }));
}

function waysOfRow(row: RouteRow): readonly RowWay[] {
  return row.ways ?? [{ gateway: row.gateway!, weight: 1 }];
}

function areEqual(one: readonly RowWay[], other: readonly RowWay[]): boolean {
  if (one.length !== other.length) return false;
  return one.every((way, at) => way.gateway === other[at]!.gateway && way.weight === other[at]!.weight);
}
