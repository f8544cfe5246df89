import { wordsOf } from '../base/address6.ts';
import { PROBE_PORT } from '../base/limits.ts';
import { readU16, readU32, writeU16, writeU32 } from '../packet/bytes.ts';
import { foldSum, internetChecksum, sumBytes } from '../packet/checksum.ts';
import { FOU, FOU_ENCAPSULATION_BYTES, fouSourcePort, writeFouHeader } from '../packet/fou.ts';
import { encapsulate, IPIP_ENCAPSULATION_BYTES } from '../packet/ipip.ts';
import { encapsulate6, IPIP6_ENCAPSULATION_BYTES } from '../packet/ipip6.ts';
import { IPV4, PROTOCOL } from '../packet/ipv4.ts';
import { IPV6, isIpv6 } from '../packet/ipv6.ts';
import {
  PROBE_FIELD,
  PROBE_KIND,
  PROBE_MAGIC,
  PROBE_PAYLOAD_BYTES,
  PROBE_UDP,
  PROBE_VERSION,
} from '../packet/probe.ts';

/** Probes are as important as routing messages and rarer: CS6 (RFC 2474 §4.2.2), so that a full queue does not look like a dead peer. */
const TOS = 0xc0;

/** Of the inner header, and of the outer one where that has the TTL of what it carries (`tunnel.ttl: inherit`). */
const TTL = 64;

/** How packets of the gateway leave, so that probes share their fate. */
export interface OuterFields {
  readonly ttl: number | 'inherit';
  readonly dscp: number | 'inherit';
  /** UDP port of the peer; 0 = they leave as IP protocol 4. */
  readonly udpPort: number;
}

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
  { ttl, dscp, udpPort }: OuterFields = { ttl: 'inherit', dscp: 'inherit', udpPort: 0 },
): number {
  const inner = udpPort === 0 ? IPIP_ENCAPSULATION_BYTES : FOU_ENCAPSULATION_BYTES;
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
  writeDatagram(bytes, udp, udpBytes, sumBytes(bytes, inner + IPV4.SOURCE, 8), probe);
  const tos = dscp === 'inherit' ? TOS : dscp << 2;
  const outerTtl = ttl === 'inherit' ? TTL : ttl;
  const id = probe.sequence & 0xffff;
  if (udpPort === 0) {
    encapsulate(view, inner, innerBytes, source, peer, tos, outerTtl, id, IPV4.DF, PROTOCOL.IPIP);
  } else {
    writeFouHeader(view, inner, innerBytes, fouSourcePort(probe.keyLow), udpPort);
    const at = inner - FOU.HEADER_BYTES;
    encapsulate(view, at, lengthBytes - at, source, peer, tos, outerTtl, id, IPV4.DF, PROTOCOL.UDP);
  }
  return lengthBytes;
}

/** The same on an IPv6 underlay; `udpPort` does not count. RFC 8200 §8.1: over IPv6 the checksum of UDP is no choice. */
export function writeProbe6(
  view: DataView,
  bytes: Uint8Array,
  source: bigint,
  peer: bigint,
  probe: Probe,
  lengthBytes: number,
  { ttl, dscp }: Pick<OuterFields, 'ttl' | 'dscp'> = { ttl: 'inherit', dscp: 'inherit' },
): number {
  const inner = IPIP6_ENCAPSULATION_BYTES;
  const udpBytes = lengthBytes - inner - IPV6.HEADER_BYTES;
  bytes.fill(0, 0, lengthBytes);
  const ours = Uint32Array.from(wordsOf(source));
  const theirs = Uint32Array.from(wordsOf(peer));
  const innerTo = probe.kind === PROBE_KIND.REFLECTED ? ours : theirs;
  const label = probe.keyLow & 0xf_ffff;
  const udp = inner + IPV6.HEADER_BYTES;
  encapsulate6(view, udp, udpBytes, ours, 0, innerTo, 0, TOS, label, TTL, PROTOCOL.UDP);
  const addresses = sumBytes(bytes, inner + IPV6.SOURCE, 2 * IPV6.ADDRESS_BYTES);
  writeDatagram(bytes, udp, udpBytes, addresses, probe);
  const tos = dscp === 'inherit' ? TOS : dscp << 2;
  const hopLimit = ttl === 'inherit' ? TTL : ttl;
  const innerBytes = lengthBytes - inner;
  encapsulate6(view, inner, innerBytes, ours, 0, theirs, 0, tos, label, hopLimit, PROTOCOL.IPV6);
  return lengthBytes;
}

/** The UDP header at `udp` and what is behind it; `addresses` is the sum of those in the header before it. */
function writeDatagram(
  bytes: Uint8Array,
  udp: number,
  udpBytes: number,
  addresses: number,
  probe: Probe,
): void {
  writeU16(bytes, udp + PROBE_UDP.SOURCE_PORT, PROBE_PORT);
  writeU16(bytes, udp + PROBE_UDP.DESTINATION_PORT, PROBE_PORT);
  writeU16(bytes, udp + PROBE_UDP.LENGTH, udpBytes);
  writePayload(bytes, udp + PROBE_UDP.HEADER_BYTES, probe);
  // RFC 768: over a pseudo header too; padding of zeros adds nothing. A sum of 0 is sent as its other form, for 0 means none.
  const sum =
    addresses + PROTOCOL.UDP + udpBytes + sumBytes(bytes, udp, PROBE_UDP.HEADER_BYTES + PROBE_PAYLOAD_BYTES);
  writeU16(bytes, udp + PROBE_UDP.CHECKSUM, ~foldSum(sum) & 0xffff || 0xffff);
}

function writePayload(bytes: Uint8Array, at: number, probe: Probe): void {
  writeU32(bytes, at + PROBE_FIELD.MAGIC, PROBE_MAGIC);
  bytes[at + PROBE_FIELD.VERSION] = PROBE_VERSION;
  bytes[at + PROBE_FIELD.KIND] = probe.kind;
  writeU16(bytes, at + PROBE_FIELD.OUTER_BYTES, probe.outerBytes);
  writeU32(bytes, at + PROBE_FIELD.KEY_HIGH, probe.keyHigh);
  writeU32(bytes, at + PROBE_FIELD.KEY_LOW, probe.keyLow);
  writeU32(bytes, at + PROBE_FIELD.SEQUENCE, probe.sequence);
}

/** What a plain datagram with a probe carries. */
export function probePayload(probe: Probe): Uint8Array {
  const payload = new Uint8Array(PROBE_PAYLOAD_BYTES);
  writePayload(payload, 0, probe);
  return payload;
}

/** The fields of such a payload; undefined for anything else. */
export function readProbePayload(payload: Uint8Array): Probe | undefined {
  if (payload.length < PROBE_PAYLOAD_BYTES || readU32(payload, PROBE_FIELD.MAGIC) !== PROBE_MAGIC)
    return undefined;
  return readFields(payload, 0);
}

/** The fields of a packet for which isProbe or isProbe6 gave 1; undefined for one of another version. */
export function readProbe(bytes: Uint8Array, at: number): Probe | undefined {
  const header = isIpv6(bytes, at) ? IPV6.HEADER_BYTES : IPV4.HEADER_BYTES;
  return readFields(bytes, at + header + PROBE_UDP.HEADER_BYTES);
}

function readFields(bytes: Uint8Array, payload: number): Probe | undefined {
  if (bytes[payload + PROBE_FIELD.VERSION] !== PROBE_VERSION) return undefined;
  return {
    kind: bytes[payload + PROBE_FIELD.KIND]!,
    outerBytes: readU16(bytes, payload + PROBE_FIELD.OUTER_BYTES),
    keyHigh: readU32(bytes, payload + PROBE_FIELD.KEY_HIGH),
    keyLow: readU32(bytes, payload + PROBE_FIELD.KEY_LOW),
    sequence: readU32(bytes, payload + PROBE_FIELD.SEQUENCE),
  };
}
