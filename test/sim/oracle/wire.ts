/**
 * IPv4 packets the slow way, for the oracle and the packet generators: multiplication and division, plain sums, new arrays everywhere. Nothing of src/packet
 * is used, so that a mistake there is not repeated here.
 */

/** The ones-complement sum of 16-bit words as a number from 1 to 65,535 (0 only when every byte is 0), by division instead of folding. */
export function onesSum(bytes: Uint8Array, from = 0, length = bytes.length - from): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += (bytes[from + i] as number) * (i % 2 === 0 ? 256 : 1);
  return normal(sum);
}

/** A sum in ones-complement form: 65,535 and 0 are the same number, and only a sum of nothing is written 0. */
export function normal(sum: number): number {
  return sum === 0 ? 0 : ((sum - 1) % 0xffff) + 1;
}

export function checksumOf(bytes: Uint8Array, from = 0, length = bytes.length - from): number {
  return 0xffff - onesSum(bytes, from, length);
}

export function get16(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) * 256 + (bytes[at + 1] as number);
}

export function get32(bytes: Uint8Array, at: number): number {
  return get16(bytes, at) * 0x1_0000 + get16(bytes, at + 2);
}

export function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = Math.floor(value / 256);
  bytes[at + 1] = value % 256;
}

export function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, Math.floor(value / 0x1_0000));
  put16(bytes, at + 2, value % 0x1_0000);
}

export interface Ipv4 {
  readonly tos: number;
  readonly id: number;
  /** DF, MF and the offset in units of 8 bytes, as the header has them. */
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  readonly offsetUnits: number;
  readonly ttl: number;
  readonly protocol: number;
  readonly source: number;
  readonly destination: number;
  readonly options: Uint8Array;
  readonly payload: Uint8Array;
}

const BLANK: Ipv4 = {
  tos: 0,
  id: 0,
  dontFragment: false,
  moreFragments: false,
  offsetUnits: 0,
  ttl: 64,
  protocol: 17,
  source: 0,
  destination: 0,
  options: new Uint8Array(0),
  payload: new Uint8Array(0),
};

/** A packet with a right checksum. Options are padded to whole words. */
export function buildIpv4(fields: Partial<Ipv4>): Uint8Array {
  const packet = { ...BLANK, ...fields };
  const header = 20 + Math.ceil(packet.options.length / 4) * 4;
  const bytes = new Uint8Array(header + packet.payload.length);
  bytes[0] = 0x40 + header / 4;
  bytes[1] = packet.tos;
  put16(bytes, 2, bytes.length);
  put16(bytes, 4, packet.id);
  put16(
    bytes,
    6,
    (packet.dontFragment ? 0x4000 : 0) + (packet.moreFragments ? 0x2000 : 0) + packet.offsetUnits,
  );
  bytes[8] = packet.ttl;
  bytes[9] = packet.protocol;
  put32(bytes, 12, packet.source);
  put32(bytes, 16, packet.destination);
  bytes.set(packet.options, 20);
  bytes.set(packet.payload, header);
  sealHeader(bytes);
  return bytes;
}

/** Writes the header checksum anew. */
export function sealHeader(bytes: Uint8Array): void {
  put16(bytes, 10, 0);
  put16(bytes, 10, checksumOf(bytes, 0, headerLength(bytes)));
}

export function headerLength(bytes: Uint8Array): number {
  return ((bytes[0] as number) % 16) * 4;
}

/** Takes a packet apart that is known to be well formed. Options and payload are views of it. */
export function parseIpv4(bytes: Uint8Array): Ipv4 {
  const header = headerLength(bytes);
  const fragment = get16(bytes, 6);
  return {
    tos: bytes[1] as number,
    id: get16(bytes, 4),
    dontFragment: Math.floor(fragment / 0x4000) % 2 === 1,
    moreFragments: Math.floor(fragment / 0x2000) % 2 === 1,
    offsetUnits: fragment % 0x2000,
    ttl: bytes[8] as number,
    protocol: bytes[9] as number,
    source: get32(bytes, 12),
    destination: get32(bytes, 16),
    options: bytes.subarray(20, header),
    payload: bytes.subarray(header, get16(bytes, 2)),
  };
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

/** For a failure message: header bytes in words, then the length of the rest. */
export function hex(bytes: Uint8Array, bytesMax = 60): string {
  const shown = Buffer.from(bytes.subarray(0, bytesMax))
    .toString('hex')
    .replace(/(.{8})/g, '$1 ')
    .trimEnd();
  return bytes.length > bytesMax ? `${shown} … (${bytes.length} bytes)` : shown;
}
