import { type Address, formatAddress } from '../base/address.ts';
import { GatewayError } from '../base/errors.ts';
import type { Netlink } from '../io/netlink.ts';

/** The network that carries our packets, as this host is attached to it. */
export interface Underlay {
  /** Source of the outer header. */
  readonly address: Address;
  readonly deviceName: string;
  readonly deviceIndex: number;
  readonly mtuBytes: number;
}

export interface UnderlayWish {
  readonly address: 'auto' | Address;
  readonly device: 'auto' | string;
  /** A gateway whose route shows what `auto` is; undefined when none is known yet, and then the default route shows it. */
  readonly towards: Address | undefined;
}

/** An address that is never reached and lies behind the default route of any host that has one (192.0.2.0/24, RFC 5737). */
const BEHIND_DEFAULT_ROUTE = 0xc000_0201;

/** Finds out source address, device and MTU. Throws ISTHMUS_ERR_KERNEL with what to configure when the host's routes do not tell. */
export function findUnderlay(netlink: Netlink, wish: UnderlayWish): Underlay {
  const address = wish.address === 'auto' ? sourceOfRoute(netlink, wish.towards) : wish.address;
  const holder = netlink.addresses().find((entry) => entry.address === address);
  if (holder === undefined) {
    throw new GatewayError(
      'ISTHMUS_ERR_KERNEL',
      `underlay.address ${formatAddress(address)} is on none of this host's devices; set underlay.address to one that is`,
    );
  }
  const links = netlink.links();
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

function sourceOfRoute(netlink: Netlink, towards: Address | undefined): Address {
  const destination = towards ?? BEHIND_DEFAULT_ROUTE;
  const route = netlink.routeTo(destination);
  if (route === undefined || route.source === undefined) {
    const what =
      towards === undefined
        ? 'this host has no default route'
        : `this host has no route to gateway ${formatAddress(towards)}`;
    throw new GatewayError(
      'ISTHMUS_ERR_KERNEL',
      `underlay.address is auto, but ${what}; set underlay.address to the address that remote gateways see`,
    );
  }
  return route.source;
}
