import { PROBE_PORT } from '../base/limits.ts';
import { readI32, readU16 } from './bytes.ts';
import { IPIP6_ENCAPSULATION_BYTES } from './ipip6.ts';
import { headerBytes, IPV4, isFragment, PROTOCOL, totalLength } from './ipv4.ts';
import { IPV6, totalLength6 } from './ipv6.ts';

/**
 * A probe of a peer: an inner UDP datagram in an outer header like that of every other packet, so that it takes their way.
 *
 *   | outer IP | inner IP | UDP: PROBE_PORT to PROBE_PORT | magic u32 | version u8 | kind u8 | outer bytes u16 | key 2 × u32 | sequence u32 | zeros |
 *
 *   REQUEST    inner destination is the peer's underlay address: another Isthmus answers it
 *   REPLY      the answer, always small: what it proves of the other direction the peer's own requests prove better
 *   REFLECTED  inner source and destination are ours: whatever decapsulates and forwards sends it back, as with a GRE keepalive
 *   PLAIN_…    the same payload in a datagram without the tunnel, to tell whether only protocol 4 is kept from getting through
 */
export const PROBE_KIND = { REQUEST: 1, REPLY: 2, REFLECTED: 3, PLAIN_REQUEST: 4, PLAIN_REPLY: 5 } as const;

/** Where the fields of its UDP header lie, and of its payload. */
export const PROBE_UDP = {
  SOURCE_PORT: 0,
  DESTINATION_PORT: 2,
  LENGTH: 4,
  CHECKSUM: 6,
  HEADER_BYTES: 8,
} as const;
export const PROBE_FIELD = {
  MAGIC: 0,
  VERSION: 4,
  KIND: 5,
  OUTER_BYTES: 6,
  KEY_HIGH: 8,
  KEY_LOW: 12,
  SEQUENCE: 16,
} as const;
export const PROBE_PAYLOAD_BYTES = 20;
export const PROBE_MAGIC = 0x4973_746d;
export const PROBE_VERSION = 1;

/** An inner packet without padding: what of a probe is looked at. */
export const PROBE_INNER_BYTES = IPV4.HEADER_BYTES + PROBE_UDP.HEADER_BYTES + PROBE_PAYLOAD_BYTES;

/** Where an inner packet has its destination port. */
export const PROBE_DESTINATION_PORT_AT = IPV4.HEADER_BYTES + PROBE_UDP.DESTINATION_PORT;

/** The same on an IPv6 underlay. */
export const PROBE6_INNER_BYTES = IPV6.HEADER_BYTES + PROBE_UDP.HEADER_BYTES + PROBE_PAYLOAD_BYTES;

/** The smallest outer packet with a probe, whatever carries it: where less would do there is room for a few zeros. */
export const PROBE_BYTES_MIN = IPIP6_ENCAPSULATION_BYTES + PROBE6_INNER_BYTES;

/** isProbe of a checked IPv6 packet. */
export function isProbe6(bytes: Uint8Array, at: number): number {
  if (bytes[at + IPV6.NEXT_HEADER]! !== PROTOCOL.UDP || totalLength6(bytes, at) < PROBE6_INNER_BYTES)
    return 0;
  const udp = at + IPV6.HEADER_BYTES;
  if (readU16(bytes, udp + PROBE_UDP.DESTINATION_PORT) !== PROBE_PORT) return 0;
  return readI32(bytes, udp + PROBE_UDP.HEADER_BYTES + PROBE_FIELD.MAGIC) === PROBE_MAGIC ? 1 : 0;
}

/** 1 when the checked inner packet at `at` is a probe, of whatever kind, else 0. */
export function isProbe(bytes: Uint8Array, at: number): number {
  if (bytes[at + IPV4.PROTOCOL]! !== PROTOCOL.UDP || headerBytes(bytes, at) !== IPV4.HEADER_BYTES) return 0;
  if (totalLength(bytes, at) < PROBE_INNER_BYTES || isFragment(bytes, at)) return 0;
  const udp = at + IPV4.HEADER_BYTES;
  if (readU16(bytes, udp + PROBE_UDP.DESTINATION_PORT) !== PROBE_PORT) return 0;
  if (readU16(bytes, udp + PROBE_UDP.HEADER_BYTES + PROBE_FIELD.MAGIC) !== PROBE_MAGIC >>> 16) return 0;
  return readU16(bytes, udp + PROBE_UDP.HEADER_BYTES + PROBE_FIELD.MAGIC + 2) === (PROBE_MAGIC & 0xffff)
    ? 1
    : 0;
}
