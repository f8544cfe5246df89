import { writeU32 } from './bytes.ts';
import { IPV6, isMartian6, NO_UPPER_LAYER, totalLength6, upperLayer } from './ipv6.ts';

/** Types and codes of ICMPv6 that the gateway sends or takes. RFC 4443 §3. */
export const ICMP6 = {
  UNREACHABLE: 1,
  CODE_NO_ROUTE: 0,
  CODE_ADDRESS_UNREACHABLE: 3,
  TOO_BIG: 2,
  TIME_EXCEEDED: 3,
  PARAMETER_PROBLEM: 4,
  /** Of a parameter problem: a field of a header is wrong, and its next header is not known. */
  CODE_FIELD: 0,
  CODE_NEXT_HEADER: 1,
  PROTOCOL: 58,
  HEADER_BYTES: 8,
  /** Of a message: the MTU of a "too big", a pointer, or unused. */
  REST: 4,
  /** Types below are errors, those from here on are not: §2.1. */
  INFORMATIONAL_MIN: 128,
  REDIRECT: 137,
} as const;

/** As much of the packet as does not make the error larger than every link carries: §2.4(c). */
export const ICMP6_QUOTE_BYTES_MAX = IPV6.MTU_MIN - IPV6.HEADER_BYTES - ICMP6.HEADER_BYTES;

/** The largest message, from its type on. */
export const ICMP6_ERROR_BYTES_MAX = ICMP6.HEADER_BYTES + ICMP6_QUOTE_BYTES_MAX;

/**
 * 1 when an error of `type` about the checked packet at `at` may be sent, else 0: not about an ICMPv6 error or a redirect, not to an
 * address of no single host, and about a packet to a multicast group only that it is too big. RFC 4443 §2.4(e).
 */
export function mayAnswer6(bytes: Uint8Array, at: number, type: number): number {
  if (isMartian6(bytes, at + IPV6.SOURCE)) return 0;
  if (bytes[at + IPV6.DESTINATION] === 0xff && type !== ICMP6.TOO_BIG) return 0;
  const upper = upperLayer(bytes, at);
  if (upper === NO_UPPER_LAYER || (upper & 0xff) !== ICMP6.PROTOCOL) return 1;
  const offset = upper >> 8;
  if (offset >= totalLength6(bytes, at)) return 0;
  const about = bytes[at + offset]!;
  return about < ICMP6.INFORMATIONAL_MIN || about === ICMP6.REDIRECT ? 0 : 1;
}

/**
 * Writes an ICMPv6 error about the packet at `at`, `innerLength` bytes long, to `out` and returns its length. `rest32` is the MTU of a
 * "too big", else 0. The checksum stays 0: it covers the source address, which the kernel chooses when it sends (RFC 3542 §3.1).
 */
export function writeIcmp6Error(
  out: Uint8Array,
  outAt: number,
  type: number,
  code: number,
  rest32: number,
  bytes: Uint8Array,
  at: number,
  innerLength: number,
): number {
  const quote = Math.min(innerLength, ICMP6_QUOTE_BYTES_MAX);
  const quoteAt = outAt + ICMP6.HEADER_BYTES;
  // A loop, because set(subarray()) would allocate.
  for (let i = 0; i < quote; i++) out[quoteAt + i] = bytes[at + i]!;
  writeU32(out, outAt, (type << 24) | (code << 16));
  writeU32(out, outAt + 4, rest32);
  return ICMP6.HEADER_BYTES + quote;
}
