import { buildIpv4, get16, onesSum, put16, put32, sealHeader } from '../../sim/oracle/wire.ts';

/** TCP packets as GRO merges them, and what the kernel must make of them, byte by byte and slowly. */
export interface TcpShape {
  readonly payloadBytes: number;
  readonly flags?: number;
  readonly tcpOptionBytes?: number;
  /** What they are; else no operation. */
  readonly optionBytes?: readonly number[];
  readonly ipOptionBytes?: number;
  /** MF and offset as in the header's word. */
  readonly fragment?: number;
  readonly source?: number;
  readonly destination?: number;
}

const ACK = 0x10;
const FIN_PSH = 0x09;
const CWR = 0x80;
const NOP = 1;

function seal(packet: Uint8Array, checkAt: number): Uint8Array {
  const header = (packet[0]! % 16) * 4;
  const check = header + checkAt;
  put16(packet, check, 0);
  const pseudo = pseudoHeader(packet, header);
  put16(packet, check, 0xffff - onesSum(Uint8Array.from([...pseudo, ...packet.subarray(header)])));
  return packet;
}

function pseudoHeader(packet: Uint8Array, header: number): number[] {
  const length = packet.length - header;
  return [...packet.subarray(12, 20), 0, packet[9]!, Math.floor(length / 256), length % 256];
}

/** With a right checksum. */
export function tcpPacket(shape: TcpShape): Uint8Array {
  const tcp = new Uint8Array(20 + (shape.tcpOptionBytes ?? 0) + shape.payloadBytes).map((_, i) => i * 31);
  put32(tcp, 4, 0xffff_f000);
  tcp[12] = (5 + (shape.tcpOptionBytes ?? 0) / 4) * 16;
  tcp[13] = shape.flags ?? ACK;
  tcp.fill(NOP, 20, 20 + (shape.tcpOptionBytes ?? 0));
  tcp.set(shape.optionBytes ?? [], 20);
  const packet = buildIpv4({
    ...{ source: shape.source ?? 0x0a4d_0002, destination: shape.destination ?? 0x0a58_0002 },
    ...{ protocol: 6, ttl: 63, id: 0xfffe, dontFragment: true, payload: tcp },
    options: new Uint8Array(shape.ipOptionBytes ?? 0).fill(NOP),
  });
  if (shape.fragment !== undefined) put16(packet, 6, shape.fragment);
  sealHeader(packet);
  return seal(packet, 16);
}

export function udpPacket(payloadBytes: number): Uint8Array {
  const udp = new Uint8Array(8 + payloadBytes).map((_, i) => i * 17);
  put16(udp, 4, udp.length);
  const packet = buildIpv4({ source: 0x0a4d_0002, destination: 0x0a58_0002, protocol: 17, payload: udp });
  return seal(packet, 6);
}

/** With only the pseudo-header's sum in its checksum, as GRO and CHECKSUM_PARTIAL leave it. */
export function makePartial(packet: Uint8Array): Uint8Array {
  const partial = packet.slice();
  const header = (packet[0]! % 16) * 4;
  put16(partial, header + (packet[9] === 6 ? 16 : 6), onesSum(Uint8Array.from(pseudoHeader(packet, header))));
  return partial;
}

/** The segments of `size` payload bytes: IDs count up, sequence numbers go on, FIN and PSH end the last, CWR begins the first. */
export function segmentsOf(packet: Uint8Array, size: number): Uint8Array[] {
  const header = (packet[0]! % 16) * 4;
  const headers = header + Math.floor(packet[header + 12]! / 16) * 4;
  const payload = packet.subarray(headers);
  const segments: Uint8Array[] = [];
  for (let begin = 0; begin < payload.length; begin += size) {
    const part = payload.subarray(begin, begin + size);
    const segment = Uint8Array.from([...packet.subarray(0, headers), ...part]);
    put16(segment, 2, segment.length);
    put16(segment, 4, (get16(packet, 4) + segments.length) % 0x1_0000);
    const sequence = get16(packet, header + 4) * 0x1_0000 + get16(packet, header + 6);
    put32(segment, header + 4, (sequence + begin) % 0x1_0000_0000);
    if (begin + size < payload.length) segment[header + 13]! &= ~FIN_PSH;
    if (begin > 0) segment[header + 13]! &= ~CWR;
    sealHeader(segment);
    segments.push(seal(segment, 16));
  }
  return segments;
}
