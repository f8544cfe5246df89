import { type Address, formatAddress, formatCidr, type IpAddress } from '../base/address.ts';
import { IoError } from '../base/errors.ts';
import type { Native } from './native.ts';
import {
  type AddressRow,
  AF_INET,
  AF_INET6,
  addressDump,
  addressRequest,
  type DeviceAddress,
  type Link,
  type LinkChange,
  linkChange,
  linkDump,
  linkRemoval,
  readAddress,
  readLink,
} from './netlink-link.ts';
import {
  type Neighbour,
  neighbourQuestion,
  neighbourUse,
  readNeighbour,
  readWay,
  type Way,
  wayQuestion,
} from './netlink-neighbour.ts';
import {
  afOf,
  type KernelRoute,
  ROUTE_TYPE,
  type RouteFilter,
  type RouteRow,
  readRoute,
  routeDump,
  routeQuestion,
  routeRequest,
} from './netlink-route.ts';
import { NetlinkSocket } from './netlink-socket.ts';

/** Why the kernel did not change one route of many. */
export interface RouteFailure {
  /** Of the row that was given. */
  readonly index: number;
  /** As `EEXIST`. */
  readonly errno: string;
  /** Names the route, the errno and what the kernel says about it. */
  readonly message: string;
}

/** How this host would send to an address. */
export interface RouteAnswer {
  readonly source: IpAddress | undefined;
  readonly deviceIndex: number;
  /** Undefined: the destination is on the device's own link. */
  readonly gateway: Address | undefined;
  /** The destination is one of our own addresses. */
  readonly isLocal: boolean;
}

/** What routeTo answers with when the kernel has no way: unreachable, prohibit and blackhole routes answer differently. */
const NO_ROUTE: ReadonlySet<string> = new Set(['ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL']);

const NO_NEIGHBOUR: ReadonlySet<string> = new Set(['ENOENT', 'ENODEV', 'EOPNOTSUPP']);

/** Links, addresses, routes and neighbours of this network namespace. Every method is one synchronous exchange and throws IoError. */
export class Netlink {
  readonly #socket: NetlinkSocket;

  constructor(native: Native) {
    this.#socket = new NetlinkSocket(native);
  }

  links(): Link[] {
    return this.#socket.dump(linkDump(), 'links', readLink);
  }

  setLink(index: number, change: LinkChange): void {
    this.#socket.request(linkChange(index, change), `link ${index}`);
  }

  deleteLink(index: number): void {
    this.#socket.request(linkRemoval(index), `link ${index}`);
  }

  /** Those that others can send to: IPv4 first, then IPv6 of global scope. */
  addresses(): DeviceAddress[] {
    const ipv4 = this.#socket.dump(addressDump(AF_INET), 'addresses', readAddress);
    try {
      // A kernel without IPv6 answers with the addresses of all families that it has.
      const all = this.#socket.dump(addressDump(AF_INET6), 'addresses', readAddress);
      return [...ipv4, ...all.filter(({ address }) => typeof address === 'bigint')];
    } catch (error) {
      if (error instanceof IoError && error.errno === 'EOPNOTSUPP') return ipv4;
      throw error;
    }
  }

  /** An address that is there already is no error. */
  addAddress(deviceIndex: number, entry: AddressRow): void {
    const subject = `${formatAddress(entry.address)}/${entry.prefixLength} on link ${deviceIndex}`;
    this.#socket.request(addressRequest('add', deviceIndex, entry), subject);
  }

  removeAddress(deviceIndex: number, entry: AddressRow): void {
    const subject = `${formatAddress(entry.address)}/${entry.prefixLength} on link ${deviceIndex}`;
    this.#socket.request(addressRequest('remove', deviceIndex, entry), subject);
  }

  /** Routes of all tables, or of those that the filter names: IPv4 first, then IPv6. */
  routes(filter: RouteFilter = {}): KernelRoute[] {
    return [...this.#routesOf(AF_INET, filter), ...this.#routesOf(AF_INET6, filter)];
  }

  #routesOf(family: number, filter: RouteFilter): KernelRoute[] {
    try {
      return this.#socket.dump(routeDump(family, filter), 'routes', (message) => {
        const route = readRoute(message);
        // A kernel without IPv6 answers with the routes of all families that it has.
        if (route === undefined || afOf(route.cidr.address) !== family) return undefined;
        if (filter.table !== undefined && route.table !== filter.table) return undefined;
        if (filter.protocol !== undefined && route.protocol !== filter.protocol) return undefined;
        return route;
      });
    } catch (error) {
      // A table that never held a route does not exist.
      if (filter.table !== undefined && error instanceof IoError && error.errno === 'ENOENT') return [];
      if (family === AF_INET6 && error instanceof IoError && error.errno === 'EOPNOTSUPP') return [];
      throw error;
    }
  }

  /** Undefined when there is no route. */
  routeTo(destination: IpAddress): RouteAnswer | undefined {
    let route: KernelRoute | undefined;
    try {
      this.#socket.request(
        routeQuestion(destination),
        `route to ${formatAddress(destination)}`,
        (message) => {
          route ??= readRoute(message);
        },
      );
    } catch (error) {
      if (error instanceof IoError && NO_ROUTE.has(error.errno)) return undefined;
      throw error;
    }
    if (route === undefined) return undefined;
    const { source, deviceIndex, gateway } = route;
    return { source, deviceIndex, gateway, isLocal: route.type === ROUTE_TYPE.LOCAL };
  }

  /** Which device and next hop a packet from `source` (0: whichever) would leave by; undefined without a route, and as `readWay`. */
  wayTo(destination: Address, source: Address): Way | undefined {
    let way: Way | undefined;
    try {
      const subject = `route to ${formatAddress(destination)}`;
      this.#socket.request(wayQuestion(destination, source), subject, (message) => {
        way ??= readWay(message, destination);
      });
    } catch (error) {
      if (error instanceof IoError && NO_ROUTE.has(error.errno)) return undefined;
      throw error;
    }
    return way;
  }

  /** An entry of the ARP table; undefined when there is none, and on kernels before 5.0, which answer no such question. */
  neighbour(deviceIndex: number, address: Address): Neighbour | undefined {
    let found: Neighbour | undefined;
    const subject = `neighbour ${formatAddress(address)} on link ${deviceIndex}`;
    try {
      this.#socket.request(neighbourQuestion(deviceIndex, address), subject, (message) => {
        found ??= readNeighbour(message);
      });
    } catch (error) {
      if (error instanceof IoError && NO_NEIGHBOUR.has(error.errno)) return undefined;
      throw error;
    }
    return found;
  }

  /** Has the kernel resolve or confirm a neighbour, as a packet to it would. Returns at once. Not for PERMANENT entries. */
  useNeighbour(deviceIndex: number, address: Address): void {
    const subject = `neighbour ${formatAddress(address)} on link ${deviceIndex}`;
    this.#socket.request(neighbourUse(deviceIndex, address), subject);
  }

  /** Adds routes; one that is there already (same prefix, table, metric) fails with EEXIST. Returns the failures. */
  addRoutes(rows: readonly RouteRow[]): RouteFailure[] {
    return this.#changeRoutes('add', rows);
  }

  /** Adds routes, or puts them in the place of the one with the same prefix, table and metric, whoever made it. */
  replaceRoutes(rows: readonly RouteRow[]): RouteFailure[] {
    return this.#changeRoutes('replace', rows);
  }

  /** Removes routes, only such as carry the row's protocol. One that is not there fails with ESRCH. */
  removeRoutes(rows: readonly RouteRow[]): RouteFailure[] {
    return this.#changeRoutes('remove', rows);
  }

  #changeRoutes(action: 'add' | 'replace' | 'remove', rows: readonly RouteRow[]): RouteFailure[] {
    const requests = {
      *[Symbol.iterator]() {
        for (const row of rows) yield routeRequest(action, row);
      },
    };
    return this.#socket.batch(requests, 'routes').map(({ index, errno, text }) => {
      const row = rows[index] as RouteRow;
      const words = text === '' ? '' : `; ${text}`;
      return { index, errno, message: `${action} route ${formatCidr(row.cidr)}: ${errno}${words}` };
    });
  }

  close(): void {
    this.#socket.close();
  }
}
