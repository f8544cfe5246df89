import { readI32, readU16 } from './bytes.ts';
import { ECN_DECAPSULATE, ECN_DROP } from './ecn.ts';
import { PROTOCOL } from './ipv4.ts';
import { VERDICT } from './verdict.ts';

/**
 * Where the fields of an IPv6 header lie. RFC 8200 §3.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-------+---------------+---------------------------------------+
 *  0|version| traffic class |              flow label               |
 *   +-------+---------------+-------+---------------+---------------+
 *  4|        PAYLOAD_LENGTH         |  NEXT_HEADER  |   HOP_LIMIT   |
 *   +-------------------------------+---------------+---------------+
 *  8|                      SOURCE, 16 bytes                         |
 *   +---------------------------------------------------------------+
 * 24|                    DESTINATION, 16 bytes                      |
 *   +---------------------------------------------------------------+
 */
export const IPV6 = {
  PAYLOAD_LENGTH: 4,
  NEXT_HEADER: 6,
  HOP_LIMIT: 7,
  SOURCE: 8,
  DESTINATION: 24,
  ADDRESS_BYTES: 16,
  HEADER_BYTES: 40,
  /** Every link carries as much: RFC 8200 §5. */
  MTU_MIN: 1280,
} as const;

/** Next headers that are no upper layer. RFC 8200 §4, RFC 4302. */
const EXTENSION = { HOP_BY_HOP: 0, ROUTING: 43, FRAGMENT: 44, AUTHENTICATION: 51, DESTINATION: 60 } as const;

/** Nobody sends more of them; a packet of nothing else must not hold up the others. */
const EXTENSIONS_MAX = 8;

/** `upperLayer` of what has none that can be read: a later fragment, headers that are cut, or too many of them. */
export const NO_UPPER_LAYER = -1;

/** Header and payload of the checked packet at `at`. */
export function totalLength6(bytes: Uint8Array, at: number): number {
  return IPV6.HEADER_BYTES + readU16(bytes, at + IPV6.PAYLOAD_LENGTH);
}

/**
 * Checks the fixed header of the IPv6 packet at `at`, of which `available` bytes exist. Returns VERDICT.FORWARD or the first INNER_*
 * reason that applies; after FORWARD header and payload lie inside `available`, and bytes behind them belong to nobody. A jumbogram
 * (RFC 2675), which has a payload length of 0, is no packet that fits into IPv4. RFC 8200 §3; RFC 4213 §3.6 wants what came out of a
 * tunnel checked as any other packet.
 */
export function checkInner6(bytes: Uint8Array, at: number, available: number): number {
  if (available < IPV6.HEADER_BYTES) return VERDICT.INNER_TRUNCATED;
  if (bytes[at]! >>> 4 !== 6) return VERDICT.INNER_VERSION;
  const payload = readU16(bytes, at + IPV6.PAYLOAD_LENGTH);
  if (payload === 0 && bytes[at + IPV6.NEXT_HEADER] === EXTENSION.HOP_BY_HOP) return VERDICT.INNER_MALFORMED;
  if (IPV6.HEADER_BYTES + payload > available) return VERDICT.INNER_TRUNCATED;
  if (bytes[at + IPV6.HOP_LIMIT] === 0) return VERDICT.INNER_TTL;
  return VERDICT.FORWARD;
}

/** Whether the packet at `at` says that it is IPv6. */
export function isIpv6(bytes: Uint8Array, at: number): boolean {
  return bytes[at]! >>> 4 === 6;
}

/** Whether the address at `at` is that of the four words, host order, from cell `cell` on. */
export function isAddress6(bytes: Uint8Array, at: number, words: Uint32Array, cell: number): boolean {
  return (
    readI32(bytes, at + 12) === (words[cell + 3]! | 0) &&
    readI32(bytes, at + 8) === (words[cell + 2]! | 0) &&
    readI32(bytes, at + 4) === (words[cell + 1]! | 0) &&
    readI32(bytes, at) === (words[cell]! | 0)
  );
}

/** Whether two addresses are the same one. */
export function areSame6(bytes: Uint8Array, one: number, other: number): boolean {
  return (
    readI32(bytes, one + 12) === readI32(bytes, other + 12) &&
    readI32(bytes, one + 8) === readI32(bytes, other + 8) &&
    readI32(bytes, one + 4) === readI32(bytes, other + 4) &&
    readI32(bytes, one) === readI32(bytes, other)
  );
}

/**
 * Checks the outer header of a packet from an IPv6 underlay: version, and that an IPv4 or IPv6 packet comes right behind it. Extension
 * headers are gone, and fragments put together: the kernel gives a raw socket what is behind them, and io/raw-ip.ts has written the header
 * anew. Returns VERDICT.FORWARD or VERDICT.OUTER_MALFORMED.
 */
export function checkOuter6(bytes: Uint8Array, at: number, available: number): number {
  if (available < IPV6.HEADER_BYTES || !isIpv6(bytes, at)) return VERDICT.OUTER_MALFORMED;
  const nextHeader = bytes[at + IPV6.NEXT_HEADER]!;
  return nextHeader === PROTOCOL.IPIP || nextHeader === PROTOCOL.IPV6
    ? VERDICT.FORWARD
    : VERDICT.OUTER_MALFORMED;
}

/** The traffic class: DSCP and ECN as in the TOS byte of IPv4. */
export function trafficClass(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! & 0x0f) << 4) | (bytes[at + 1]! >>> 4);
}

/**
 * Carries the outer congestion mark into the inner traffic class, as decapsulateEcn does for IPv4: the same table, and no checksum to
 * patch. Returns VERDICT.FORWARD, or VERDICT.ECN_ILLEGAL with the packet untouched. RFC 6040 §4.2.
 */
export function decapsulateEcn6(bytes: Uint8Array, at: number, tosOfOuter: number): number {
  const inner = (bytes[at + 1]! >>> 4) & 3;
  const ecn = ECN_DECAPSULATE[(inner << 2) | (tosOfOuter & 3)]!;
  if (ecn === ECN_DROP) return VERDICT.ECN_ILLEGAL;
  bytes[at + 1] = (bytes[at + 1]! & 0xcf) | (ecn << 4);
  return VERDICT.FORWARD;
}

/**
 * True for an address at `at` that must not be an end of a packet in a tunnel: unspecified, loopback, IPv4-mapped and the rest of ::/8,
 * link-local, and multicast, because nothing here keeps group membership. RFC 4291 §2.5, §2.7; RFC 4213 §3.6, §5.
 */
export function isMartian6(bytes: Uint8Array, at: number): boolean {
  const first = bytes[at]!;
  return first === 0 || first === 0xff || (first === 0xfe && (bytes[at + 1]! & 0xc0) === 0x80);
}

/**
 * Where the upper layer of the checked packet at `at` begins and what it is: `offset << 8 | protocol`, the offset from `at`; or
 * NO_UPPER_LAYER. The first fragment of a datagram has one, the later ones have none.
 */
export function upperLayer(bytes: Uint8Array, at: number): number {
  const end = totalLength6(bytes, at);
  let protocol = bytes[at + IPV6.NEXT_HEADER]!;
  let offset: number = IPV6.HEADER_BYTES;
  for (let i = 0; i < EXTENSIONS_MAX; i++) {
    if (!isExtension(protocol)) return (offset << 8) | protocol;
    if (offset + 8 > end) return NO_UPPER_LAYER;
    const header = at + offset;
    if (protocol === EXTENSION.FRAGMENT) {
      if ((readU16(bytes, header + 2) & 0xfff8) !== 0) return NO_UPPER_LAYER;
      offset += 8;
    } else if (protocol === EXTENSION.AUTHENTICATION) {
      offset += (bytes[header + 1]! + 2) << 2;
    } else {
      offset += (bytes[header + 1]! + 1) << 3;
    }
    if (offset > end) return NO_UPPER_LAYER;
    protocol = bytes[header]!;
  }
  return NO_UPPER_LAYER;
}

/** True for the parts of a fragmented datagram, the first one too. */
export function isFragment6(bytes: Uint8Array, at: number): boolean {
  const end = totalLength6(bytes, at);
  let protocol = bytes[at + IPV6.NEXT_HEADER]!;
  let offset: number = IPV6.HEADER_BYTES;
  for (let i = 0; i < EXTENSIONS_MAX && isExtension(protocol) && offset + 8 <= end; i++) {
    if (protocol === EXTENSION.FRAGMENT) return true;
    const header = at + offset;
    offset +=
      protocol === EXTENSION.AUTHENTICATION ? (bytes[header + 1]! + 2) << 2 : (bytes[header + 1]! + 1) << 3;
    protocol = bytes[header]!;
  }
  return false;
}

function isExtension(protocol: number): boolean {
  return (
    protocol === EXTENSION.HOP_BY_HOP ||
    protocol === EXTENSION.ROUTING ||
    protocol === EXTENSION.FRAGMENT ||
    protocol === EXTENSION.AUTHENTICATION ||
    protocol === EXTENSION.DESTINATION
  );
}

/** True where the upper layer is TCP. */
export function isTcp6(upper: number): boolean {
  return upper !== NO_UPPER_LAYER && (upper & 0xff) === PROTOCOL.TCP;
}
