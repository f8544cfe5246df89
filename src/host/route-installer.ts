import type { Address } from '../base/address.ts';
import { type Cidr, type CidrKey, cidrKey, cidrOfKey, formatCidr, isCidr4 } from '../base/address.ts';
import type { Netlink, RouteAnswer } from '../io/netlink.ts';
import { type KernelRoute, type RouteRow, shownMetric } from '../io/netlink-route.ts';
import type { ForwardedRoute } from '../table/route.ts';
import { DirectRoutes, isDirectRow, type TunnelMode } from './direct-routes.ts';
import type { Segment } from './segment.ts';

export interface RouteInstallerSetup {
  readonly netlink: Netlink;
  /** The TUN device that our routes lead to. */
  readonly deviceIndex: number;
  readonly table: number;
  readonly metric: number;
  /** Routing protocol number: routes that carry it are ours, all others are not touched. */
  readonly protocol: number;
  /** Source address for what this host itself sends, 0 for none. */
  readonly source: Address;
  readonly mode: TunnelMode;
  /** The underlay's. */
  readonly segment: Segment;
  /** Called before any route of IPv6 is installed: the device must take such routes then. */
  readonly onIpv6: () => void;
}

/** Routes handed to the kernel at a time: what is made for them is garbage before it is old (100,000 at once keep 40 MB for good). */
const ROUTES_AT_ONCE = 4096;

/** What the kernel refused, as many as a person reads. */
const FAILURES_SHOWN = 3;

/**
 * The kernel routes that lead packets for remote clusters to the TUN device. They carry our protocol number, so that only ours are ever
 * removed, a successor finds those that a crash left, and BIRD or FRR can tell and redistribute them. Over them lie those of
 * direct-routes.ts, where packets need no tunnel.
 */
export class RouteInstaller {
  readonly direct: DirectRoutes;
  readonly #setup: RouteInstallerSetup;
  readonly #wanted = new Set<CidrKey>();
  readonly #refused = new Map<CidrKey, string>();
  #isReconciled = false;

  constructor(setup: RouteInstallerSetup) {
    this.#setup = setup;
    const { netlink, segment, table, metric, protocol, source, mode } = setup;
    this.direct = new DirectRoutes({ netlink, segment, table, tunnelMetric: metric, protocol, source }, mode);
  }

  /** A route that was removed from the kernel, and that should be there. */
  isMissed(route: KernelRoute): boolean {
    if (route.deviceIndex === this.#setup.deviceIndex) return this.#wanted.has(cidrKey(route.cidr));
    return route.protocol === this.#setup.protocol && this.direct.isMissed(route);
  }

  /** The kernel's answer to "which way" is a way of ours. */
  isOurWay({ deviceIndex, gateway }: RouteAnswer): boolean {
    return deviceIndex === this.#setup.deviceIndex || this.direct.isOurWay(deviceIndex, gateway);
  }

  /** Installs routes, or, before the first `reconcile`, only notes them: a predecessor's may be there already. */
  add(routes: readonly Pick<ForwardedRoute, 'cidr' | 'gateways'>[]): void {
    // A route whose gateways changed leads to the device as before.
    const fresh: Cidr[] = [];
    for (const { cidr } of routes) {
      if (this.#wanted.has(cidrKey(cidr))) continue;
      this.#wanted.add(cidrKey(cidr));
      fresh.push(cidr);
    }
    if (this.#isReconciled) this.#install(fresh);
    this.direct.set(routes);
  }

  remove(cidrs: readonly Cidr[]): void {
    this.direct.remove(cidrs);
    for (const cidr of cidrs) {
      this.#wanted.delete(cidrKey(cidr));
      this.#refused.delete(cidrKey(cidr));
    }
    for (let start = 0; start < cidrs.length; start += ROUTES_AT_ONCE) {
      const some = cidrs.slice(start, start + ROUTES_AT_ONCE);
      this.#setup.netlink.removeRoutes(some.map((cidr) => this.#row(cidr)));
    }
  }

  /**
   * Makes the kernel's tables hold exactly the wanted ones of our routes: adopts those that a predecessor left, removes those that nobody
   * wants any more, also from a table that was configured before, puts back what somebody else removed. Returns how many were changed.
   */
  reconcile(): number {
    const isFirst = !this.#isReconciled;
    this.#isReconciled = true;
    const { netlink, table, protocol, deviceIndex, metric, source } = this.#setup;
    const present = new Set<CidrKey>();
    const unwanted: RouteRow[] = [];
    const direct: KernelRoute[] = [];
    for (const route of netlink.routes({ protocol })) {
      if (isDirectRow(route, table, metric)) direct.push(route);
      // Another gateway with a device of its own may share the protocol number: its routes are not ours.
      if (route.deviceIndex !== deviceIndex) continue;
      const wantedSource = isCidr4(route.cidr) ? source : 0;
      const isAsWanted =
        route.table === table &&
        route.metric === shownMetric(route.cidr, metric) &&
        (route.source ?? 0) === wantedSource;
      if (isAsWanted && this.#wanted.has(cidrKey(route.cidr))) present.add(cidrKey(route.cidr));
      else
        unwanted.push({ cidr: route.cidr, deviceIndex, table: route.table, metric: route.metric, protocol });
    }
    const missing: Cidr[] = [];
    for (const key of this.#wanted) if (!present.has(key)) missing.push(cidrOfKey(key));
    if (unwanted.length > 0) netlink.removeRoutes(unwanted);
    this.#refused.clear();
    this.#install(missing);
    const changed = unwanted.length + missing.length - this.#refused.size;
    return changed + this.direct.reconcile(direct, isFirst);
  }

  /** Removes all of our routes. */
  clear(): void {
    this.direct.clear();
    this.#wanted.clear();
    this.#refused.clear();
    this.reconcile();
  }

  /** Some of what is wanted, to ask the kernel about. */
  sample(count: number): Cidr[] {
    const step = Math.max(1, Math.floor(this.#wanted.size / count));
    const sample: Cidr[] = [];
    let index = 0;
    for (const key of this.#wanted) {
      if (index++ % step === 0) sample.push(cidrOfKey(key));
      if (sample.length === count) break;
    }
    return sample;
  }

  /** Whether any route of IPv6 is wanted. */
  get hasIpv6(): boolean {
    for (const key of this.#wanted) if (typeof key === 'bigint') return true;
    return false;
  }

  /** No route of ours leads to the device though some should. */
  get isHopeless(): boolean {
    return this.#wanted.size > 0 && this.#refused.size === this.#wanted.size;
  }

  /** One sentence about the routes that the kernel would not take, or undefined. */
  get problem(): string | undefined {
    if (this.#refused.size === 0) return undefined;
    const shown = [...this.#refused]
      .slice(0, FAILURES_SHOWN)
      .map(([key, why]) => `${formatCidr(cidrOfKey(key))} (${why})`);
    const more =
      this.#refused.size > FAILURES_SHOWN ? ` and ${this.#refused.size - FAILURES_SHOWN} more` : '';
    return `the kernel refused routes: ${shown.join(', ')}${more}; packets for them do not reach the tunnel`;
  }

  #install(cidrs: readonly Cidr[]): void {
    for (let start = 0; start < cidrs.length; start += ROUTES_AT_ONCE) {
      this.#installSome(cidrs.slice(start, start + ROUTES_AT_ONCE));
    }
  }

  #installSome(cidrs: readonly Cidr[]): void {
    for (const cidr of cidrs) this.#refused.delete(cidrKey(cidr));
    if (cidrs.some((cidr) => !isCidr4(cidr))) this.#setup.onIpv6();
    for (const failure of this.#setup.netlink.addRoutes(cidrs.map((cidr) => this.#row(cidr)))) {
      const why =
        failure.errno === 'EEXIST'
          ? `a route with metric ${this.#setup.metric} is there already; change routes.metric`
          : failure.message;
      this.#refused.set(cidrKey(cidrs[failure.index]!), why);
    }
  }

  #row(cidr: Cidr): RouteRow {
    const { deviceIndex, table, metric, protocol, source } = this.#setup;
    return { cidr, deviceIndex, table, metric, protocol, source: isCidr4(cidr) ? source : 0 };
  }
}
