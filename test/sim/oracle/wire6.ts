import { checksumOf, get16, put16, put32 } from './wire.ts';

/** IPv6 packets the slow way, as wire.ts does it for IPv4. */
export interface Ipv6 {
  readonly trafficClass: number;
  readonly flowLabel: number;
  readonly nextHeader: number;
  readonly hopLimit: number;
  readonly source: bigint;
  readonly destination: bigint;
  readonly payload: Uint8Array;
}

export function addressBytes(address: bigint): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, i) => Number((address >> BigInt(120 - 8 * i)) & 255n));
}

export function buildIpv6(fields: Partial<Ipv6>): Uint8Array {
  const { payload = new Uint8Array(0), trafficClass = 0, flowLabel = 0 } = fields;
  const bytes = new Uint8Array(40 + payload.length);
  put32(bytes, 0, 6 * 2 ** 28 + trafficClass * 2 ** 20 + flowLabel);
  put16(bytes, 4, payload.length);
  bytes[6] = fields.nextHeader ?? 59;
  bytes[7] = fields.hopLimit ?? 63;
  bytes.set(addressBytes(fields.source ?? 0n), 8);
  bytes.set(addressBytes(fields.destination ?? 0n), 24);
  bytes.set(payload, 40);
  return bytes;
}

export function payloadOf(bytes: Uint8Array): Uint8Array {
  return bytes.slice(40, 40 + get16(bytes, 4));
}

/** A TCP header with an MSS option, its checksum right, in a packet of its own. */
export function buildSyn6(source: bigint, destination: bigint, mss: number): Uint8Array {
  const tcp = new Uint8Array(24);
  put16(tcp, 0, 40_000);
  put16(tcp, 2, 80);
  tcp.set([0x60, 0x02], 12);
  tcp.set([2, 4, mss >> 8, mss & 255], 20);
  const pseudo = Uint8Array.of(
    ...addressBytes(source),
    ...addressBytes(destination),
    0,
    0,
    0,
    tcp.length,
    0,
    0,
    0,
    6,
  );
  put16(tcp, 16, checksumOf(Uint8Array.of(...pseudo, ...tcp)));
  return buildIpv6({ source, destination, nextHeader: 6, payload: tcp });
}

/** 0 where the checksum of the TCP or UDP segment behind the fixed header is right. */
export function transportError(bytes: Uint8Array): number {
  const payload = payloadOf(bytes);
  const length = payload.length;
  const pseudo = Uint8Array.of(...bytes.slice(8, 40), 0, 0, length >> 8, length & 255, 0, 0, 0, bytes[6]!);
  return checksumOf(Uint8Array.of(...pseudo, ...payload));
}
