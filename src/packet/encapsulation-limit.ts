import { writeU32 } from './bytes.ts';
import { IPV6, totalLength6 } from './ipv6.ts';

/**
 * The Tunnel Encapsulation Limit, an option of a Destination Options header before a tunnelled packet. RFC 2473 §4.1.1, §5.1.
 *
 *   | next header | 0: 8 bytes | type 4 | length 1 | limit | PadN: 1 | 1 | 0 |
 *
 * We put none before a packet that has none: routers on the way drop packets with such headers (RFC 7872), and what comes from an end of the
 * tunnel itself never enters it. A packet that has one came out of another tunnel, whose limit we go on counting.
 */
export const LIMIT_OPTION_BYTES = 8;

const HOP_BY_HOP = 0;
export const DESTINATION_OPTIONS = 60;
const OPTION_PAD1 = 0;
const OPTION_LIMIT = 4;

/**
 * Where the limit of the checked IPv6 packet at `at` is, as an offset from `at`, which an ICMPv6 parameter problem points to; 0 where it has
 * none that can be read.
 */
export function encapsulationLimitAt(bytes: Uint8Array, at: number): number {
  const end = at + totalLength6(bytes, at);
  let header = at + IPV6.HEADER_BYTES;
  let next = bytes[at + IPV6.NEXT_HEADER]!;
  if (next === HOP_BY_HOP && header + 8 <= end) {
    next = bytes[header]!;
    header += (bytes[header + 1]! + 1) << 3;
  }
  if (next !== DESTINATION_OPTIONS || header + 8 > end) return 0;
  const optionsEnd = header + ((bytes[header + 1]! + 1) << 3);
  if (optionsEnd > end) return 0;
  for (let option = header + 2; option < optionsEnd; ) {
    const type = bytes[option]!;
    if (type === OPTION_LIMIT && option + 3 <= optionsEnd && bytes[option + 1] === 1) return option + 2 - at;
    option += type === OPTION_PAD1 ? 1 : 2 + (option + 1 < optionsEnd ? bytes[option + 1]! : 0);
  }
  return 0;
}

/** Writes the header with its option into the LIMIT_OPTION_BYTES before `at`. */
export function writeLimitOption(bytes: Uint8Array, at: number, nextHeader: number, limit: number): void {
  writeU32(bytes, at - 8, (nextHeader << 24) | (OPTION_LIMIT << 8) | 1);
  writeU32(bytes, at - 4, (limit << 24) | 0x0001_0100);
}
