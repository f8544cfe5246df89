import {
  type Address,
  cidrKey,
  formatAddress,
  formatCidr,
  parseAddress,
  parseCidr,
} from '../../../src/base/address.ts';
import type { Underlay } from '../../../src/host/underlay.ts';
import type { Netlink, RouteAnswer, RouteFailure } from '../../../src/io/netlink.ts';
import type { Link } from '../../../src/io/netlink-link.ts';
import type { KernelRoute, RouteRow } from '../../../src/io/netlink-route.ts';

export const TUN = 7;
export const NIC = 3;
export const TABLE = 254;
export const METRIC = 100;
export const PROTOCOL = 73;

export const UNDERLAY: Underlay = {
  address: parseAddress('172.31.0.2'),
  deviceName: 'eth0',
  deviceIndex: NIC,
  mtuBytes: 1500,
};

/** The kernel's route table, links and addresses, as far as src/host can tell the difference. */
export class FakeKernel {
  rows: RouteRow[] = [];
  links: Link[] = [link(NIC, 'eth0'), link(TUN, 'isthmus0')];
  addresses = [{ deviceIndex: NIC, address: UNDERLAY.address, prefixLength: 24 }];
  /** How the host sends to an address; all others are behind the default route. */
  readonly ways = new Map<Address, RouteAnswer | undefined>();
  readonly asked: Address[] = [];
  /** Calls that change routes, in their order. */
  readonly calls: string[] = [];
  /** Routes that the kernel refuses with this errno. */
  readonly refuses = new Map<string, string>();
  defaultWay: RouteAnswer | undefined = {
    source: UNDERLAY.address,
    deviceIndex: NIC,
    gateway: parseAddress('172.31.0.1'),
    isLocal: false,
  };

  get netlink(): Netlink {
    return {
      links: () => this.links,
      addresses: () => this.addresses,
      routeTo: (address: Address) => this.#routeTo(address),
      routes: (filter: { table?: number; protocol?: number }) => this.#routes(filter),
      addRoutes: (rows: readonly RouteRow[]) => this.#change('add', rows),
      replaceRoutes: (rows: readonly RouteRow[]) => this.#change('replace', rows),
      removeRoutes: (rows: readonly RouteRow[]) => this.#remove(rows),
    } as unknown as Netlink;
  }

  /** The address is on the NIC's segment, or no longer. */
  place(address: string, isNear: boolean): void {
    const near = { source: UNDERLAY.address, deviceIndex: NIC, gateway: undefined, isLocal: false };
    this.ways.set(parseAddress(address), isNear ? near : this.defaultWay);
  }

  get cidrs(): string[] {
    return this.rows.map((row) => formatCidr(row.cidr)).sort();
  }

  /** `10.2.0.0/16 via 172.31.0.3` of the routes past the tunnel. */
  get direct(): string[] {
    return this.rows
      .filter((row) => row.gateway !== undefined || row.ways !== undefined)
      .map((row) => `${formatCidr(row.cidr)} via ${waysText(row)}`)
      .sort();
  }

  #routeTo(address: Address): RouteAnswer | undefined {
    this.asked.push(address);
    return this.ways.has(address) ? this.ways.get(address) : this.defaultWay;
  }

  #routes(filter: { table?: number; protocol?: number }): KernelRoute[] {
    return this.rows
      .filter((row) => (filter.table ?? row.table) === row.table && filter.protocol === row.protocol)
      .map(asKernelRoute);
  }

  #change(how: 'add' | 'replace', rows: readonly RouteRow[]): RouteFailure[] {
    const failures: RouteFailure[] = [];
    rows.forEach((row, index) => {
      this.calls.push(`${how} ${formatCidr(row.cidr)}`);
      const at = this.rows.findIndex((other) => isSamePlace(other, row));
      const refused = this.refuses.get(formatCidr(row.cidr));
      const isDirect = row.gateway !== undefined || row.ways !== undefined;
      if (refused !== undefined && isDirect) failures.push({ index, errno: refused, message: refused });
      else if (at >= 0 && how === 'add')
        failures.push({ index, errno: 'EEXIST', message: 'add route: EEXIST' });
      else this.rows.splice(at < 0 ? this.rows.length : at, at < 0 ? 0 : 1, row);
    });
    return failures;
  }

  #remove(rows: readonly RouteRow[]): RouteFailure[] {
    for (const row of rows) {
      this.calls.push(`remove ${formatCidr(row.cidr)}`);
      const at = this.rows.findIndex(
        (other) =>
          isSamePlace(other, row) &&
          other.protocol === row.protocol &&
          (row.deviceIndex === 0 || other.deviceIndex === row.deviceIndex),
      );
      if (at >= 0) this.rows.splice(at, 1);
    }
    return [];
  }
}

function isSamePlace(one: RouteRow, other: RouteRow): boolean {
  return (
    cidrKey(one.cidr) === cidrKey(other.cidr) && one.metric === other.metric && one.table === other.table
  );
}

function asKernelRoute(row: RouteRow): KernelRoute {
  const hop = { deviceIndex: row.deviceIndex, isViaIpv6: false };
  const hops = row.ways?.map((way) => ({ ...hop, ...way })) ?? [{ ...hop, gateway: row.gateway, weight: 1 }];
  return {
    ...{ cidr: row.cidr, table: row.table, metric: row.metric, protocol: row.protocol },
    ...{ type: 1, source: row.source === 0 ? undefined : row.source, nexthopId: 0, hops },
    deviceIndex: hops.length === 1 ? row.deviceIndex : 0,
    gateway: hops.length === 1 ? hops[0]!.gateway : undefined,
  };
}

function waysText(row: RouteRow): string {
  if (row.gateway !== undefined) return formatAddress(row.gateway);
  return row.ways!.map((way) => `${formatAddress(way.gateway)}*${way.weight}`).join(' ');
}

export function link(index: number, name: string, change: Partial<Link> = {}): Link {
  return {
    ...{ index, name, mtuBytes: 1500, txQueueLength: 1000, isUp: true, hasCarrier: true },
    ...{ isShared: index !== TUN, kind: '' },
    ...change,
  };
}

/** A route as the table gives it: `10.2.0.0/16` behind `172.31.0.3` or `172.31.0.3*5` with a weight. */
export function route(cidr: string, ...gateways: string[]) {
  return {
    cidr: parseCidr(cidr),
    cluster: 'west',
    gateways: gateways.map((text) => {
      const [address, weight] = text.split('*');
      return { address: parseAddress(address!), weight: Number(weight ?? 1) };
    }),
  };
}
