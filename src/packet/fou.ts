import { readU16 } from './bytes.ts';
import { foldSum, sumBytes } from './checksum.ts';
import { IPV4, PROTOCOL } from './ipv4.ts';
import { VERDICT } from './verdict.ts';

/**
 * IP in UDP as Linux calls it, foo over UDP (net/ipv4/fou_core.c): the UDP header that stands between outer and inner header, and nothing
 * else. What is inside is known by the port. For networks that drop IP protocol 4.
 *
 *   | outer IPv4, protocol 17 | SOURCE_PORT | DESTINATION_PORT | LENGTH | CHECKSUM | inner packet |
 */
export const FOU = {
  SOURCE_PORT: 0,
  DESTINATION_PORT: 2,
  LENGTH: 4,
  CHECKSUM: 6,
  HEADER_BYTES: 8,
} as const;

/** Outer IPv4 and UDP header. */
export const FOU_ENCAPSULATION_BYTES = IPV4.HEADER_BYTES + FOU.HEADER_BYTES;

// Constants of this module are compiled into the code; an imported one is loaded at each use (fib/lookup.ts).
const { HEADER_BYTES, LENGTH } = FOU;

/** The dynamic ports, from 49152 (RFC 6335 §6), which RFC 8085 §5.1.1 asks of tunnels that spread their flows by the source port. */
const SOURCE_PORT_MIN = 0xc000;
const SOURCE_PORT_MASK = 0x3fff;

/** The source port of a flow: routers and network cards that know only outer headers keep its order and spread the others by it. */
export function fouSourcePort(hash: number): number {
  return SOURCE_PORT_MIN | (hash & SOURCE_PORT_MASK);
}

/**
 * Writes the UDP header into the 8 bytes before `at`, where `innerLength` bytes of inner packet begin. The checksum is 0: the inner packet
 * has checksums of its own, and kernels send so too (RFC 768, RFC 8085 §3.4.1 on IPv4).
 */
export function writeFouHeader(
  view: DataView,
  at: number,
  innerLength: number,
  sourcePort: number,
  destinationPort: number,
): void {
  const header = at - HEADER_BYTES;
  view.setInt32(header, (sourcePort << 16) | destinationPort);
  view.setInt32((header + LENGTH) | 0, (innerLength + HEADER_BYTES) << 16);
}

/**
 * Checks the UDP header at `at` behind the checked outer header at `outerAt`, with `available` bytes of it and its payload: addressed to
 * `port`, a length that fits, and a checksum that is 0 or right, or left undone by the kernel of the same host (CHECKSUM_PARTIAL). Returns
 * VERDICT.FORWARD or VERDICT.OUTER_MALFORMED. RFC 768, RFC 1122 §4.1.3.4.
 */
export function checkFou(
  bytes: Uint8Array,
  outerAt: number,
  at: number,
  available: number,
  port: number,
): number {
  if (available < HEADER_BYTES || readU16(bytes, at + FOU.DESTINATION_PORT) !== port)
    return VERDICT.OUTER_MALFORMED;
  const length = readU16(bytes, at + LENGTH);
  if (length < HEADER_BYTES || length > available) return VERDICT.OUTER_MALFORMED;
  const check = readU16(bytes, at + FOU.CHECKSUM);
  if (check === 0) return VERDICT.FORWARD;
  const pseudo = foldSum(sumBytes(bytes, outerAt + IPV4.SOURCE, 8) + PROTOCOL.UDP + length);
  if (check === pseudo) return VERDICT.FORWARD;
  return foldSum(pseudo + sumBytes(bytes, at, length)) === 0xffff ? VERDICT.FORWARD : VERDICT.OUTER_MALFORMED;
}

/** Bytes behind the checked UDP header at `at`. */
export function fouPayload(bytes: Uint8Array, at: number): number {
  return readU16(bytes, at + LENGTH) - HEADER_BYTES;
}
