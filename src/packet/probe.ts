import { readU16, readU32, writeU16, writeU32 } from './bytes.ts';
import { foldSum, internetChecksum, sumBytes } from './checksum.ts';
import { ENCAPSULATION_BYTES, encapsulate } from './ipip.ts';
import { headerBytes, IPV4, isFragment, PROTOCOL, totalLength } from './ipv4.ts';

/**
 * A probe of a peer: an inner UDP datagram in an outer header like that of every other packet, so that it takes their way.
 *
 *   | outer IPv4 | inner IPv4 | UDP: PROBE_PORT to PROBE_PORT | magic u32 | version u8 | kind u8 | outer bytes u16 | key 2 × u32 | sequence u32 | zeros |
 *
 *   REQUEST    inner destination is the peer's underlay address: another Isthmus answers it
 *   REPLY      the answer, always small: what it proves of the other direction the peer's own requests prove better
 *   REFLECTED  inner source and destination are ours: whatever decapsulates and forwards sends it back, as with a GRE keepalive
 */
export const PROBE_KIND = { REQUEST: 1, REPLY: 2, REFLECTED: 3 } as const;

/** UDP, both ports; from the dynamic range of RFC 6335 §6, since nothing listens on it: the tunnel takes probes out before. */
export const PROBE_PORT = 49_461;

const UDP = { SOURCE_PORT: 0, DESTINATION_PORT: 2, LENGTH: 4, CHECKSUM: 6, HEADER_BYTES: 8 } as const;
const FIELD = {
  MAGIC: 0,
  VERSION: 4,
  KIND: 5,
  OUTER_BYTES: 6,
  KEY_HIGH: 8,
  KEY_LOW: 12,
  SEQUENCE: 16,
} as const;
const PAYLOAD_BYTES = 20;
const MAGIC = 0x4973_746d;
const VERSION = 1;

/** An inner packet without padding: what of a probe is looked at. */
export const PROBE_INNER_BYTES = IPV4.HEADER_BYTES + UDP.HEADER_BYTES + PAYLOAD_BYTES;

/** Where an inner packet has its destination port. */
export const PROBE_DESTINATION_PORT_AT = IPV4.HEADER_BYTES + UDP.DESTINATION_PORT;

/** The smallest outer packet with a probe. */
export const PROBE_BYTES_MIN = ENCAPSULATION_BYTES + PROBE_INNER_BYTES;

/** Probes are as important as routing messages and rarer: CS6 (RFC 2474 §4.2.2), so that a full queue does not look like a dead peer. */
const TOS = 0xc0;

const TTL = 64;

export interface Probe {
  readonly kind: number;
  /** Of the outer packet of the request, so that a reply says what size came through. */
  readonly outerBytes: number;
  /** Random, the prober's own: nobody who does not see the path can answer in the peer's place. */
  readonly keyHigh: number;
  readonly keyLow: number;
  readonly sequence: number;
}

/**
 * Writes a probe from `source` to `peer` into `view` from 0 on, outer header first, `lengthBytes` in all, and returns `lengthBytes`. DF is set in
 * the outer header, so that what is too long for the path is lost, as RFC 8899 §3 asks of a probe. Addresses in host order.
 */
export function writeProbe(
  view: DataView,
  bytes: Uint8Array,
  source: number,
  peer: number,
  probe: Probe,
  lengthBytes: number,
): number {
  const inner = ENCAPSULATION_BYTES;
  const innerBytes = lengthBytes - inner;
  bytes.fill(0, 0, lengthBytes);
  writeU16(bytes, inner + IPV4.VERSION_IHL, 0x4500 | TOS);
  writeU16(bytes, inner + IPV4.TOTAL_LENGTH, innerBytes);
  writeU16(bytes, inner + IPV4.FRAGMENT, IPV4.DF);
  writeU16(bytes, inner + IPV4.TTL, (TTL << 8) | PROTOCOL.UDP);
  writeU32(bytes, inner + IPV4.SOURCE, source);
  writeU32(bytes, inner + IPV4.DESTINATION, probe.kind === PROBE_KIND.REFLECTED ? source : peer);
  writeU16(bytes, inner + IPV4.CHECKSUM, internetChecksum(bytes, inner, IPV4.HEADER_BYTES));
  const udp = inner + IPV4.HEADER_BYTES;
  const udpBytes = innerBytes - IPV4.HEADER_BYTES;
  writeU16(bytes, udp + UDP.SOURCE_PORT, PROBE_PORT);
  writeU16(bytes, udp + UDP.DESTINATION_PORT, PROBE_PORT);
  writeU16(bytes, udp + UDP.LENGTH, udpBytes);
  const at = udp + UDP.HEADER_BYTES;
  writeU32(bytes, at + FIELD.MAGIC, MAGIC);
  bytes[at + FIELD.VERSION] = VERSION;
  bytes[at + FIELD.KIND] = probe.kind;
  writeU16(bytes, at + FIELD.OUTER_BYTES, probe.outerBytes);
  writeU32(bytes, at + FIELD.KEY_HIGH, probe.keyHigh);
  writeU32(bytes, at + FIELD.KEY_LOW, probe.keyLow);
  writeU32(bytes, at + FIELD.SEQUENCE, probe.sequence);
  // RFC 768: over a pseudo header too; padding of zeros adds nothing. A sum of 0 is sent as its other form, for 0 means none.
  const addresses = sumBytes(bytes, inner + IPV4.SOURCE, 8);
  const sum = addresses + PROTOCOL.UDP + udpBytes + sumBytes(bytes, udp, UDP.HEADER_BYTES + PAYLOAD_BYTES);
  writeU16(bytes, udp + UDP.CHECKSUM, ~foldSum(sum) & 0xffff || 0xffff);
  encapsulate(view, inner, innerBytes, source, peer, TOS, TTL, probe.sequence & 0xffff, IPV4.DF);
  return lengthBytes;
}

/** 1 when the checked inner packet at `at` is a probe, of whatever kind, else 0. */
export function isProbe(bytes: Uint8Array, at: number): number {
  if (bytes[at + IPV4.PROTOCOL]! !== PROTOCOL.UDP || headerBytes(bytes, at) !== IPV4.HEADER_BYTES) return 0;
  if (totalLength(bytes, at) < PROBE_INNER_BYTES || isFragment(bytes, at)) return 0;
  const udp = at + IPV4.HEADER_BYTES;
  if (readU16(bytes, udp + UDP.DESTINATION_PORT) !== PROBE_PORT) return 0;
  if (readU16(bytes, udp + UDP.HEADER_BYTES + FIELD.MAGIC) !== MAGIC >>> 16) return 0;
  return readU16(bytes, udp + UDP.HEADER_BYTES + FIELD.MAGIC + 2) === (MAGIC & 0xffff) ? 1 : 0;
}

/** The fields of a packet for which isProbe gave 1; undefined for one of another version. */
export function readProbe(bytes: Uint8Array, at: number): Probe | undefined {
  const payload = at + IPV4.HEADER_BYTES + UDP.HEADER_BYTES;
  if (bytes[payload + FIELD.VERSION] !== VERSION) return undefined;
  return {
    kind: bytes[payload + FIELD.KIND]!,
    outerBytes: readU16(bytes, payload + FIELD.OUTER_BYTES),
    keyHigh: readU32(bytes, payload + FIELD.KEY_HIGH),
    keyLow: readU32(bytes, payload + FIELD.KEY_LOW),
    sequence: readU32(bytes, payload + FIELD.SEQUENCE),
  };
}
