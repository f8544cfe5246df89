import { Prng } from '../../src/base/prng.ts';
import { buildIpv4, headerLength, onesSum, put16, sealHeader } from '../sim/oracle/wire.ts';

/**
 * IPv4 packets that are wrong in one way or several, every one of them a function of (seed, index): whoever knows both makes the same
 * bytes, so that a sender and a checker in two processes need not exchange packets, and a failure is replayed from two numbers.
 *
 * The kinds take turns, and each goes through its cases in order: a run of some ten thousand has had every header field at every bound
 * and every cut of a header. What no list can hold (lengths, addresses, flips) is random.
 */
export interface Ends {
  /** Where whole packets come from and go to. */
  readonly sources: readonly number[];
  readonly destinations: readonly number[];
  /** What may stand there instead: other clusters, ends of the tunnel, martians. */
  readonly strange: readonly number[];
  readonly bytesMax: number;
}

interface Field {
  readonly bit: number;
  readonly bits: number;
}

const field = (bit: number, bits: number): Field => ({ bit, bits });

/** RFC 791 §3.1, in order: version, IHL, TOS, total length, ID, flags, offset, TTL, protocol, checksum, source, destination. */
const IPV4_FIELDS: readonly Field[] = [
  ...[field(0, 4), field(4, 4), field(8, 8), field(16, 16), field(32, 16), field(48, 3), field(51, 13)],
  ...[field(64, 8), field(72, 8), field(80, 16), field(96, 32), field(128, 32)],
];

/** Behind the IPv4 header, by protocol: RFC 9293 §3.1, RFC 768, RFC 792. */
const TRANSPORT_FIELDS: ReadonlyMap<number, readonly Field[]> = new Map([
  [
    6,
    [field(0, 16), field(32, 32), field(96, 4), field(104, 8), field(128, 16), field(160, 8), field(168, 8)],
  ],
  [17, [field(0, 16), field(16, 16), field(32, 16), field(48, 16)]],
  [1, [field(0, 8), field(8, 8), field(16, 16), field(48, 16), field(64, 8), field(80, 16)]],
]);

/** What every kind begins with, of a protocol where the kind is about one. */
type Basis = (prng: Prng, protocol?: number) => Uint8Array;

const KINDS = [whole, cut, headerBound, transportBound, options, flips, lengthMismatch, noise] as const;

/** Packet `index` of the sequence of `seed`. */
export function malformedPacket(seed: number, index: number, ends: Ends): Uint8Array {
  return spoiled(seed, index, ends.bytesMax, (prng, protocol) => basisOf(prng, ends, protocol));
}

/** The same done to packets of the caller's. */
export function spoiled(seed: number, index: number, bytesMax: number, basis: Basis): Uint8Array {
  const prng = new Prng((Math.imul(seed, 0x9e37_79b1) ^ Math.imul(index + 1, 0x85eb_ca6b)) >>> 0);
  const kind = KINDS[index % KINDS.length]!;
  const packet = kind(prng, Math.floor(index / KINDS.length), basis);
  return packet.subarray(0, Math.min(packet.length, bytesMax));
}

/** A packet in which nothing is wrong but, now and then, its addresses. */
function basisOf(prng: Prng, ends: Ends, protocol = prng.pick([6, 6, 17, 17, 1, 4, 50, 132])): Uint8Array {
  const room = ends.bytesMax - 20;
  const length = Math.min(prng.pick([0, 1, 7, 8, 19, 20, 24, 40, 64, 200, 536, 1200, room]), room);
  const payload = Uint8Array.from({ length }, () => prng.u32());
  if (protocol === 6 && length >= 24) {
    // An MSS option in a SYN is what the gateway looks into; the others keep it from looking.
    payload.set([prng.pick([0x60, 0x60, 0x50, 0xf0]), prng.pick([0x02, 0x12, 0x10, 0x18])], 12);
    payload.set([2, 4, prng.below(256), prng.below(256)], 20);
  }
  const packet = buildIpv4({
    tos: prng.chance(0.6) ? 0 : prng.below(256),
    id: prng.below(65_536),
    dontFragment: prng.chance(0.5),
    ttl: prng.pick([2, 63, 64, 255]),
    protocol,
    source: prng.pick(prng.chance(0.9) ? ends.sources : ends.strange),
    destination: prng.pick(prng.chance(0.9) ? ends.destinations : ends.strange),
    payload,
  });
  leaveChecksum(prng, packet);
  return packet;
}

/** Of some the checksum is only the pseudo-header's sum, as senders on the same host leave it; of the others it is as random as the rest. */
function leaveChecksum(prng: Prng, packet: Uint8Array): void {
  const [protocol, length] = [packet[9]!, packet.length - 20];
  const at = protocol === 6 ? 36 : 26;
  if ((protocol !== 6 && protocol !== 17) || at + 2 > packet.length || !prng.chance(0.2)) return;
  const pseudo = Uint8Array.of(
    ...packet.subarray(12, 20),
    0,
    protocol,
    Math.floor(length / 256),
    length % 256,
  );
  put16(packet, at, onesSum(pseudo));
}

function whole(prng: Prng, _number: number, basis: Basis): Uint8Array {
  return basis(prng);
}

/** Ends after each byte in turn; what the total length says stays as it was, or follows. */
function cut(prng: Prng, number: number, basis: Basis): Uint8Array {
  const packet = basis(prng);
  const end = 1 + (number % Math.min(packet.length, 120));
  const rest = packet.slice(0, end);
  if (end >= 20 && prng.chance(0.3)) {
    put16(rest, 2, end);
    sealHeader(rest);
  }
  return rest;
}

function headerBound(prng: Prng, number: number, basis: Basis): Uint8Array {
  const packet = basis(prng);
  atBound(packet, 0, IPV4_FIELDS, number);
  return sealed(prng, packet);
}

function transportBound(prng: Prng, number: number, basis: Basis): Uint8Array {
  const protocol = [6, 17, 1][number % 3]!;
  const packet = basis(prng, protocol);
  atBound(packet, 20, TRANSPORT_FIELDS.get(protocol)!, Math.floor(number / 3));
  return packet;
}

/** Every header length, with options of every type and of lengths that do not fit. */
function options(prng: Prng, number: number, basis: Basis): Uint8Array {
  const packet = basis(prng);
  const words = 1 + (number % 10);
  const bytes = Uint8Array.from({ length: words * 4 }, () =>
    prng.pick([0, 1, 7, 68, 130, 131, 137, 148, 255]),
  );
  if (prng.chance(0.5)) bytes[1] = prng.pick([0, 1, 2, 3, bytes.length, bytes.length + 1, 255]);
  const result = new Uint8Array(packet.length + bytes.length);
  result.set(packet.subarray(0, 20));
  result.set(bytes, 20);
  result.set(packet.subarray(20), 20 + bytes.length);
  result[0] = 0x45 + words;
  put16(result, 2, result.length);
  return sealed(prng, result);
}

function flips(prng: Prng, _number: number, basis: Basis): Uint8Array {
  const packet = basis(prng);
  // Half of them in the headers, where a bit decides something.
  const end = prng.chance(0.5) ? Math.min(packet.length, 44) : packet.length;
  for (let left = 1 + prng.below(8); left > 0; left--) packet[prng.below(end)]! ^= 1 << prng.below(8);
  return sealed(prng, packet);
}

/** Total lengths around all that they could be taken for, and bytes behind the packet. */
function lengthMismatch(prng: Prng, number: number, basis: Basis): Uint8Array {
  const packet = basis(prng);
  const off = [-41, -21, -20, -9, -8, -1, 1, 2, 8, 20, 1000][number % 11]!;
  put16(packet, 2, Math.max(0, packet.length + off));
  sealHeader(packet);
  if (prng.chance(0.5)) return packet;
  return Uint8Array.of(...packet, ...Array.from({ length: 1 + prng.below(40) }, () => prng.below(256)));
}

function noise(prng: Prng, number: number, _basis: Basis): Uint8Array {
  const bytes = Uint8Array.from({ length: 1 + prng.below(100) }, () => prng.below(256));
  if (number % 2 === 0) bytes[0] = 0x45;
  return bytes;
}

function atBound(packet: Uint8Array, from: number, fields: readonly Field[], number: number): void {
  const { bit, bits } = fields[number % fields.length]!;
  const at = from * 8 + bit;
  if ((at + bits + 7) >> 3 > packet.length) return;
  const max = 2 ** bits - 1;
  const now = readBits(packet, at, bits);
  const bounds = [0, 1, 2 ** (bits - 1), max - 1, max, now === 0 ? max : now - 1, now === max ? 0 : now + 1];
  writeBits(packet, at, bits, bounds[Math.floor(number / fields.length) % bounds.length]!);
}

/** With a right header checksum three times out of four: without, nothing but the checksum is ever looked at. */
function sealed(prng: Prng, packet: Uint8Array): Uint8Array {
  if (packet.length >= Math.max(20, headerLength(packet)) && prng.chance(0.75)) sealHeader(packet);
  return packet;
}

function readBits(bytes: Uint8Array, at: number, bits: number): number {
  let value = 0;
  for (let bit = at; bit < at + bits; bit++) value = value * 2 + ((bytes[bit >> 3]! >> (7 - (bit & 7))) & 1);
  return value;
}

function writeBits(bytes: Uint8Array, at: number, bits: number, value: number): void {
  for (let i = 0; i < bits; i++) {
    const bit = at + i;
    const mask = 0x80 >> (bit & 7);
    const isSet = Math.floor(value / 2 ** (bits - 1 - i)) % 2 === 1;
    bytes[bit >> 3] = isSet ? bytes[bit >> 3]! | mask : bytes[bit >> 3]! & ~mask;
  }
}
