import type { Address, IpAddress } from '../base/address.ts';
import type { Request } from './netlink-socket.ts';
import { type Message, NLM_F } from './netlink-wire.ts';

/** linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h. */
export const RTM_LINK = { NEW: 16, DELETE: 17, GET: 18 } as const;
export const RTM_ADDRESS = { NEW: 20, DELETE: 21, GET: 22 } as const;
const IFLA = {
  NAME: 3,
  MTU: 4,
  TX_QUEUE_LENGTH: 13,
  OPERATIONAL_STATE: 16,
  LINK_INFO: 18,
  CARRIER: 33,
} as const;
const IFLA_INFO_KIND = 1;
const IFA = { ADDRESS: 1, LOCAL: 2 } as const;
const IFF_UP = 1;
const IFF_BROADCAST = 2;
const IFF_NOARP = 0x80;
const LINK_FIXED_BYTES = 16;
const ADDRESS_FIXED_BYTES = 8;
export const AF_INET = 2;
export const AF_INET6 = 10;

/** Where an address holds (rtnetlink(7)): nobody is ever sent to with a source of scope HOST. */
export const ADDRESS_SCOPE = { UNIVERSE: 0, HOST: 254 } as const;

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly mtuBytes: number;
  readonly txQueueLength: number;
  /** Switched on by the administrator. */
  readonly isUp: boolean;
  /** Somebody is at the other end of the wire; for a TUN device, a process holds it open. */
  readonly hasCarrier: boolean;
  /** A segment that many hosts share, who find each other by ARP: Ethernet and its like, no point-to-point link. */
  readonly isShared: boolean;
  /** As `tun`, `veth`, `vxlan`; '' for hardware. */
  readonly kind: string;
}

/** What `setLink` changes; what is absent stays. */
export interface LinkChange {
  readonly up?: boolean;
  readonly mtuBytes?: number;
  readonly txQueueLength?: number;
}

export interface DeviceAddress {
  readonly deviceIndex: number;
  readonly address: IpAddress;
  readonly prefixLength: number;
}

/** An address to add. */
export interface AddressRow {
  readonly address: Address;
  readonly prefixLength: number;
  /** ADDRESS_SCOPE; UNIVERSE when absent. */
  readonly scope?: number;
}

/** Reads an `ifinfomsg` with its attributes (rtnetlink(7)); undefined for a message of another type. `mtuBytes` and the like are 0 where the kernel sent none. */
export function readLink(message: Message): Link | undefined {
  if (message.type !== RTM_LINK.NEW && message.type !== RTM_LINK.DELETE) return undefined;
  const { reader, at } = message;
  const attributesAt = reader.fixed(message, LINK_FIXED_BYTES);
  const flags = reader.u32(at + 8);
  const link = {
    index: reader.i32(at + 4),
    name: '',
    mtuBytes: 0,
    txQueueLength: 0,
    isUp: (flags & IFF_UP) !== 0,
    hasCarrier: false,
    isShared: (flags & (IFF_BROADCAST | IFF_NOARP)) === IFF_BROADCAST,
    kind: '',
  };
  reader.attributes(attributesAt, message.end, (type, valueAt, length) => {
    if (type === IFLA.NAME) link.name = reader.text(valueAt, length);
    else if (type === IFLA.MTU && length >= 4) link.mtuBytes = reader.u32(valueAt);
    else if (type === IFLA.TX_QUEUE_LENGTH && length >= 4) link.txQueueLength = reader.u32(valueAt);
    else if (type === IFLA.CARRIER && length >= 1) link.hasCarrier = reader.u8(valueAt) !== 0;
    else if (type === IFLA.LINK_INFO) {
      reader.attributes(valueAt, valueAt + length, (inner, innerAt, innerLength) => {
        if (inner === IFLA_INFO_KIND) link.kind = reader.text(innerAt, innerLength);
      });
    }
  });
  return link;
}

/** An IPv6 address that nobody can use (yet): IFA_F_DADFAILED, IFA_F_TENTATIVE. */
const IFA_F_UNUSABLE = 0x08 | 0x40;

/**
 * Reads an `ifaddrmsg`; undefined for another type of message, another family, and one without address. Of IPv6 only addresses of global
 * scope: a link-local one comes with each device, and no gateway has it.
 */
export function readAddress(message: Message): DeviceAddress | undefined {
  if (message.type !== RTM_ADDRESS.NEW && message.type !== RTM_ADDRESS.DELETE) return undefined;
  const { reader, at } = message;
  const attributesAt = reader.fixed(message, ADDRESS_FIXED_BYTES);
  const family = reader.u8(at);
  if (family === AF_INET6 && reader.u8(at + 3) !== ADDRESS_SCOPE.UNIVERSE) return undefined;
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  // While it is tried out it is not ours; a notice that it is gone counts all the same.
  const isUnusable = (reader.u8(at + 2) & IFA_F_UNUSABLE) !== 0;
  if (family === AF_INET6 && isUnusable && message.type === RTM_ADDRESS.NEW) return undefined;
  const bytes = family === AF_INET ? 4 : 16;
  const read = (valueAt: number): IpAddress =>
    family === AF_INET ? reader.address(valueAt) : reader.address6(valueAt);
  let address: IpAddress | undefined;
  let peer: IpAddress | undefined;
  reader.attributes(attributesAt, message.end, (type, valueAt, length) => {
    // On a point-to-point link IFA_ADDRESS is the far end; ours is IFA_LOCAL.
    if (type === IFA.LOCAL && length >= bytes) address = read(valueAt);
    else if (type === IFA.ADDRESS && length >= bytes) peer = read(valueAt);
  });
  const own = address ?? peer;
  if (own === undefined) return undefined;
  return { deviceIndex: reader.u32(at + 4), address: own, prefixLength: reader.u8(at + 1) };
}

/** Asks for all devices. */
export function linkDump(): Request {
  return { type: RTM_LINK.GET, flags: 0, fixedBytes: LINK_FIXED_BYTES, write: () => {} };
}

/** Changes what `change` names of the device with this index and leaves the rest. */
export function linkChange(index: number, change: LinkChange): Request {
  return {
    type: RTM_LINK.NEW,
    flags: 0,
    fixedBytes: LINK_FIXED_BYTES,
    write(writer, fixed) {
      writer.u32(fixed + 4, index);
      if (change.up !== undefined) {
        writer.u32(fixed + 8, change.up ? IFF_UP : 0);
        writer.u32(fixed + 12, IFF_UP);
      }
      if (change.mtuBytes !== undefined) writer.attributeU32(IFLA.MTU, change.mtuBytes);
      if (change.txQueueLength !== undefined) writer.attributeU32(IFLA.TX_QUEUE_LENGTH, change.txQueueLength);
    },
  };
}

/** Removes the device with this index. */
export function linkRemoval(index: number): Request {
  return {
    type: RTM_LINK.DELETE,
    flags: 0,
    fixedBytes: LINK_FIXED_BYTES,
    write: (writer, fixed) => writer.u32(fixed + 4, index),
  };
}

/** Asks for all addresses of a family, AF_INET or AF_INET6, of all devices. */
export function addressDump(family: number): Request {
  return {
    type: RTM_ADDRESS.GET,
    flags: 0,
    fixedBytes: ADDRESS_FIXED_BYTES,
    write: (writer, fixed) => writer.u8(fixed, family),
  };
}

/** `add` of an address that is there already succeeds. */
export function addressRequest(action: 'add' | 'remove', deviceIndex: number, entry: AddressRow): Request {
  return {
    type: action === 'add' ? RTM_ADDRESS.NEW : RTM_ADDRESS.DELETE,
    flags: action === 'add' ? NLM_F.CREATE | NLM_F.REPLACE : 0,
    fixedBytes: ADDRESS_FIXED_BYTES,
    write(writer, fixed) {
      writer.u8(fixed, AF_INET);
      writer.u8(fixed + 1, entry.prefixLength);
      writer.u8(fixed + 3, entry.scope ?? ADDRESS_SCOPE.UNIVERSE);
      writer.u32(fixed + 4, deviceIndex);
      writer.attributeAddress(IFA.LOCAL, entry.address);
      writer.attributeAddress(IFA.ADDRESS, entry.address);
    },
  };
}
