import { parseAddress, parseCidr4 } from '../../../src/base/address.ts';
import type { Prng } from '../../../src/base/prng.ts';
import { Fib } from '../../../src/fib/fib.ts';
import { buildIpv4, checksumOf, onesSum, put16, put32 } from '../../sim/oracle/wire.ts';
import { NORTH, OURS, STRANGER, WEST_1, WEST_2 } from './rig.ts';

export const GATEWAYS = [WEST_1, WEST_2, NORTH].map((address) => ({ address, weight: 1 }));

/** Two clusters behind three gateways. */
export function mixedFib(): Fib {
  const fib = new Fib({ capacityBytes: 1 << 20 });
  fib.setLocal([parseCidr4('10.1.0.0/16')]);
  const route = (cidr: string, cluster: string, ...gateways: number[]) => ({
    ...{ cidr: parseCidr4(cidr), cluster },
    gateways: gateways.map((i) => GATEWAYS[i]!),
  });
  fib.replace([
    route('10.2.0.0/16', 'west', 0),
    route('10.2.200.0/24', 'west', 0, 1),
    route('10.2.200.128/26', 'west', 1),
    route('10.3.0.0/16', 'north', 2),
    // An overlay that contains the underlay, by which a packet may be on its way to a gateway.
    route('172.31.0.0/24', 'west', 0),
  ]);
  return fib;
}

const ADDRESSES = [
  ...['10.1.0.5', '10.1.7.9', '10.2.0.5', '10.2.9.9', '10.2.200.5', '10.2.200.130', '10.3.0.5', '192.0.2.1'],
  ...['0.0.0.0', '10.1.0.1', '127.0.0.1', '224.0.0.1', '255.255.255.255'],
].map(parseAddress);

function someAddress(prng: Prng, usual: readonly number[]): number {
  if (prng.chance(0.8)) return prng.pick(usual);
  return prng.pick([...ADDRESSES, OURS, WEST_1, WEST_2, NORTH, STRANGER]);
}

/** Of any kind that a host sends or forwards to us, whole and broken. */
export function somePacket(
  prng: Prng,
  sources: readonly number[],
  destinations: readonly number[],
): Uint8Array {
  // Also such as just fit the path MTUs below, and such as do not by a byte.
  const length = prng.pick([0, 3, 20, 44, 200, 536, 537, 1360, 1361, 1440, 1460, 1461]);
  const payload = Uint8Array.from({ length }, () => prng.u32());
  // A TCP header that has an MSS option, so that a SYN is clamped.
  if (payload.length >= 24) payload.set([prng.chance(0.8) ? 0x60 : 0x50, prng.pick([0x02, 0x10, 0x18])], 12);
  if (payload.length >= 24) payload.set([2, 4, 5, 0xb4], 20);
  const bytes = buildIpv4({
    tos: prng.chance(0.5) ? 0 : prng.below(256),
    id: prng.below(65_536),
    dontFragment: prng.chance(0.6),
    moreFragments: prng.chance(0.05),
    offsetUnits: prng.chance(0.05) ? prng.below(100) : 0,
    ttl: prng.chance(0.95) ? 63 : prng.below(3),
    protocol: prng.pick([6, 6, 17, 17, 1, 4, 132]),
    source: someAddress(prng, sources),
    destination: someAddress(prng, destinations),
    options: prng.chance(0.05) ? Uint8Array.of(1, 1, 1, 0) : new Uint8Array(0),
    payload,
  });
  if (prng.chance(0.1)) bytes[prng.below(20)]! ^= 1 << prng.below(8);
  if (prng.chance(0.5)) return bytes;
  put16(bytes, 10, 0);
  put16(bytes, 10, checksumOf(bytes, 0, 20));
  return bytes;
}

export const LOCAL = ADDRESSES.slice(0, 2);
export const REMOTE = ADDRESSES.slice(2, 7);

/** As GRO leaves datagrams that it has merged: longer than the link carries, with the sum of the pseudo-header for a checksum. */
function mergedDatagrams(prng: Prng): Uint8Array {
  const payload = Uint8Array.from({ length: 1470 + prng.below(100) }, () => prng.u32());
  const bytes = buildIpv4({ protocol: 17, source: REMOTE[0]!, destination: LOCAL[0]!, payload });
  const pseudo = Uint8Array.of(...bytes.subarray(12, 20), 0, 17, payload.length >> 8, payload.length & 255);
  put16(bytes, 26, onesSum(pseudo));
  return bytes;
}

/** A UDP datagram between these addresses, as fou puts it before an inner packet; with a checksum, where it has one. */
export function datagram(
  inner: Uint8Array,
  port: number,
  { source, destination }: { source: number; destination: number },
  checksum: 'none' | 'right' | 'partial' | 'wrong' = 'none',
): Uint8Array {
  const bytes = new Uint8Array(8 + inner.length);
  bytes.set(inner, 8);
  put16(bytes, 0, 51_000);
  put16(bytes, 2, port);
  put16(bytes, 4, bytes.length);
  const addresses = new Uint8Array(12);
  put32(addresses, 0, source);
  put32(addresses, 4, destination);
  addresses.set([0, 17, bytes.length >> 8, bytes.length & 255], 8);
  const pseudo = onesSum(addresses);
  const whole = checksumOf(Uint8Array.of(...addresses, ...bytes));
  if (checksum === 'right') put16(bytes, 6, whole === 0 ? 0xffff : whole);
  if (checksum === 'partial') put16(bytes, 6, pseudo);
  if (checksum === 'wrong') put16(bytes, 6, (whole + 1) & 0xffff || 1);
  return bytes;
}

function someDatagram(
  prng: Prng,
  inner: Uint8Array,
  port: number,
  ends: { source: number; destination: number },
): Uint8Array {
  const checksum = prng.pick(['none', 'none', 'none', 'right', 'partial', 'wrong'] as const);
  const bytes = datagram(inner, prng.chance(0.95) ? port : port + 1, ends, checksum);
  if (prng.chance(0.05)) put16(bytes, 4, prng.pick([0, 7, 8, 9, 28, bytes.length - 1, bytes.length + 1]));
  return bytes;
}

/** Of any kind that reaches us on the underlay, whole and broken; with a UDP port, in fou. */
export function someTunnelled(prng: Prng, udpPort = 0): Uint8Array {
  const inner = prng.chance(0.03) ? mergedDatagrams(prng) : somePacket(prng, REMOTE, LOCAL);
  const ends = { source: prng.pick([WEST_1, WEST_1, WEST_2, NORTH, STRANGER]), destination: OURS };
  const payload = udpPort === 0 ? inner : someDatagram(prng, inner, udpPort, ends);
  const [usual, unusual] = udpPort === 0 ? [4, 17] : [17, 4];
  const bytes = buildIpv4({
    ...{ protocol: prng.chance(0.97) ? usual : unusual, dontFragment: true, payload, ...ends },
    tos: prng.chance(0.7) ? inner[1]! : prng.below(256),
    moreFragments: prng.chance(0.02),
    ttl: prng.chance(0.95) ? 64 : 0,
    options: prng.chance(0.05) ? Uint8Array.of(1, 1, 1, 0) : new Uint8Array(0),
  });
  if (prng.chance(0.05)) bytes[prng.below(20)]! ^= 1 << prng.below(8);
  // Bytes behind the inner packet, as padding on a short frame leaves them, and packets that were cut off.
  if (prng.chance(0.05)) return bytes.slice(0, prng.below(bytes.length));
  return prng.chance(0.05) ? Uint8Array.of(...bytes, 1, 2, 3) : bytes;
}
