import { GatewayError, IoError } from '../base/errors.ts';
import { errnoName } from './errno.ts';
import type { Native } from './native.ts';
import {
  type DeviceAddress,
  type Link,
  RTM_ADDRESS,
  RTM_LINK,
  readAddress,
  readLink,
} from './netlink-link.ts';
import { type Neighbour, RTM_NEIGHBOUR, readNeighbour } from './netlink-neighbour.ts';
import { type KernelRoute, RTM_ROUTE, readRoute, routeProtocol } from './netlink-route.ts';
import { type Message, MessageReader } from './netlink-wire.ts';

/** RTMGRP_* of linux/rtnetlink.h; the last is the bit of RTNLGRP_NEXTHOP. */
export const NOTICE_GROUP = {
  LINKS: 1,
  NEIGHBOURS: 4,
  ADDRESSES: 0x10,
  ADDRESSES6: 0x100,
  ROUTES: 0x40,
  RULES: 0x80,
  ROUTES6: 0x400,
  NEXTHOPS: 0x8000_0000,
} as const;

/** What leads packets otherwise than before without a route's being another: `ip rule`, and nexthop objects. */
const RTM_POLICY: ReadonlySet<number> = new Set([32, 33, 104, 105]);

export type KernelNotice =
  | { readonly kind: 'link'; readonly isRemoved: boolean; readonly link: Link }
  | { readonly kind: 'address'; readonly isRemoved: boolean; readonly address: DeviceAddress }
  | { readonly kind: 'route'; readonly isRemoved: boolean; readonly route: KernelRoute }
  | { readonly kind: 'neighbour'; readonly neighbour: Neighbour }
  /** Routing rules or nexthop objects are others now: any route may be. */
  | { readonly kind: 'policy' }
  /** Notices were lost, since they came faster than they were read: read everything again. */
  | { readonly kind: 'resync'; readonly reason: string };

const RECEIVE_BUFFER_BYTES = 8 << 20;
const NOTICE_BYTES = 64 * 1024;

/** Datagrams read before the event loop gets its turn; the watcher is level-triggered and calls again. */
const DATAGRAMS_IN_A_ROW = 256;

/** Changes of links, addresses, routes, neighbours and rules, as the kernel announces them, until `close`. Keeps the event loop alive. */
export class NetlinkSubscription {
  readonly #native: Native;
  readonly #listener: (notice: KernelNotice) => void;
  readonly #bytes = new Uint8Array(NOTICE_BYTES);
  readonly #watcher: object;
  readonly #fd: number;
  /** New routes of this routing protocol are not even read; -1: all are. */
  readonly #passesOver: number;
  #closed = false;

  /**
   * `groups`: NOTICE_GROUP bits. Subscribe first, then read the whole, so that no change falls between. New routes of routing protocol
   * `passOver` are not told: who installs 100,000 of them need not read each again. Throws IoError.
   */
  constructor(native: Native, groups: number, listener: (notice: KernelNotice) => void, passOver = -1) {
    this.#native = native;
    this.#passesOver = passOver;
    this.#listener = listener;
    this.#fd = native.netlinkOpen(groups, RECEIVE_BUFFER_BYTES);
    if (this.#fd < 0) throw new IoError('socket', errnoName(this.#fd), 'netlink');
    try {
      this.#watcher = native.watch(this.#fd, () => this.#read());
    } catch (error) {
      native.close(this.#fd);
      throw error;
    }
  }

  #read(): void {
    for (let turn = 0; turn < DATAGRAMS_IN_A_ROW && !this.#closed; turn++) {
      const length = this.#native.netlinkReceive(this.#fd, this.#bytes);
      if (length === 0) return;
      if (length < 0) this.#listener({ kind: 'resync', reason: errnoName(length) });
      else this.#deliver(length);
    }
  }

  #deliver(length: number): void {
    const notices: KernelNotice[] = [];
    try {
      for (const message of new MessageReader(this.#bytes, length).messages()) {
        if (isNewRouteOf(message, this.#passesOver)) continue;
        const notice = readNotice(message);
        if (notice !== undefined) notices.push(notice);
      }
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      notices.push({ kind: 'resync', reason: error.message });
    }
    for (const notice of notices) if (!this.#closed) this.#listener(notice);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#native.unwatch(this.#watcher);
    this.#native.close(this.#fd);
  }
}

/** Undefined for what is none of these, for neighbours of IPv6, and for addresses that `Netlink.addresses` would not tell. */
export function readNotice(message: Message): KernelNotice | undefined {
  switch (message.type) {
    case RTM_LINK.NEW:
    case RTM_LINK.DELETE: {
      const link = readLink(message);
      return link && { kind: 'link', isRemoved: message.type === RTM_LINK.DELETE, link };
    }
    case RTM_ADDRESS.NEW:
    case RTM_ADDRESS.DELETE: {
      const address = readAddress(message);
      return address && { kind: 'address', isRemoved: message.type === RTM_ADDRESS.DELETE, address };
    }
    case RTM_ROUTE.NEW:
    case RTM_ROUTE.DELETE: {
      const route = readRoute(message);
      return route && { kind: 'route', isRemoved: message.type === RTM_ROUTE.DELETE, route };
    }
    case RTM_NEIGHBOUR.NEW:
    case RTM_NEIGHBOUR.DELETE: {
      const neighbour = readNeighbour(message);
      return neighbour && { kind: 'neighbour', neighbour };
    }
    default:
      return RTM_POLICY.has(message.type) ? { kind: 'policy' } : undefined;
  }
}

function isNewRouteOf(message: Message, protocol: number): boolean {
  return protocol >= 0 && message.type === RTM_ROUTE.NEW && routeProtocol(message) === protocol;
}
