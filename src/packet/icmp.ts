import { readI32, readU16, writeU16, writeU32 } from './bytes.ts';
import { foldSum, internetChecksum, sumBytes } from './checksum.ts';
import { FOU } from './fou.ts';
import {
  headerBytes,
  IPV4,
  isFragment,
  isMartianDestination,
  isMartianSource,
  PROTOCOL,
  totalLength,
} from './ipv4.ts';

/** ICMP message types, and the codes (CODE_*) of type UNREACHABLE. RFC 792, RFC 1812 §5.2.7.1. */
export const ICMP = {
  ECHO_REPLY: 0,
  UNREACHABLE: 3,
  SOURCE_QUENCH: 4,
  REDIRECT: 5,
  ECHO: 8,
  TIME_EXCEEDED: 11,
  PARAMETER_PROBLEM: 12,
  TIMESTAMP: 13,
  ADDRESS_MASK_REPLY: 18,
  CODE_NET_UNREACHABLE: 0,
  CODE_HOST_UNREACHABLE: 1,
  CODE_PROTOCOL_UNREACHABLE: 2,
  CODE_PORT_UNREACHABLE: 3,
  CODE_FRAGMENTATION_NEEDED: 4,
  CODE_SOURCE_ROUTE_FAILED: 5,
} as const;

/** Where the fields of an ICMP error lie. REST is unused, a gateway, a pointer or, in its low half, the next-hop MTU (RFC 1191 §4). */
export const ICMP_HEADER = { TYPE: 0, CODE: 1, CHECKSUM: 2, REST: 4, NEXT_HOP_MTU: 6, BYTES: 8 } as const;

/** An ICMP error with its IPv4 header must not be longer. RFC 1812 §4.3.2.3. */
export const ICMP_ERROR_BYTES_MAX = 576;

/** The least an ICMP error quotes: a header without options and 8 bytes behind it. RFC 792. */
const QUOTE_BYTES_MIN = IPV4.HEADER_BYTES + 8;

/**
 * 1 when an ICMP error may be sent about the checked packet at `at` (or about one that quotedInnerAt found), else 0: not about an ICMP
 * error, a later fragment, or a packet to or from an address that is not one host's. RFC 1812 §4.3.2.7. An ICMP type that is not
 * known to be a query counts as an error, as in Linux: two gateways that answer each other's unknown errors would never stop.
 */
export function mayAnswer(bytes: Uint8Array, at: number): number {
  if ((readU16(bytes, at + IPV4.FRAGMENT) & IPV4.OFFSET_MASK) !== 0) return 0;
  if (isMartianSource(readI32(bytes, at + IPV4.SOURCE))) return 0;
  if (isMartianDestination(readI32(bytes, at + IPV4.DESTINATION))) return 0;
  if (bytes[at + IPV4.PROTOCOL] !== PROTOCOL.ICMP) return 1;
  const header = headerBytes(bytes, at);
  if (totalLength(bytes, at) <= header) return 0;
  const type = bytes[at + header]!;
  const isQuery =
    type === ICMP.ECHO_REPLY ||
    type === ICMP.ECHO ||
    (type >= ICMP.TIMESTAMP && type <= ICMP.ADDRESS_MASK_REPLY);
  return isQuery ? 1 : 0;
}

/**
 * Writes an ICMP error message (without IPv4 header) to `out` at `outAt` and returns its length, at most 556 bytes, so that 576 hold
 * it with its IPv4 header. It quotes the first of the `innerLength` bytes at `at`. `rest32` is the second word of the ICMP header:
 * for fragmentation-needed the next-hop MTU, otherwise mostly 0. RFC 792, RFC 1812 §4.3.2.3.
 *
 * `out` may be `bytes` itself if the ranges do not overlap or `outAt + 8 <= at`: written at `at - 8` the quote need not even move.
 */
export function writeIcmpError(
  out: Uint8Array,
  outAt: number,
  type: number,
  code: number,
  rest32: number,
  bytes: Uint8Array,
  at: number,
  innerLength: number,
): number {
  const quoteMax = ICMP_ERROR_BYTES_MAX - IPV4.HEADER_BYTES - ICMP_HEADER.BYTES;
  const quote = Math.min(innerLength, quoteMax);
  const quoteAt = outAt + ICMP_HEADER.BYTES;
  // A loop, because `out` and `bytes` may be two arrays, and set(subarray()) would allocate. Errors are rate-limited: not hot.
  for (let i = 0; i < quote; i++) out[quoteAt + i] = bytes[at + i]!;
  out[outAt + ICMP_HEADER.TYPE] = type;
  out[outAt + ICMP_HEADER.CODE] = code;
  writeU16(out, outAt + ICMP_HEADER.CHECKSUM, 0);
  writeU32(out, outAt + ICMP_HEADER.REST, rest32);
  const length = ICMP_HEADER.BYTES + quote;
  writeU16(out, outAt + ICMP_HEADER.CHECKSUM, internetChecksum(out, outAt, length));
  return length;
}

/**
 * Writes the same ICMP error behind an IPv4 header of its own and returns the length of both, at most 576 bytes. `source` and
 * `destination` in host order. Precedence is 6 (internetwork control), as RFC 1812 §4.3.2.5 asks; DF is set, since an atomic
 * datagram needs no unique ID (RFC 6864 §4.1) and no IPv4 path is narrower than 576 bytes in practice.
 *
 * `out` may be `bytes` itself if the ranges do not overlap or `outAt + 28 <= at`.
 */
export function writeIcmpPacket(
  out: Uint8Array,
  outAt: number,
  source: number,
  destination: number,
  ttl: number,
  type: number,
  code: number,
  rest32: number,
  bytes: Uint8Array,
  at: number,
  innerLength: number,
): number {
  const icmpAt = outAt + IPV4.HEADER_BYTES;
  const total = IPV4.HEADER_BYTES + writeIcmpError(out, icmpAt, type, code, rest32, bytes, at, innerLength);
  writeU16(out, outAt + IPV4.VERSION_IHL, 0x45c0);
  writeU16(out, outAt + IPV4.TOTAL_LENGTH, total);
  writeU16(out, outAt + IPV4.ID, 0);
  writeU16(out, outAt + IPV4.FRAGMENT, IPV4.DF);
  writeU16(out, outAt + IPV4.TTL, (ttl << 8) | PROTOCOL.ICMP);
  writeU16(out, outAt + IPV4.CHECKSUM, 0);
  writeU32(out, outAt + IPV4.SOURCE, source);
  writeU32(out, outAt + IPV4.DESTINATION, destination);
  writeU16(out, outAt + IPV4.CHECKSUM, internetChecksum(out, outAt, IPV4.HEADER_BYTES));
  return total;
}

/**
 * Where the IPv4 header that an ICMP error quotes begins, or -1. `at` and `length` are an IPv4 packet as a raw ICMP socket hands it
 * over, nothing of which needs checking before. -1 when it is malformed, a fragment, no ICMP error, has a wrong ICMP checksum, or
 * quotes less than an IPv4 header and 8 bytes. The ICMP header is the 8 bytes before the result (ICMP_HEADER), and the quote ends at
 * `at + totalLength(bytes, at)`. The quoted header's own checksum is not looked at: routers on the way may quote it as it was
 * before they decremented the TTL. RFC 792, RFC 1812 §5.2.7.
 */
export function quotedAt(bytes: Uint8Array, at: number, length: number): number {
  if (length < IPV4.HEADER_BYTES || bytes[at]! >>> 4 !== 4) return -1;
  const header = headerBytes(bytes, at);
  const total = totalLength(bytes, at);
  if (header < IPV4.HEADER_BYTES || total > length) return -1;
  if (total < header + ICMP_HEADER.BYTES + QUOTE_BYTES_MIN) return -1;
  if (bytes[at + IPV4.PROTOCOL] !== PROTOCOL.ICMP || isFragment(bytes, at)) return -1;
  const icmp = at + header;
  if (!isError(bytes[icmp + ICMP_HEADER.TYPE]!)) return -1;
  if (foldSum(sumBytes(bytes, icmp, total - header)) !== 0xffff) return -1;
  const quote = icmp + ICMP_HEADER.BYTES;
  return isQuotedHeader(bytes, quote, at + total) ? quote : -1;
}

/**
 * Where the inner header begins that the packet quoted at `quote` (from quotedAt) carries, IPIP or a UDP datagram of fou, or -1 when it
 * is neither, or when less than an inner IPv4 header and 8 bytes of it lie before `end`, the end of the quote. Many routers quote only the 8 bytes
 * that RFC 792 demands, which hold no address of the inner packet: RFC 2003 §4 has no answer to those but soft state.
 */
export function quotedInnerAt(bytes: Uint8Array, quote: number, end: number): number {
  const protocol = bytes[quote + IPV4.PROTOCOL]!;
  if ((protocol !== PROTOCOL.IPIP && protocol !== PROTOCOL.UDP) || isFragment(bytes, quote)) return -1;
  const inner = quote + headerBytes(bytes, quote) + (protocol === PROTOCOL.UDP ? FOU.HEADER_BYTES : 0);
  return isQuotedHeader(bytes, inner, end) ? inner : -1;
}

/** An IPv4 header whose options and 8 bytes of payload lie before `end`. */
function isQuotedHeader(bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < QUOTE_BYTES_MIN || bytes[at]! >>> 4 !== 4) return false;
  const header = headerBytes(bytes, at);
  return header >= IPV4.HEADER_BYTES && at + header + 8 <= end && totalLength(bytes, at) >= header;
}

function isError(type: number): boolean {
  return (
    type === ICMP.UNREACHABLE ||
    type === ICMP.SOURCE_QUENCH ||
    type === ICMP.REDIRECT ||
    type === ICMP.TIME_EXCEEDED ||
    type === ICMP.PARAMETER_PROBLEM
  );
}
