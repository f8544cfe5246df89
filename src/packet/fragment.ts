import { readU16, writeU16 } from './bytes.ts';
import { internetChecksum } from './checksum.ts';
import { headerBytes, IPV4, totalLength } from './ipv4.ts';

/**
 * IPv4 fragmentation, RFC 791 §3.2. Works on any IPv4 packet: on an inner one before it is encapsulated (the default), on an outer
 * one behind encapsulation, and on one that is a fragment already.
 *
 *   packet:      | header H | ------------- payload -------------- |     per  = (mtu - H) rounded down to 8
 *   fragment 0:  | header H | per |
 *   fragment i:  | header h |      | per |        h <= H: only options with the copied flag
 *   last:        | header h |            | the rest, at most mtu - H |
 *
 * Fragment i always begins at payload byte i * per, whatever options are copied, so each can be written without the others.
 */
const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_COPIED = 0x80;

/**
 * How many fragments a packet makes on a link of `mtu` bytes: 1 when it fits, 0 when it cannot be split because not even 8 bytes of
 * payload fit behind its header (RFC 791 §3.2 promises every link 68 bytes, so only a broken configuration gets there). Lengths in
 * bytes, as headerBytes and totalLength give them. At most 8,190 for any packet.
 */
export function fragmentCount(packetBytes: number, headerLength: number, mtu: number): number {
  if (packetBytes <= mtu) return 1;
  const room = mtu - headerLength;
  if (room < 8) return 0;
  // The last fragment need not be a multiple of 8; rounding it down too would at times make one more, of a few bytes.
  const beforeLast = packetBytes - headerLength - room;
  return Math.ceil(beforeLast / (room & ~7)) + 1;
}

/**
 * Writes fragment `index` of `count` (from fragmentCount with the same mtu) of the checked packet at `at` to `destinationAt` in the
 * same array, and returns its length in bytes, at most `mtu`.
 *
 * Fragment 0 is made in place when `destinationAt === at`: that rewrites total length, flags and checksum of the packet itself, which
 * the other fragments are made from, so it must be made LAST. The other fragments must lie outside the packet. DF stays as it is (whether
 * a packet may be fragmented is the caller's question), the reserved bit becomes zero as RFC 791 §3.1 demands and Linux does, MF of a
 * packet that was a fragment stays set in its last piece, the ID is kept.
 *
 * Returns 0 and writes nothing for a fragment that would begin beyond the 13-bit offset: the caller must skip it. Only the tail of a
 * forged fragment gets there (its datagram would exceed 65,535 bytes: the ping of death); wrapping it would overlay the datagram's
 * beginning. 0 too for an index, count or mtu that no fragmentCount of this packet gave, rather than to read outside the packet.
 */
export function writeFragment(
  bytes: Uint8Array,
  at: number,
  index: number,
  count: number,
  mtu: number,
  destinationAt: number,
): number {
  const header = headerBytes(bytes, at);
  const payload = totalLength(bytes, at) - header;
  const flags = readU16(bytes, at + IPV4.FRAGMENT);
  const per = (mtu - header) & ~7;
  const begin = index * per;
  const isLast = index === count - 1;
  const length = isLast ? payload - begin : per;
  const offset = (flags & IPV4.OFFSET_MASK) + (begin >>> 3);
  if (offset > IPV4.OFFSET_MASK || count < 1 || length < 0 || begin + length > payload) return 0;

  let newHeader = header;
  if (index !== 0) newHeader = copyLaterHeader(bytes, at, header, destinationAt);
  else if (destinationAt !== at) bytes.copyWithin(destinationAt, at, at + header);
  if (index !== 0 || destinationAt !== at) {
    bytes.copyWithin(destinationAt + newHeader, at + header + begin, at + header + begin + length);
  }

  const more = isLast ? flags & IPV4.MF : IPV4.MF;
  writeU16(bytes, destinationAt + IPV4.TOTAL_LENGTH, newHeader + length);
  writeU16(bytes, destinationAt + IPV4.FRAGMENT, (flags & IPV4.DF) | more | offset);
  writeU16(bytes, destinationAt + IPV4.CHECKSUM, 0);
  writeU16(bytes, destinationAt + IPV4.CHECKSUM, internetChecksum(bytes, destinationAt, newHeader));
  return newHeader + length;
}

/**
 * Writes the header of a later fragment: the fixed part and those options whose copied flag is set, padded with END to whole words.
 * Returns its length. Options that do not parse end the copying, as they would end the receiver's reading.
 */
function copyLaterHeader(bytes: Uint8Array, at: number, header: number, to: number): number {
  bytes.copyWithin(to, at, at + IPV4.HEADER_BYTES);
  const end = at + header;
  let out = to + IPV4.HEADER_BYTES;
  let i = at + IPV4.HEADER_BYTES;
  while (i < end) {
    const kind = bytes[i]!;
    if (kind === OPTION_END) break;
    if (kind === OPTION_NOP) {
      i++;
      continue;
    }
    if (i + 2 > end) break;
    const length = bytes[i + 1]!;
    if (length < 2 || i + length > end) break;
    if ((kind & OPTION_COPIED) !== 0) {
      bytes.copyWithin(out, i, i + length);
      out += length;
    }
    i += length;
  }
  while (((out - to) & 3) !== 0) bytes[out++] = OPTION_END;
  bytes[to + IPV4.VERSION_IHL] = 0x40 | ((out - to) >>> 2);
  return out - to;
}
