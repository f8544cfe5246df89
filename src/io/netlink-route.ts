import { type Address, addressBits, type Cidr, type IpAddress, networkOf } from '../base/address.ts';
import { GATEWAYS_MAX } from '../base/limits.ts';
import { AF_INET, AF_INET6 } from './netlink-link.ts';
import type { Request } from './netlink-socket.ts';
import { type Message, type MessageReader, type MessageWriter, malformed, NLM_F } from './netlink-wire.ts';

/** linux/rtnetlink.h. */
export const RTM_ROUTE = { NEW: 24, DELETE: 25, GET: 26 } as const;
export const ROUTE_TYPE = {
  ANY: 0,
  UNICAST: 1,
  LOCAL: 2,
  BROADCAST: 3,
  BLACKHOLE: 6,
  UNREACHABLE: 7,
  PROHIBIT: 8,
} as const;
const RTA = {
  DESTINATION: 1,
  DEVICE: 4,
  GATEWAY: 5,
  PRIORITY: 6,
  PREFERRED_SOURCE: 7,
  MULTIPATH: 9,
  TABLE: 15,
  VIA: 18,
  NEXTHOP_ID: 30,
} as const;
const FIXED_BYTES = 12;
const HOP_FIXED_BYTES = 8;
const SCOPE = { UNIVERSE: 0, LINK: 253, NOWHERE: 255 } as const;

/** A way that a route's packets may take. */
export interface Hop {
  readonly deviceIndex: number;
  /** Undefined: the destination itself is on the device's link, or `isViaIpv6`. */
  readonly gateway: Address | undefined;
  /** The gateway is an IPv6 address (of an IPv4 route by RFC 5549), which this does not carry. */
  readonly isViaIpv6: boolean;
  /** 1 to 256: its share among the hops. */
  readonly weight: number;
}

/** A route of the kernel, of either family. */
export interface KernelRoute {
  readonly cidr: Cidr;
  readonly table: number;
  /** Who made it: 2 kernel, 3 boot, 4 static, 12 BIRD, 186 BGP of FRR, 73 ours; names in /etc/iproute2/rt_protos. */
  readonly protocol: number;
  readonly metric: number;
  /** ROUTE_TYPE. */
  readonly type: number;
  /** Preferred source of what this host itself sends. */
  readonly source: IpAddress | undefined;
  /** Of the only hop; 0 and undefined when there are none or several. */
  readonly deviceIndex: number;
  readonly gateway: Address | undefined;
  /** Empty for a route without any, as `blackhole`, and for one that only names a nexthop object. */
  readonly hops: readonly Hop[];
  /** Nexthop object that the route names (FRR's do), 0 for none. */
  readonly nexthopId: number;
}

/** Most ways of a route that is written: as many as a route of ours has gateways. */
export const HOPS_MAX = GATEWAYS_MAX;

/** struct rtnexthop keeps weight - 1 in a byte. */
export const HOP_WEIGHT_MAX = 256;

/** One of several ways of a route that is written. */
export interface RowWay {
  readonly gateway: Address;
  /** 1 to HOP_WEIGHT_MAX. */
  readonly weight: number;
}

/** A route to add, replace or remove. */
export interface RouteRow {
  readonly cidr: Cidr;
  readonly deviceIndex: number;
  readonly gateway?: Address | undefined;
  /** Two to HOPS_MAX ways over `deviceIndex`, instead of `gateway`. */
  readonly ways?: readonly RowWay[] | undefined;
  readonly table: number;
  readonly metric: number;
  readonly protocol: number;
  /** 0 or absent: the kernel chooses. */
  readonly source?: IpAddress | undefined;
  /** ROUTE_TYPE; UNICAST when absent. */
  readonly type?: number;
}

/** What the kernel makes of metric 0 in a route of IPv6 (IP6_RT_PRIO_USER of net/ipv6.h). */
const METRIC_UNSAID_6 = 1024;

/** The metric that the kernel shows for a route that was written with `metric`. */
export function shownMetric(cidr: Cidr, metric: number): number {
  return metric === 0 && typeof cidr.address === 'bigint' ? METRIC_UNSAID_6 : metric;
}

export interface RouteFilter {
  readonly table?: number;
  readonly protocol?: number;
}

/** Of a message about a route, without reading the rest of it. */
export function routeProtocol(message: Message): number {
  message.reader.fixed(message, FIXED_BYTES);
  return message.reader.u8(message.at + 5);
}

/** Undefined for other messages and other address families. Unknown attributes are passed over. */
export function readRoute(message: Message): KernelRoute | undefined {
  if (message.type !== RTM_ROUTE.NEW && message.type !== RTM_ROUTE.DELETE) return undefined;
  const { reader, at } = message;
  const attributesAt = reader.fixed(message, FIXED_BYTES);
  const family = reader.u8(at);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const prefixLength = reader.u8(at + 1);
  if (prefixLength > (family === AF_INET ? 32 : 128))
    throw malformed(`a route with prefix length ${prefixLength}`);
  const nowhere: IpAddress = family === AF_INET ? 0 : 0n;
  const draft = { destination: nowhere as IpAddress, table: reader.u8(at + 4), metric: 0, nexthopId: 0 };
  const hop = { deviceIndex: 0, gateway: undefined as Address | undefined, isViaIpv6: false, weight: 1 };
  let source: IpAddress | undefined;
  let hops: Hop[] | undefined;
  reader.attributes(attributesAt, message.end, (type, valueAt, length) => {
    if (type === RTA.MULTIPATH) hops = readHops(reader, valueAt, valueAt + length);
    else if (length < 4) return;
    else if (type === RTA.DESTINATION)
      draft.destination = family === AF_INET ? reader.address(valueAt) : reader.address6(valueAt);
    else if (type === RTA.PREFERRED_SOURCE)
      source = family === AF_INET ? reader.address(valueAt) : reader.address6(valueAt);
    else if (type === RTA.PRIORITY) draft.metric = reader.u32(valueAt);
    else if (type === RTA.TABLE) draft.table = reader.u32(valueAt);
    else if (type === RTA.NEXTHOP_ID) draft.nexthopId = reader.u32(valueAt);
    else readHopAttribute(reader, type, valueAt, length, hop);
  });
  if (hops === undefined) {
    const isWay = hop.deviceIndex !== 0 || hop.gateway !== undefined || hop.isViaIpv6;
    hops = isWay ? [{ ...hop }] : [];
  }
  const only = hops.length === 1 ? hops[0] : undefined;
  return {
    cidr: networkOf(draft.destination, prefixLength),
    table: draft.table,
    protocol: reader.u8(at + 5),
    metric: draft.metric,
    type: reader.u8(at + 7),
    source,
    deviceIndex: only?.deviceIndex ?? 0,
    gateway: only?.gateway,
    hops,
    nexthopId: draft.nexthopId,
  };
}

interface HopDraft {
  deviceIndex: number;
  gateway: Address | undefined;
  isViaIpv6: boolean;
}

/** `length` is at least four bytes; a gateway of sixteen is that of an IPv6 route. */
function readHopAttribute(
  reader: MessageReader,
  type: number,
  valueAt: number,
  length: number,
  hop: HopDraft,
): void {
  if (type === RTA.DEVICE) hop.deviceIndex = reader.u32(valueAt);
  else if (type === RTA.GATEWAY && length === 4) hop.gateway = reader.address(valueAt);
  else if (type === RTA.GATEWAY) hop.isViaIpv6 = true;
  else if (type === RTA.VIA) hop.isViaIpv6 = reader.u16(valueAt) !== AF_INET;
}

/** struct rtnexthop: length u16, flags u8, weight - 1 u8, device i32, attributes. */
function readHops(reader: MessageReader, at: number, end: number): Hop[] {
  const hops: Hop[] = [];
  for (let next = at; next + HOP_FIXED_BYTES <= end; ) {
    const length = reader.u16(next);
    if (length < HOP_FIXED_BYTES || next + length > end) throw malformed(`a next hop of ${length} bytes`);
    const hop: HopDraft = { deviceIndex: reader.i32(next + 4), gateway: undefined, isViaIpv6: false };
    reader.attributes(next + HOP_FIXED_BYTES, next + length, (type, valueAt, valueLength) => {
      if (valueLength >= 4) readHopAttribute(reader, type, valueAt, valueLength, hop);
    });
    hops.push({ ...hop, weight: reader.u8(next + 3) + 1 });
    next += (length + 3) & ~3;
  }
  return hops;
}

/** The kernel filters where it can (4.20, NETLINK_GET_STRICT_CHK); older ones send everything, so the reader checks again. */
export function routeDump(family: number, filter: RouteFilter): Request {
  return {
    type: RTM_ROUTE.GET,
    flags: 0,
    fixedBytes: FIXED_BYTES,
    write(writer, fixed) {
      writer.u8(fixed, family);
      writer.u8(fixed + 5, filter.protocol ?? 0);
      if (filter.table !== undefined) writer.attributeU32(RTA.TABLE, filter.table);
    },
  };
}

/** Asks which route the kernel would take to an address, rules and all tables included (`ip route get`). */
export function routeQuestion(destination: IpAddress): Request {
  return {
    type: RTM_ROUTE.GET,
    flags: 0,
    fixedBytes: FIXED_BYTES,
    write(writer, fixed) {
      writer.u8(fixed, afOf(destination));
      writer.u8(fixed + 1, addressBits(destination));
      writeAddress(writer, RTA.DESTINATION, destination);
    },
  };
}

const ACTION_FLAGS = {
  add: NLM_F.CREATE | NLM_F.EXCLUSIVE,
  replace: NLM_F.CREATE | NLM_F.REPLACE,
  remove: 0,
} as const;

/** `remove` takes the route with this prefix, table, protocol, metric (0: any) and device (0: any), of whatever type. */
export function routeRequest(action: 'add' | 'replace' | 'remove', row: RouteRow): Request {
  return {
    type: action === 'remove' ? RTM_ROUTE.DELETE : RTM_ROUTE.NEW,
    flags: ACTION_FLAGS[action],
    fixedBytes: FIXED_BYTES,
    write(writer, fixed) {
      const type = row.type ?? ROUTE_TYPE.UNICAST;
      writer.u8(fixed, afOf(row.cidr.address));
      writer.u8(fixed + 1, row.cidr.prefixLength);
      // Tables above 255 do not fit here; RTA_TABLE counts, and the kernel expects RT_TABLE_UNSPEC or the low value.
      writer.u8(fixed + 4, row.table < 256 ? row.table : 0);
      writer.u8(fixed + 5, row.protocol);
      writer.u8(fixed + 6, action === 'remove' ? SCOPE.NOWHERE : scopeOf(row, type));
      writer.u8(fixed + 7, action === 'remove' ? ROUTE_TYPE.ANY : type);
      writeRow(writer, row, action === 'remove');
    },
  };
}

export function afOf(address: IpAddress): number {
  return typeof address === 'number' ? AF_INET : AF_INET6;
}

function writeAddress(writer: MessageWriter, type: number, address: IpAddress): void {
  if (typeof address === 'number') writer.attributeAddress(type, address);
  else writer.attributeAddress6(type, address);
}

function scopeOf(row: RouteRow, type: number): number {
  const isViaGateway = row.gateway !== undefined || row.ways !== undefined;
  return type === ROUTE_TYPE.UNICAST && !isViaGateway ? SCOPE.LINK : SCOPE.UNIVERSE;
}

function writeRow(writer: MessageWriter, row: RouteRow, isRemoval: boolean): void {
  writeAddress(writer, RTA.DESTINATION, row.cidr.address);
  writer.attributeU32(RTA.TABLE, row.table);
  if (row.metric !== 0) writer.attributeU32(RTA.PRIORITY, row.metric);
  if (row.ways !== undefined && !isRemoval) writeHops(writer, row.deviceIndex, row.ways);
  else if (row.deviceIndex !== 0) writer.attributeU32(RTA.DEVICE, row.deviceIndex);
  if (row.gateway !== undefined) writer.attributeAddress(RTA.GATEWAY, row.gateway);
  // Compared on removal too: a route whose source was changed by hand would stay behind.
  if (!isRemoval && row.source !== undefined && row.source !== 0)
    writeAddress(writer, RTA.PREFERRED_SOURCE, row.source);
}

/** Each way is a struct rtnexthop, as `readHops` reads it. */
function writeHops(writer: MessageWriter, deviceIndex: number, hops: readonly RowWay[]): void {
  const nested = writer.openNested(RTA.MULTIPATH);
  for (const hop of hops) {
    const at = writer.room(HOP_FIXED_BYTES);
    writer.u8(at + 3, hop.weight - 1);
    writer.u32(at + 4, deviceIndex);
    writer.attributeAddress(RTA.GATEWAY, hop.gateway);
    writer.u16(at, writer.length - at);
  }
  writer.closeNested(nested);
}
