import { writeU16, writeU32 } from './bytes.ts';
import { IPV6 } from './ipv6.ts';

/**
 * The fragment header of IPv6, RFC 8200 §4.5.
 *
 *   +---------------+---------------+---------------------------+-+-+
 *  0|  next header  |       0       |     offset in bytes       |0|M|     the offset is a multiple of 8: its low bits are M and 0
 *   +---------------+---------------+---------------------------+-+-+
 *  4|                        identification                         |
 *   +---------------------------------------------------------------+
 */
export const FRAGMENT6 = { NEXT_HEADER: 44, OFFSET: 2, ID: 4, HEADER_BYTES: 8, MORE: 1 } as const;

const HEADERS = IPV6.HEADER_BYTES + FRAGMENT6.HEADER_BYTES;

/**
 * Writes fragment `index` of `count` (fragmentCount of `length` + 48 bytes, of which 48 are headers, with the same mtu) of the packet whose
 * payload is the `length` bytes at `at`, behind an outer header without extension headers, to `destinationAt` in the same array.
 * Returns its length in bytes, at most `mtu`.
 *
 * Fragment 0 may be made in place, at `at - 48`: the payload stays where it is, and the header moves 8 bytes forward, so it must be made
 * LAST. The others must lie outside the packet. `id` is unique for (source, destination) within a packet's lifetime.
 */
export function writeFragment6(
  bytes: Uint8Array,
  at: number,
  length: number,
  index: number,
  count: number,
  mtu: number,
  id: number,
  destinationAt: number,
): number {
  const per = (mtu - HEADERS) & ~7;
  const begin = index * per;
  const isLast = index === count - 1;
  const payload = isLast ? length - begin : per;
  const outer = at - IPV6.HEADER_BYTES;
  const nextHeader = bytes[outer + IPV6.NEXT_HEADER]!;
  bytes.copyWithin(destinationAt, outer, at);
  if (destinationAt + HEADERS !== at + begin)
    bytes.copyWithin(destinationAt + HEADERS, at + begin, at + begin + payload);
  writeU16(bytes, destinationAt + IPV6.PAYLOAD_LENGTH, FRAGMENT6.HEADER_BYTES + payload);
  bytes[destinationAt + IPV6.NEXT_HEADER] = FRAGMENT6.NEXT_HEADER;
  const header = destinationAt + IPV6.HEADER_BYTES;
  bytes[header] = nextHeader;
  bytes[header + 1] = 0;
  writeU16(bytes, header + FRAGMENT6.OFFSET, begin | (isLast ? 0 : FRAGMENT6.MORE));
  writeU32(bytes, header + FRAGMENT6.ID, id);
  return HEADERS + payload;
}
