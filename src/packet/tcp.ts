import { readU16, writeU16 } from './bytes.ts';
import { adjustChecksum } from './checksum.ts';
import { headerBytes, IPV4, PROTOCOL, totalLength } from './ipv4.ts';
import { isTcp6, totalLength6, upperLayer } from './ipv6.ts';

/** Where the fields of a TCP header lie, its flags, and the options that the MSS clamp reads. RFC 9293 §3.1, options §3.2. */
export const TCP = {
  DATA_OFFSET: 12,
  FLAGS: 13,
  CHECKSUM: 16,
  HEADER_BYTES: 20,
  SYN: 0x02,
  RST: 0x04,
  URG: 0x20,
  CWR: 0x80,
  OPTION_END: 0,
  OPTION_NOP: 1,
  OPTION_MSS: 2,
  OPTION_MSS_BYTES: 4,
} as const;

/**
 * Lowers the MSS option of a SYN or SYN/ACK in the checked packet at `at` to `maximum`, and patches the TCP checksum by RFC 1624.
 * Returns 1 when it changed something, else 0. Never raises a value, and adds no option where none is: without one the sender already
 * uses 536 (RFC 9293 §3.7.1). RFC 4459 §3.2.
 *
 * Writes only inside the TCP header, and that only if the whole of it lies in this packet, which may be the first of several
 * fragments. Every MSS option is clamped, since a receiver that finds two believes the last. The TCP checksum must be complete: a
 * packet that carries only the pseudo-header sum (CHECKSUM_PARTIAL, virtio NEEDS_CSUM) has to be completed first.
 */
export function clampMss(bytes: Uint8Array, at: number, maximum: number): number {
  if (bytes[at + IPV4.PROTOCOL] !== PROTOCOL.TCP) return 0;
  if ((readU16(bytes, at + IPV4.FRAGMENT) & IPV4.OFFSET_MASK) !== 0) return 0;
  return clampSegment(bytes, at + headerBytes(bytes, at), at + totalLength(bytes, at), maximum);
}

/** clampMss of an IPv6 packet, whose TCP header may stand behind extension headers, in the first fragment of a datagram too. */
export function clampMss6(bytes: Uint8Array, at: number, maximum: number): number {
  const upper = upperLayer(bytes, at);
  if (!isTcp6(upper)) return 0;
  return clampSegment(bytes, at + (upper >> 8), at + totalLength6(bytes, at), maximum);
}

/** The TCP header at `tcp` of a packet that ends at `end`. */
function clampSegment(bytes: Uint8Array, tcp: number, end: number, maximum: number): number {
  if (end - tcp < TCP.HEADER_BYTES || (bytes[tcp + TCP.FLAGS]! & TCP.SYN) === 0) return 0;
  const optionsEnd = tcp + ((bytes[tcp + TCP.DATA_OFFSET]! >>> 4) << 2);
  if (optionsEnd > end) return 0;
  return clampOptions(bytes, tcp, optionsEnd, maximum);
}

/**
 * Walks the options behind the fixed header at `tcp` up to `end`. A length below 2 or beyond the end stops the walk: what follows
 * cannot be told from garbage, and the receiver's own parser stops there too.
 */
function clampOptions(bytes: Uint8Array, tcp: number, end: number, maximum: number): number {
  let changed = 0;
  let i = tcp + TCP.HEADER_BYTES;
  while (i < end) {
    const kind = bytes[i]!;
    if (kind === TCP.OPTION_END) break;
    if (kind === TCP.OPTION_NOP) {
      i++;
      continue;
    }
    if (i + 2 > end) break;
    const length = bytes[i + 1]!;
    if (length < 2 || i + length > end) break;
    if (kind === TCP.OPTION_MSS && length === TCP.OPTION_MSS_BYTES) {
      changed |= lowerMss(bytes, tcp, i + 2, maximum);
    }
    i += length;
  }
  return changed;
}

/** Lowers the u16 at `mssAt` to `maximum`. Options need no alignment, so the value may straddle two checksum words. */
function lowerMss(bytes: Uint8Array, tcp: number, mssAt: number, maximum: number): number {
  const mss = readU16(bytes, mssAt);
  if (mss <= maximum) return 0;
  writeU16(bytes, mssAt, maximum);
  // RFC 1071 §2(B): a ones-complement sum of byte-swapped words is the byte-swapped sum, so a straddling value counts swapped.
  const straddles = ((mssAt - tcp) & 1) !== 0;
  const before = straddles ? swapBytes(mss) : mss;
  const after = straddles ? swapBytes(maximum) : maximum;
  const check = readU16(bytes, tcp + TCP.CHECKSUM);
  writeU16(bytes, tcp + TCP.CHECKSUM, adjustChecksum(check, before, after));
  return 1;
}

function swapBytes(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8);
}
