import { type Family, familyOf, formatAddress, type IpAddress } from '../base/address.ts';
import { parseAddress6 } from '../base/address6.ts';
import { GatewayError } from '../base/errors.ts';
import type { Netlink, RouteAnswer } from '../io/netlink.ts';

/** The network that carries our packets, as this host is attached to it. */
export interface Underlay {
  /** Source of the outer header. */
  readonly address: IpAddress;
  readonly deviceName: string;
  readonly deviceIndex: number;
  readonly mtuBytes: number;
}

export interface UnderlayWish {
  readonly address: 'auto' | IpAddress;
  readonly family: Family;
  readonly device: 'auto' | string;
  /** Gateways whose routes show what `auto` is: the first that the host has a way to. None known: the default route shows it. */
  readonly towards: readonly IpAddress[];
  /** Our TUN device: a route that leads into it says nothing about the underlay. */
  readonly tunnelDevice: string;
}

/** An address that is never reached and lies behind the default route of any host that has one (192.0.2.0/24, RFC 5737; 2001:db8::/32, RFC 3849). */
export const BEHIND_DEFAULT_ROUTE: Readonly<Record<Family, IpAddress>> = {
  ipv4: 0xc000_0201,
  ipv6: parseAddress6('2001:db8::1'),
};

/** Finds out source address, device and MTU. Throws ISTHMUS_ERR_KERNEL with what to configure when the host's routes do not tell. */
export function findUnderlay(netlink: Netlink, wish: UnderlayWish): Underlay {
  const links = netlink.links();
  const tunnelIndex = links.find((link) => link.name === wish.tunnelDevice)?.index;
  const address = wish.address === 'auto' ? sourceOfRoutes(netlink, wish, tunnelIndex) : wish.address;
  const holder = netlink.addresses().find((entry) => entry.address === address);
  if (holder === undefined) {
    throw new GatewayError(
      'ISTHMUS_ERR_KERNEL',
      `underlay.address ${formatAddress(address)} is on none of this host's devices; set underlay.address to one that is`,
    );
  }
  const link = links.find((candidate) =>
    wish.device === 'auto' ? candidate.index === holder.deviceIndex : candidate.name === wish.device,
  );
  if (link === undefined) {
    throw new GatewayError(
      'ISTHMUS_ERR_KERNEL',
      `underlay.device ${wish.device} is none of this host's devices: ${links.map((candidate) => candidate.name).join(', ')}`,
    );
  }
  return { address, deviceName: link.name, deviceIndex: link.index, mtuBytes: link.mtuBytes };
}

function sourceOfRoutes(netlink: Netlink, wish: UnderlayWish, tunnelIndex: number | undefined): IpAddress {
  for (const destination of askedOf(wish)) {
    const source = sourceOf(netlink.routeTo(destination), tunnelIndex);
    if (source !== undefined) return source;
  }
  const [gateway] = wish.towards;
  const what =
    gateway === undefined
      ? `this host has no default route${wish.family === 'ipv6' ? ' of IPv6' : ''}`
      : `this host has no route to gateway ${formatAddress(gateway)}`;
  throw new GatewayError(
    'ISTHMUS_ERR_KERNEL',
    `underlay.address is auto, but ${what}; set underlay.address to the address that remote gateways see`,
  );
}

/** What `auto` is looked for by. */
export function askedOf({ family, towards }: UnderlayWish): IpAddress[] {
  return [...towards.filter((address) => familyOf(address) === family), BEHIND_DEFAULT_ROUTE[family]];
}

function sourceOf(route: RouteAnswer | undefined, tunnelIndex: number | undefined): IpAddress | undefined {
  if (route === undefined || route.isLocal || route.deviceIndex === tunnelIndex) return undefined;
  return route.source;
}
