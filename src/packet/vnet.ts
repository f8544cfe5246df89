import { readU16, writeU16 } from './bytes.ts';
import { foldSum, sumBytes } from './checksum.ts';
import { headerBytes, IPV4, isFragment, PROTOCOL, totalLength } from './ipv4.ts';
import { IPV6, isTcp6, totalLength6, upperLayer } from './ipv6.ts';
import { clampMss, clampMss6, TCP } from './tcp.ts';

/**
 * struct virtio_net_hdr of linux/virtio_net.h, which goes right before each packet that is written to the TUN device. It says what the
 * kernel has yet to do to the packet: complete its TCP or UDP checksum, and cut it into segments.
 *
 *     0       1          2               4          6                8                 10
 *   | FLAGS | GSO_TYPE | HEADER_LENGTH | GSO_SIZE | CHECKSUM_START | CHECKSUM_OFFSET | IPv4 packet
 *
 * Two-byte fields are in the host's byte order, which is what a TUN device has without TUNSETVNETLE and TUNSETVNETBE.
 */
export const VNET = {
  FLAGS: 0,
  GSO_TYPE: 1,
  HEADER_LENGTH: 2,
  GSO_SIZE: 4,
  CHECKSUM_START: 6,
  CHECKSUM_OFFSET: 8,
  BYTES: 10,
  NEEDS_CHECKSUM: 1,
  GSO_TCPV4: 1,
  GSO_TCPV6: 4,
  GSO_UDP_L4: 5,
  GSO_ECN: 0x80,
} as const;

const UDP_HEADER_BYTES = 8;
const UDP_CHECKSUM = 6;

/**
 * 1 when the TCP or UDP checksum of the checked packet at `at` is only the folded sum of the pseudo-header, else 0. So it comes out of a
 * raw socket where the kernel meant to complete it later (CHECKSUM_PARTIAL): after GRO has merged segments (tcp_gro_complete in
 * net/ipv4/tcp_offload.c), whatever their size, and from a sender on the same host, over veth. Nobody else completes it, so the
 * receiver would drop every such packet.
 *
 * Of 65,536 whole packets one has that very value by chance; it is told from the others by its sum.
 */
export function isChecksumPartial(bytes: Uint8Array, at: number): number {
  if (mayBePartial(bytes, at) === 0) return 0;
  const header = headerBytes(bytes, at);
  const length = totalLength(bytes, at) - header;
  return foldSum(sumBytes(bytes, at + header, length) + pseudoSum(bytes, at, length)) === 0xffff ? 0 : 1;
}

/**
 * 1 when the device can take the checked packet at `at` as it is, and it is not worth a call of the addon, else 0: it fits, and its
 * checksum is not even likely to have been left undone. Writes the empty vnet header before it. What `Native.coalesce` makes of such a
 * packet when it is the only one (bench: 8 ns here, 270 ns there, nearly all of them for the call).
 */
export function writeEmptyVnetHeader(bytes: Uint8Array, at: number, mtu: number): number {
  if (totalLength(bytes, at) > mtu || mayBePartial(bytes, at) === 1) return 0;
  for (let i = at - VNET.BYTES; i < at; i++) bytes[i] = 0;
  return 1;
}

/**
 * `clampMss` for a packet that was received, whose checksum may be partial: it patches a checksum as if it were whole, which the sum of
 * a pseudo-header must not be. Only a SYN is looked at twice.
 */
export function clampReceivedMss(bytes: Uint8Array, at: number, maximum: number): number {
  const flags = at + headerBytes(bytes, at) + TCP.FLAGS;
  if (checksumOffset(bytes, at) !== TCP.CHECKSUM || (bytes[flags]! & TCP.SYN) === 0)
    return clampMss(bytes, at, maximum);
  const check = at + headerBytes(bytes, at) + TCP.CHECKSUM;
  const partial = isChecksumPartial(bytes, at);
  const before = readU16(bytes, check);
  const changed = clampMss(bytes, at, maximum);
  if (partial === 1) writeU16(bytes, check, before);
  return changed;
}

/** clampReceivedMss of an IPv6 packet. */
export function clampReceivedMss6(bytes: Uint8Array, at: number, maximum: number): number {
  const upper = upperLayer(bytes, at);
  const end = at + totalLength6(bytes, at);
  const tcp = at + (upper >> 8);
  if (!isTcp6(upper) || tcp + TCP.HEADER_BYTES > end) return 0;
  if ((bytes[tcp + TCP.FLAGS]! & TCP.SYN) === 0) return 0;
  const before = readU16(bytes, tcp + TCP.CHECKSUM);
  const pseudo = foldSum(sumBytes(bytes, at + IPV6.SOURCE, 32) + PROTOCOL.TCP + (end - tcp));
  const isPartial = before === pseudo && foldSum(pseudo + sumBytes(bytes, tcp, end - tcp)) !== 0xffff;
  const changed = clampMss6(bytes, at, maximum);
  if (isPartial) writeU16(bytes, tcp + TCP.CHECKSUM, before);
  return changed;
}

function mayBePartial(bytes: Uint8Array, at: number): number {
  const offset = checksumOffset(bytes, at);
  if (offset === 0) return 0;
  const header = headerBytes(bytes, at);
  const pseudo = pseudoSum(bytes, at, totalLength(bytes, at) - header);
  return readU16(bytes, at + header + offset) === pseudo ? 1 : 0;
}

/** Where the checksum lies in the transport header of an unfragmented TCP or UDP packet that has one; 0 for any other packet. */
function checksumOffset(bytes: Uint8Array, at: number): number {
  const protocol = bytes[at + IPV4.PROTOCOL]!;
  if (protocol !== PROTOCOL.TCP && protocol !== PROTOCOL.UDP) return 0;
  if (isFragment(bytes, at)) return 0;
  const length = totalLength(bytes, at) - headerBytes(bytes, at);
  if (protocol === PROTOCOL.TCP) return length < TCP.HEADER_BYTES ? 0 : TCP.CHECKSUM;
  return length < UDP_HEADER_BYTES ? 0 : UDP_CHECKSUM;
}

/** The folded sum of the pseudo-header: addresses, protocol and the `length` of header and payload. RFC 9293 §3.1, RFC 768. */
function pseudoSum(bytes: Uint8Array, at: number, length: number): number {
  return foldSum(sumBytes(bytes, at + IPV4.SOURCE, 8) + bytes[at + IPV4.PROTOCOL]! + length);
}
