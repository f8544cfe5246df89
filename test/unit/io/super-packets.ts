import { get16, get32, onesSum, put16, put32 } from '../../sim/oracle/wire.ts';

/** Packets as a TUN device hands them over uncut, and what inet_gso_segment, tcp_gso_segment and __udp_gso_segment make of them. */
export interface SuperShape {
  readonly isIpv6: boolean;
  readonly isTcp: boolean;
  readonly ipOptionWords: number;
  readonly tcpOptionWords: number;
  readonly payloadBytes: number;
  readonly tcpFlags: number;
  readonly id: number;
  readonly sequence: number;
  readonly dontFragment: boolean;
  readonly tos: number;
  readonly source: number;
  readonly destination: number;
}

export const PLAIN: SuperShape = {
  ...{ isIpv6: false, isTcp: true, ipOptionWords: 0, tcpOptionWords: 0, payloadBytes: 5000, tcpFlags: 0x10 },
  ...{ id: 0xfffe, sequence: 0xffff_f000, dontFragment: true, tos: 0 },
  ...{ source: 0x0a01_0005, destination: 0x0a02_0005 },
};

const NOP = 1;

const ipBytes = (shape: SuperShape): number => (shape.isIpv6 ? 40 : 20 + 4 * shape.ipOptionWords);
const transportBytes = (shape: SuperShape): number => (shape.isTcp ? 20 + 4 * shape.tcpOptionWords : 8);
export const headersOf = (shape: SuperShape): number => ipBytes(shape) + transportBytes(shape);

function payloadOf(shape: SuperShape): Uint8Array {
  return new Uint8Array(shape.payloadBytes).map((_, i) => (i * 31 + (i >>> 8) * 7) & 0xff);
}

/** The segment of payload [begin, end), or the whole packet with another end than its payload's: written field by field. */
function build(shape: SuperShape, index: number, begin: number, end: number, flags: number): Uint8Array {
  const [header, transport] = [ipBytes(shape), transportBytes(shape)];
  const packet = new Uint8Array(header + transport + end - begin);
  if (shape.isIpv6) {
    put16(packet, 0, 0x6000 + shape.tos * 16);
    put16(packet, 4, packet.length - 40);
    packet.set([shape.isTcp ? 6 : 17, 63], 6);
    for (let i = 8; i < 40; i++) packet[i] = i * 5;
  } else {
    packet.set([0x40 + header / 4, shape.tos], 0);
    put16(packet, 2, packet.length);
    put16(packet, 4, (shape.id + index) % 0x1_0000);
    put16(packet, 6, shape.dontFragment ? 0x4000 : 0);
    packet.set([63, shape.isTcp ? 6 : 17], 8);
    put32(packet, 12, shape.source);
    put32(packet, 16, shape.destination);
    packet.fill(NOP, 20, header);
    put16(packet, 10, 0xffff - onesSum(packet, 0, header));
  }
  put16(packet, header, 40_000);
  put16(packet, header + 2, 443);
  if (shape.isTcp) {
    put32(packet, header + 4, (shape.sequence + begin) % 0x1_0000_0000);
    put32(packet, header + 8, 0x1234_5678);
    packet.set([(transport / 4) * 16, flags], header + 12);
    put16(packet, header + 14, 501);
    packet.fill(NOP, header + 20, header + transport);
  } else put16(packet, header + 4, packet.length - header);
  packet.set(payloadOf(shape).subarray(begin, end), header + transport);
  return packet;
}

function pseudoHeader(packet: Uint8Array, header: number): number[] {
  const length = packet.length - header;
  const isIpv6 = header === 40 && packet[0]! >= 0x60;
  const addresses = isIpv6 ? packet.subarray(8, 40) : packet.subarray(12, 20);
  return [...addresses, 0, packet[isIpv6 ? 6 : 9]!, Math.floor(length / 256), length % 256];
}

function seal(packet: Uint8Array, header: number, isTcp: boolean): Uint8Array {
  const check =
    0xffff - onesSum(Uint8Array.from([...pseudoHeader(packet, header), ...packet.subarray(header)]));
  put16(packet, header + (isTcp ? 16 : 6), check === 0 && !isTcp ? 0xffff : check);
  return packet;
}

/** As it comes from the device: with the sum of the pseudo-header in its checksum. */
export function superPacket(shape: SuperShape): Uint8Array {
  const packet = build(shape, 0, 0, shape.payloadBytes, shape.tcpFlags);
  const header = ipBytes(shape);
  put16(packet, header + (shape.isTcp ? 16 : 6), onesSum(Uint8Array.from(pseudoHeader(packet, header))));
  return packet;
}

/** struct virtio_net_hdr before it. */
export function vnetOf(shape: SuperShape, segmentBytes: number, change: Partial<Vnet> = {}): Uint8Array {
  const header = ipBytes(shape);
  const vnet: Vnet = {
    ...{
      flags: 1,
      type: shape.isTcp ? (shape.isIpv6 ? 4 : 1) : 5,
      headerBytes: headersOf(shape),
      segmentBytes,
    },
    ...{ checksumStart: header, checksumOffset: shape.isTcp ? 16 : 6 },
    ...change,
  };
  const { headerBytes, checksumStart, checksumOffset } = vnet;
  const words = Uint16Array.of(headerBytes, vnet.segmentBytes, checksumStart, checksumOffset);
  return Uint8Array.from([vnet.flags, vnet.type, ...new Uint8Array(words.buffer)]);
}

interface Vnet {
  readonly flags: number;
  readonly type: number;
  readonly headerBytes: number;
  readonly segmentBytes: number;
  readonly checksumStart: number;
  readonly checksumOffset: number;
}

/** FIN and PSH are the last one's, CWR is the first one's, IDs count up, sequence numbers go on. */
export function segmentsOf(shape: SuperShape, segmentBytes: number): Uint8Array[] {
  const segments: Uint8Array[] = [];
  for (let begin = 0; begin < shape.payloadBytes; begin += segmentBytes) {
    const end = Math.min(shape.payloadBytes, begin + segmentBytes);
    let flags = shape.tcpFlags;
    if (end < shape.payloadBytes) flags &= 0xff - 0x09;
    if (begin > 0) flags &= 0xff - 0x80;
    segments.push(seal(build(shape, segments.length, begin, end, flags), ipBytes(shape), shape.isTcp));
  }
  return segments;
}

/** What the outer header of a segment must say. */
export function outerFields(outer: Uint8Array): {
  bytes: number;
  id: number;
  sum: number;
  addresses: number[];
} {
  const addresses = [get32(outer, 12), get32(outer, 16)];
  return { bytes: get16(outer, 2), id: get16(outer, 4), sum: onesSum(outer, 0, 20), addresses };
}
