import assert from 'node:assert/strict';
import fc from 'fast-check';

/**
 * The plain versions that src/packet is held against: written for obviousness, with BigInt, DataView and arrays, everything that the
 * packet path must not use. Nothing here imports src/packet.
 */

/** Every property in this folder runs from this seed, so that a failure replays as it is. */
export const SEED = 2003;

/** RFC 1071 by the letter: a sum without limit, then the carries back in. */
export function plainChecksum(bytes: Uint8Array): number {
  let sum = 0n;
  for (let i = 0; i < bytes.length; i++) sum += BigInt(bytes[i]!) << (i % 2 === 0 ? 8n : 0n);
  while (sum > 0xffffn) sum = (sum & 0xffffn) + (sum >> 16n);
  return Number(~sum & 0xffffn);
}

export interface PlainPacket {
  readonly tos?: number;
  readonly id?: number;
  /** The whole word: reserved bit, DF, MF, offset. */
  readonly fragment?: number;
  readonly ttl?: number;
  readonly protocol?: number;
  readonly source?: number;
  readonly destination?: number;
  /** A multiple of 4 bytes, up to 40. */
  readonly options?: Uint8Array;
  readonly payload?: Uint8Array;
}

/** An IPv4 packet with a right header checksum. */
export function plainPacket(fields: PlainPacket = {}): Uint8Array {
  const options = fields.options ?? new Uint8Array(0);
  const payload = fields.payload ?? new Uint8Array(0);
  const header = 20 + options.length;
  assert.equal(header % 4, 0);
  const bytes = new Uint8Array(header + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 0x40 | (header / 4));
  view.setUint8(1, fields.tos ?? 0);
  view.setUint16(2, bytes.length);
  view.setUint16(4, fields.id ?? 0);
  view.setUint16(6, fields.fragment ?? 0);
  view.setUint8(8, fields.ttl ?? 64);
  view.setUint8(9, fields.protocol ?? 17);
  view.setUint32(12, fields.source ?? 0x0a010002);
  view.setUint32(16, fields.destination ?? 0x0a020002);
  bytes.set(options, 20);
  bytes.set(payload, header);
  setHeaderChecksum(bytes);
  return bytes;
}

/** Makes the header checksum right, over as much of a header as there is. */
export function setHeaderChecksum(bytes: Uint8Array): void {
  bytes[10] = 0;
  bytes[11] = 0;
  const check = plainChecksum(bytes.subarray(0, (bytes[0]! & 15) * 4));
  bytes[10] = check >> 8;
  bytes[11] = check & 255;
}

export function headerChecksumHolds(packet: Uint8Array): boolean {
  return plainChecksum(packet.subarray(0, (packet[0]! & 15) * 4)) === 0;
}

/** The TCP or UDP checksum over pseudo header and segment; 0 means that the packet's own is right. RFC 9293 §3.1. */
export function transportChecksum(packet: Uint8Array): number {
  const header = (packet[0]! & 15) * 4;
  const length = packet.length - header;
  const pseudo = [...packet.subarray(12, 20), 0, packet[9]!, length >> 8, length & 255];
  return plainChecksum(Uint8Array.from([...pseudo, ...packet.subarray(header)]));
}

const U32 = 0xffffffffn;

/** MurmurHash3 (x86, 32 bit) over source, destination and ports, seeded with the protocol and without the length, as an i32. */
export function plainFlowHash(source: number, destination: number, protocol: number, ports: number): number {
  const rotate = (word: bigint, bits: bigint): bigint => ((word << bits) | (word >> (32n - bits))) & U32;
  let hash = BigInt(protocol);
  for (const word of [source, destination, ports]) {
    const scrambled = (rotate((BigInt(word >>> 0) * 0xcc9e2d51n) & U32, 15n) * 0x1b873593n) & U32;
    hash = (rotate(hash ^ scrambled, 13n) * 5n + 0xe6546b64n) & U32;
  }
  hash = ((hash ^ (hash >> 16n)) * 0x85ebca6bn) & U32;
  hash = ((hash ^ (hash >> 13n)) * 0xc2b2ae35n) & U32;
  return Number(BigInt.asIntN(32, hash ^ (hash >> 16n)));
}

const CANARY = 0xa5;
const CANARY_BYTES = 96;

/** A packet in the middle of an array, between canaries; `at` is where it starts. */
export class Guarded {
  readonly bytes: Uint8Array;
  readonly at = CANARY_BYTES;
  readonly length: number;

  constructor(packet: Uint8Array, canary = CANARY) {
    this.length = packet.length;
    this.bytes = new Uint8Array(packet.length + 2 * CANARY_BYTES).fill(canary);
    this.bytes.set(packet, CANARY_BYTES);
  }

  /** The packet as it is now. */
  get packet(): Uint8Array {
    return this.bytes.slice(this.at, this.at + this.length);
  }

  /** Fails if a byte outside [from, to) (relative to the packet; by default the packet itself) is no canary any more. */
  assertOnlyWritten(from = 0, to = this.length): void {
    for (let i = 0; i < this.bytes.length; i++) {
      const relative = i - this.at;
      if (relative >= from && relative < to) continue;
      if (relative >= 0 && relative < this.length) continue;
      assert.equal(this.bytes[i], CANARY, `byte ${relative} outside [${from}, ${to}) was written`);
    }
  }
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

const options = fc
  .integer({ min: 0, max: 10 })
  .chain((words) => fc.uint8Array({ minLength: words * 4, maxLength: words * 4 }));

/** Valid IPv4 packets with any options, flags and payload. */
export const anyPacket = fc
  .record({
    tos: fc.integer({ min: 0, max: 255 }),
    id: fc.integer({ min: 0, max: 0xffff }),
    fragment: fc.oneof(fc.constantFrom(0, 0x4000, 0x2000), fc.integer({ min: 0, max: 0xffff })),
    ttl: fc.integer({ min: 1, max: 255 }),
    protocol: fc.oneof(fc.constantFrom(1, 4, 6, 17), fc.integer({ min: 0, max: 255 })),
    source: fc.integer({ min: 0, max: 0xffffffff }),
    destination: fc.integer({ min: 0, max: 0xffffffff }),
    options,
    payload: fc.uint8Array({ maxLength: 120 }),
  })
  .map(plainPacket);

/** Mostly garbage that an early check would stop, and garbage behind a header good enough to pass it. */
export const hostilePacket = fc.oneof(
  fc.uint8Array({ maxLength: 128 }),
  anyPacket,
  fc
    .tuple(
      anyPacket,
      fc.array(fc.tuple(fc.nat(159), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
      fc.boolean(),
    )
    .map(([packet, edits, repair]) => {
      for (const [at, value] of edits) if (at < packet.length) packet[at] = value;
      if (repair) setHeaderChecksum(packet);
      return packet;
    }),
);
