import { readU16, writeU16 } from './bytes.ts';
import { foldSum, sumBytes } from './checksum.ts';
import { headerBytes, IPV4, isFragment, PROTOCOL, totalLength } from './ipv4.ts';
import { TCP } from './tcp.ts';
import { VERDICT } from './verdict.ts';

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
  GSO_ECN: 0x80,
} as const;

const UDP_HEADER_BYTES = 8;
const UDP_CHECKSUM = 6;

/** A SYN or RST is never segmented, nor is urgent data: the kernel would repeat the flag in each segment. */
const NEVER_SEGMENTED = TCP.SYN | TCP.RST | TCP.URG;

const HIGH_BYTE = new Uint8Array(Uint16Array.of(0x0100).buffer)[0] === 1 ? 0 : 1;

/**
 * 1 when the TCP or UDP checksum of the checked packet at `at` is only the folded sum of the pseudo-header, else 0. So it comes out of a
 * raw socket where the kernel meant to complete it later (CHECKSUM_PARTIAL): after GRO has merged segments (tcp_gro_complete in
 * net/ipv4/tcp_offload.c), whatever their size, and from a sender on the same host, over veth. Nobody else completes it, so the
 * receiver would drop every such packet.
 *
 * Of 65,536 whole packets one has that very value by chance; it is told from the others by its sum.
 */
export function isChecksumPartial(bytes: Uint8Array, at: number): number {
  const checkOffset = checksumOffset(bytes, at);
  if (checkOffset === 0) return 0;
  const header = headerBytes(bytes, at);
  const length = totalLength(bytes, at) - header;
  const pseudo = pseudoSum(bytes, at, length);
  if (readU16(bytes, at + header + checkOffset) !== pseudo) return 0;
  return foldSum(sumBytes(bytes, at + header, length) + pseudo) === 0xffff ? 0 : 1;
}

/**
 * Writes the vnet header into the VNET.BYTES before the checked packet at `at`. `partial` is what isChecksumPartial said of the packet as
 * it was received: clampMss patches a checksum as if it were whole, and is undone here where it was not.
 *
 * A TCP packet above `mtu` bytes is several that GRO has merged: it is marked for segmentation into packets of at most `mtu` bytes, with
 * the pseudo-header sum in its checksum, as the kernel expects it. Its own checksum is verified before, since the kernel would give
 * each segment a right one, whatever the bytes. Returns VERDICT.FORWARD, or VERDICT.INNER_CHECKSUM where that fails. Any other packet
 * keeps all its bytes. RFC 9293 §3.1 (the checksum).
 */
export function writeVnetHeader(bytes: Uint8Array, at: number, mtu: number, partial: number): number {
  const vnet = at - VNET.BYTES;
  for (let i = vnet; i < at; i++) bytes[i] = 0;
  const total = totalLength(bytes, at);
  const isMerged = total > mtu && segmentHeaders(bytes, at, mtu) !== 0;
  if (partial === 0 && !isMerged) return VERDICT.FORWARD;

  const header = headerBytes(bytes, at);
  const transport = at + header;
  const pseudo = pseudoSum(bytes, at, total - header);
  if (partial === 0 && foldSum(sumBytes(bytes, transport, total - header) + pseudo) !== 0xffff) {
    return VERDICT.INNER_CHECKSUM;
  }
  const checkOffset = checksumOffset(bytes, at);
  writeU16(bytes, transport + checkOffset, pseudo);
  bytes[vnet + VNET.FLAGS] = VNET.NEEDS_CHECKSUM;
  writeHost16(bytes, vnet + VNET.CHECKSUM_START, header);
  writeHost16(bytes, vnet + VNET.CHECKSUM_OFFSET, checkOffset);
  if (!isMerged) return VERDICT.FORWARD;

  const headers = segmentHeaders(bytes, at, mtu);
  // With the ECN bit the kernel leaves CWR in the first segment only (RFC 3168 §6.1.2: once for each reduction).
  const hasCwr = (bytes[transport + TCP.FLAGS]! & TCP.CWR) !== 0;
  bytes[vnet + VNET.GSO_TYPE] = hasCwr ? VNET.GSO_TCPV4 | VNET.GSO_ECN : VNET.GSO_TCPV4;
  writeHost16(bytes, vnet + VNET.HEADER_LENGTH, headers);
  writeHost16(bytes, vnet + VNET.GSO_SIZE, mtu - headers);
  return VERDICT.FORWARD;
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

/** Bytes of IPv4 and TCP header that each segment of the packet at `at` begins with, or 0 when it cannot be segmented. */
function segmentHeaders(bytes: Uint8Array, at: number, mtu: number): number {
  if (bytes[at + IPV4.PROTOCOL]! !== PROTOCOL.TCP || checksumOffset(bytes, at) === 0) return 0;
  const header = headerBytes(bytes, at);
  const tcpHeader = (bytes[at + header + TCP.DATA_OFFSET]! >>> 4) << 2;
  if (tcpHeader < TCP.HEADER_BYTES) return 0;
  if ((bytes[at + header + TCP.FLAGS]! & NEVER_SEGMENTED) !== 0) return 0;
  const headers = header + tcpHeader;
  return headers >= totalLength(bytes, at) || headers >= mtu ? 0 : headers;
}

/** The folded sum of the pseudo-header: addresses, protocol and the `length` of header and payload. RFC 9293 §3.1, RFC 768. */
function pseudoSum(bytes: Uint8Array, at: number, length: number): number {
  return foldSum(sumBytes(bytes, at + IPV4.SOURCE, 8) + bytes[at + IPV4.PROTOCOL]! + length);
}

function writeHost16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at + HIGH_BYTE] = value >>> 8;
  bytes[at + 1 - HIGH_BYTE] = value;
}
