import { readU16 } from './bytes.ts';
import { headerBytes, IPV4, isFragment, PROTOCOL, totalLength } from './ipv4.ts';
import { IPV6, totalLength6 } from './ipv6.ts';
import { TCP } from './tcp.ts';
import { VNET } from './vnet.ts';

/**
 * Packets that the TUN device hands over uncut, because its reader has said that it cuts them itself (TUNSETOFFLOAD): up to 64 KiB of one
 * TCP or UDP flow behind one header. What they stand for is in the vnet header before them.
 */
const UDP_HEADER_BYTES = 8;
const UDP_LENGTH = 4;
const UDP_CHECKSUM = 6;

const LOW_BYTE = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1;

/** 0 for a packet that is whole as it is; else the VNET.GSO_TYPE of the packet at `at`, whose vnet header lies before it. */
export function gsoType(bytes: Uint8Array, at: number): number {
  return bytes[at - VNET.BYTES + VNET.GSO_TYPE]!;
}

/** Payload bytes of each segment but the last. */
export function gsoSize(bytes: Uint8Array, at: number): number {
  return readHost16(bytes, at - VNET.BYTES + VNET.GSO_SIZE);
}

/**
 * Bytes of IPv4 and transport header that each segment of the packet at `at` begins with, or -1 when its vnet header and its own headers do
 * not fit together and the `available` bytes. The IPv4 header is checked (checkInner), gsoType is not 0.
 */
export function gsoHeaders(bytes: Uint8Array, at: number, available: number): number {
  const protocol = gsoProtocol(gsoType(bytes, at), VNET.GSO_TCPV4);
  if (bytes[at + IPV4.PROTOCOL]! !== protocol || isFragment(bytes, at)) return -1;
  return headersBehind(bytes, at, headerBytes(bytes, at), protocol, totalLength(bytes, at), available);
}

/** gsoHeaders of an IPv6 packet (checkInner6). The kernel cuts those with extension headers itself. */
export function gsoHeaders6(bytes: Uint8Array, at: number, available: number): number {
  const protocol = gsoProtocol(gsoType(bytes, at), VNET.GSO_TCPV6);
  if (bytes[at + IPV6.NEXT_HEADER]! !== protocol) return -1;
  return headersBehind(bytes, at, IPV6.HEADER_BYTES, protocol, totalLength6(bytes, at), available);
}

/** Behind an IP header of `header` bytes. */
function headersBehind(
  bytes: Uint8Array,
  at: number,
  header: number,
  protocol: number,
  total: number,
  available: number,
): number {
  if (total !== available) return -1;
  const transport = at + header;
  const isTcp = protocol === PROTOCOL.TCP;
  if (header + (isTcp ? TCP.HEADER_BYTES : UDP_HEADER_BYTES) > total) return -1;
  const transportBytes = isTcp ? (bytes[transport + TCP.DATA_OFFSET]! >>> 4) << 2 : UDP_HEADER_BYTES;
  if (isTcp && transportBytes < TCP.HEADER_BYTES) return -1;
  if (!isTcp && readU16(bytes, transport + UDP_LENGTH) !== total - header) return -1;
  const headers = header + transportBytes;
  if (headers >= total || gsoSize(bytes, at) === 0) return -1;

  const vnet = at - VNET.BYTES;
  // Only a hint to the virtio standard (5.1.6.2): the kernel gives the length of what lies in the packet's first piece of memory.
  if (readHost16(bytes, vnet + VNET.HEADER_LENGTH) > total) return -1;
  if ((bytes[vnet + VNET.FLAGS]! & VNET.NEEDS_CHECKSUM) === 0) return headers;
  if (readHost16(bytes, vnet + VNET.CHECKSUM_START) !== header) return -1;
  const checkOffset = isTcp ? TCP.CHECKSUM : UDP_CHECKSUM;
  return readHost16(bytes, vnet + VNET.CHECKSUM_OFFSET) === checkOffset ? headers : -1;
}

/** -1 for a type that we did not ask the device for. */
function gsoProtocol(type: number, tcp: number): number {
  if ((type & ~VNET.GSO_ECN) === tcp) return PROTOCOL.TCP;
  return type === VNET.GSO_UDP_L4 ? PROTOCOL.UDP : -1;
}

function readHost16(bytes: Uint8Array, at: number): number {
  return bytes[at + LOW_BYTE]! | (bytes[at + 1 - LOW_BYTE]! << 8);
}
