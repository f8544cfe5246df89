import { Buffer } from 'node:buffer';

/**
 * IPv4 packets for tests, made byte by byte from the RFCs and from nothing of src/packet: what the gateway's codec is compared with
 * must not be that codec.
 */
export interface Ipv4Fields {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly payload: Buffer;
  readonly ttl?: number;
  readonly tos?: number;
  /** 0 lets a raw socket's kernel choose. */
  readonly id?: number;
  readonly dontFragment?: boolean;
}

export const IP_HEADER_BYTES = 20;
export const PROTOCOL = { ICMP: 1, IPIP: 4, TCP: 6, UDP: 17, EXPERIMENTAL: 253 } as const;

export function ipv4(fields: Ipv4Fields): Buffer {
  const packet = Buffer.alloc(IP_HEADER_BYTES + fields.payload.length);
  packet.writeUInt8(0x45, 0);
  packet.writeUInt8(fields.tos ?? 0, 1);
  packet.writeUInt16BE(packet.length, 2);
  packet.writeUInt16BE(fields.id ?? 0, 4);
  packet.writeUInt16BE(fields.dontFragment === true ? 0x4000 : 0, 6);
  packet.writeUInt8(fields.ttl ?? 64, 8);
  packet.writeUInt8(fields.protocol, 9);
  packet.writeUInt32BE(addressNumber(fields.source), 12);
  packet.writeUInt32BE(addressNumber(fields.destination), 16);
  packet.writeUInt16BE(checksum(packet.subarray(0, IP_HEADER_BYTES)), 10);
  fields.payload.copy(packet, IP_HEADER_BYTES);
  return packet;
}

/** ICMP echo request: type 8, or the reply with type 0. */
export function icmpEcho(type: 0 | 8, id: number, sequence: number, data: Buffer): Buffer {
  const message = Buffer.alloc(8 + data.length);
  message.writeUInt8(type, 0);
  message.writeUInt16BE(id, 4);
  message.writeUInt16BE(sequence, 6);
  data.copy(message, 8);
  message.writeUInt16BE(checksum(message), 2);
  return message;
}

export function udp(sourcePort: number, destinationPort: number, data: Buffer): Buffer {
  const datagram = Buffer.alloc(8 + data.length);
  datagram.writeUInt16BE(sourcePort, 0);
  datagram.writeUInt16BE(destinationPort, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  // Checksum 0: none (RFC 768).
  data.copy(datagram, 8);
  return datagram;
}

/** RFC 1071, the slow way. */
export function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += i % 2 === 0 ? bytes[i]! * 256 : bytes[i]!;
  while (sum > 0xffff) sum = Math.floor(sum / 0x10000) + (sum % 0x10000);
  return 0xffff - sum;
}

export function addressNumber(text: string): number {
  return text.split('.').reduce((number, part) => number * 256 + Number(part), 0);
}

export function addressText(bytes: Uint8Array, at: number): string {
  return bytes.subarray(at, at + 4).join('.');
}

/** `length` bytes that depend on seed and number: xorshift32, so neighbours share no pattern. */
export function pattern(seed: number, number: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = (Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b)) | 1;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state & 0xff;
  }
  return bytes;
}

/** Index of the first byte in which two buffers differ, also where one just ends; -1 when equal. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return i;
  return a.length === b.length ? -1 : length;
}
