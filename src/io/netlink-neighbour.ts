import type { Address } from '../base/address.ts';
import { AF_INET } from './netlink-link.ts';
import { ROUTE_TYPE, RTM_ROUTE } from './netlink-route.ts';
import type { Request } from './netlink-socket.ts';
import { type Message, NLM_F } from './netlink-wire.ts';
import { MAC_BYTES } from './next-hop-table.ts';

/** linux/neighbour.h, linux/rtnetlink.h. */
export const RTM_NEIGHBOUR = { NEW: 28, DELETE: 29, GET: 30 } as const;

/** NUD_*: what the kernel thinks of an entry. */
export const NEIGHBOUR_STATE = {
  NONE: 0,
  INCOMPLETE: 0x01,
  REACHABLE: 0x02,
  STALE: 0x04,
  DELAY: 0x08,
  PROBE: 0x10,
  FAILED: 0x20,
  NOARP: 0x40,
  PERMANENT: 0x80,
} as const;

/** NUD_VALID: in these states the kernel itself sends to the link address that it has. */
const VALID_STATES =
  NEIGHBOUR_STATE.REACHABLE |
  NEIGHBOUR_STATE.STALE |
  NEIGHBOUR_STATE.DELAY |
  NEIGHBOUR_STATE.PROBE |
  NEIGHBOUR_STATE.NOARP |
  NEIGHBOUR_STATE.PERMANENT;

const NDA = { DESTINATION: 1, LINK_ADDRESS: 2 } as const;

/** NTF_USE: as if a packet had been sent to it. */
const FLAG_USE = 1;

/** struct ndmsg: family u8, three bytes of padding, device i32, state u16, flags u8, type u8. */
const NEIGHBOUR_FIXED_BYTES = 12;

const RTA = { DESTINATION: 1, SOURCE: 2, DEVICE: 4, GATEWAY: 5, VIA: 18, ENCAPSULATION_TYPE: 21 } as const;
const ROUTE_FIXED_BYTES = 12;

/** An entry of the kernel's ARP table. */
export interface Neighbour {
  readonly deviceIndex: number;
  readonly address: Address;
  /** NEIGHBOUR_STATE. */
  readonly state: number;
  /** Its link address where the kernel would send to it now and it is an Ethernet address, else undefined. A copy. */
  readonly mac: Uint8Array | undefined;
}

/** Where the kernel would hand a packet to a device. */
export interface Way {
  readonly deviceIndex: number;
  /** The gateway of the route, or the destination itself. */
  readonly nextHop: Address;
}

/** Undefined for other messages and other address families. An entry whose removal is told has no link address any more. */
export function readNeighbour(message: Message): Neighbour | undefined {
  if (message.type !== RTM_NEIGHBOUR.NEW && message.type !== RTM_NEIGHBOUR.DELETE) return undefined;
  const { reader, at } = message;
  const attributesAt = reader.fixed(message, NEIGHBOUR_FIXED_BYTES);
  if (reader.u8(at) !== AF_INET) return undefined;
  const isRemoved = message.type === RTM_NEIGHBOUR.DELETE;
  const state = isRemoved ? NEIGHBOUR_STATE.NONE : reader.u16(at + 8);
  let address: Address | undefined;
  let mac: Uint8Array | undefined;
  reader.attributes(attributesAt, message.end, (type, valueAt, length) => {
    if (type === NDA.DESTINATION && length >= 4) address = reader.address(valueAt);
    else if (type === NDA.LINK_ADDRESS && length === MAC_BYTES)
      mac = Uint8Array.from({ length: MAC_BYTES }, (_, i) => reader.u8(valueAt + i));
  });
  if (address === undefined) return undefined;
  return {
    deviceIndex: reader.i32(at + 4),
    address,
    state,
    mac: (state & VALID_STATES) !== 0 ? mac : undefined,
  };
}

/** Asks for one entry; ENOENT when there is none. Linux 5.0; older kernels answer EOPNOTSUPP. */
export function neighbourQuestion(deviceIndex: number, address: Address): Request {
  return {
    type: RTM_NEIGHBOUR.GET,
    flags: 0,
    fixedBytes: NEIGHBOUR_FIXED_BYTES,
    write(writer, fixed) {
      writer.u8(fixed, AF_INET);
      writer.u32(fixed + 4, deviceIndex);
      writer.attributeAddress(NDA.DESTINATION, address);
    },
  };
}

/**
 * Has the kernel resolve the entry, making it when there is none, or confirm one that is stale. Not for PERMANENT entries: since Linux
 * 5.16 they would lose that state (NEIGH_UPDATE_F_USE in net/core/neighbour.c).
 */
export function neighbourUse(deviceIndex: number, address: Address): Request {
  return {
    type: RTM_NEIGHBOUR.NEW,
    flags: NLM_F.CREATE,
    fixedBytes: NEIGHBOUR_FIXED_BYTES,
    write(writer, fixed) {
      writer.u8(fixed, AF_INET);
      writer.u32(fixed + 4, deviceIndex);
      writer.u8(fixed + 10, FLAG_USE);
      writer.attributeAddress(NDA.DESTINATION, address);
    },
  };
}

/** Asks for the route that a packet from `source` to `destination` takes, rules by source included. */
export function wayQuestion(destination: Address, source: Address): Request {
  return {
    type: RTM_ROUTE.GET,
    flags: 0,
    fixedBytes: ROUTE_FIXED_BYTES,
    write(writer, fixed) {
      writer.u8(fixed, AF_INET);
      writer.u8(fixed + 1, 32);
      writer.attributeAddress(RTA.DESTINATION, destination);
      if (source === 0) return;
      writer.u8(fixed + 2, 32);
      writer.attributeAddress(RTA.SOURCE, source);
    },
  };
}

/**
 * The answer to wayQuestion. Undefined where only the kernel can go that way: to ourselves, a next hop that is an IPv6 address, a
 * route that encapsulates (MPLS, segment routing, `encap`), and routes that refuse.
 */
export function readWay(message: Message, destination: Address): Way | undefined {
  if (message.type !== RTM_ROUTE.NEW) return undefined;
  const { reader, at } = message;
  const attributesAt = reader.fixed(message, ROUTE_FIXED_BYTES);
  if (reader.u8(at) !== AF_INET || reader.u8(at + 7) !== ROUTE_TYPE.UNICAST) return undefined;
  const way = { deviceIndex: 0, nextHop: destination };
  let isPlain = true;
  reader.attributes(attributesAt, message.end, (type, valueAt, length) => {
    if (type === RTA.DEVICE && length >= 4) way.deviceIndex = reader.i32(valueAt);
    else if (type === RTA.GATEWAY && length >= 4) way.nextHop = reader.address(valueAt);
    else if (type === RTA.VIA || type === RTA.ENCAPSULATION_TYPE) isPlain = false;
  });
  return isPlain && way.deviceIndex > 0 ? way : undefined;
}
