import { readU16 } from './bytes.ts';
import { foldSum, sumBytes } from './checksum.ts';
import { VERDICT } from './verdict.ts';

/**
 * Where the fields of an IPv4 header lie, and the bits of its FRAGMENT word. RFC 791 §3.1.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-------+-------+---------------+-------------------------------+
 *  0|version|  IHL  | TOS: DSCP|ECN |         TOTAL_LENGTH          |
 *   +-------+-------+---------------+-----+-------------------------+
 *  4|              ID               |R D M|   offset in 8 bytes     |
 *   +---------------+---------------+-----+-------------------------+
 *  8|      TTL      |   PROTOCOL    |           CHECKSUM            |
 *   +---------------+---------------+-------------------------------+
 * 12|                            SOURCE                             |
 *   +---------------------------------------------------------------+
 * 16|                          DESTINATION                          |
 *   +---------------------------------------------------------------+
 * 20|  options, up to 40 bytes, IHL counts them in words of 4 bytes |
 */
export const IPV4 = {
  VERSION_IHL: 0,
  TOS: 1,
  TOTAL_LENGTH: 2,
  ID: 4,
  FRAGMENT: 6,
  TTL: 8,
  PROTOCOL: 9,
  CHECKSUM: 10,
  SOURCE: 12,
  DESTINATION: 16,
  HEADER_BYTES: 20,
  DF: 0x4000,
  MF: 0x2000,
  OFFSET_MASK: 0x1fff,
} as const;

/** IANA protocol numbers that the gateway tells apart. */
export const PROTOCOL = { ICMP: 1, IPIP: 4, TCP: 6, UDP: 17, IPV6: 41 } as const;

/** Header length in bytes, options included: 20 to 60 in a checked header. */
export function headerBytes(bytes: Uint8Array, at: number): number {
  return (bytes[at]! & 0x0f) << 2;
}

/** Header and payload in bytes, as the header says. */
export function totalLength(bytes: Uint8Array, at: number): number {
  return readU16(bytes, at + IPV4.TOTAL_LENGTH);
}

/** True for any fragment: the first (MF set, offset 0) as well as the later ones. */
export function isFragment(bytes: Uint8Array, at: number): boolean {
  return (readU16(bytes, at + IPV4.FRAGMENT) & (IPV4.MF | IPV4.OFFSET_MASK)) !== 0;
}

/**
 * The one bounds check of a packet about to be encapsulated, or just decapsulated: reads the header at `at`, of which `available`
 * bytes exist. Returns VERDICT.FORWARD or the first INNER_* reason that applies. After FORWARD the header with its options and the
 * whole payload lie inside `available`, and every function of this folder that takes (bytes, at) stays inside the packet. Bytes
 * behind the total length are allowed and belong to nobody. RFC 791 §3.1, RFC 1812 §5.2.2, RFC 2003 §3.1 (a TTL of 0 MUST NOT be
 * encapsulated, and MUST be discarded after decapsulation).
 */
export function checkInner(bytes: Uint8Array, at: number, available: number): number {
  if (available < IPV4.HEADER_BYTES) return VERDICT.INNER_TRUNCATED;
  const versionIhl = bytes[at]!;
  if (versionIhl >>> 4 !== 4) return VERDICT.INNER_VERSION;
  const header = (versionIhl & 0x0f) << 2;
  const total = readU16(bytes, at + IPV4.TOTAL_LENGTH);
  if (header < IPV4.HEADER_BYTES || total < header) return VERDICT.INNER_MALFORMED;
  if (total > available) return VERDICT.INNER_TRUNCATED;
  if (foldSum(sumBytes(bytes, at, header)) !== 0xffff) return VERDICT.INNER_CHECKSUM;
  if (bytes[at + IPV4.TTL] === 0) return VERDICT.INNER_TTL;
  return VERDICT.FORWARD;
}

/**
 * Checks the outer header of a packet from the underlay: version, header length, checksum, `protocol`, no fragment (the kernel has
 * reassembled before a raw socket sees a packet, so a fragment here is forged or comes from a broken backend). Returns
 * VERDICT.FORWARD or VERDICT.OUTER_MALFORMED. After FORWARD the header lies inside `available`; whether the payload does is not said
 * here: a cut payload is counted as the inner packet's truncation, found by `checkInner(bytes, at + headerBytes(bytes, at),
 * outerPayload(bytes, at, available))`. RFC 1812 §5.2.2.
 */
export function checkOuter(bytes: Uint8Array, at: number, available: number, protocol: number): number {
  if (available < IPV4.HEADER_BYTES) return VERDICT.OUTER_MALFORMED;
  const versionIhl = bytes[at]!;
  const header = (versionIhl & 0x0f) << 2;
  if (versionIhl >>> 4 !== 4 || header < IPV4.HEADER_BYTES) return VERDICT.OUTER_MALFORMED;
  if (header > available || totalLength(bytes, at) < header) return VERDICT.OUTER_MALFORMED;
  if (bytes[at + IPV4.PROTOCOL] !== protocol || isFragment(bytes, at)) return VERDICT.OUTER_MALFORMED;
  if (foldSum(sumBytes(bytes, at, header)) !== 0xffff) return VERDICT.OUTER_MALFORMED;
  return VERDICT.FORWARD;
}

/** Bytes behind a checked outer header that both exist and belong to the packet: what checkInner may look at. */
export function outerPayload(bytes: Uint8Array, at: number, available: number): number {
  const total = totalLength(bytes, at);
  return Math.min(total, available) - headerBytes(bytes, at);
}

/**
 * True for a source that no single host owns: 0/8 ("this network"), 127/8, multicast 224/4, and 240/4 with the limited broadcast.
 * `address` in host order, u32 or i32. RFC 1812 §5.3.7, RFC 1122 §3.2.1.3.
 */
export function isMartianSource(address: number): boolean {
  const network = address >>> 24;
  return network === 0 || network === 127 || network >= 224;
}

/**
 * True for a destination that must not leave or enter through a tunnel: 0/8, 127/8, multicast, 240/4 with the limited broadcast.
 * Multicast is refused because nothing here keeps group membership, 240/4 because the answer would have a martian source.
 * `address` in host order, u32 or i32. RFC 1812 §5.3.7.
 */
export function isMartianDestination(address: number): boolean {
  return isMartianSource(address);
}
