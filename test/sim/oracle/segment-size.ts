import { get16, headerLength, normal, put16 } from './wire.ts';

/**
 * The packet as the MSS clamp must leave it, and how many options it lowered: every MSS option above `maximum` in a SYN or SYN/ACK whose TCP
 * header is whole and in a packet without offset. Walks the options as RFC 9293 §3.1 describes them.
 */
export function clampSegmentSize(
  packet: Uint8Array,
  maximum: number,
): { packet: Uint8Array; changed: boolean } {
  const unchanged = { packet, changed: false };
  const tcp = headerLength(packet);
  if (packet[9] !== 6 || get16(packet, 6) % 0x2000 !== 0 || packet.length < tcp + 20) return unchanged;
  if (Math.floor((packet[tcp + 13] as number) / 2) % 2 === 0) return unchanged;
  const end = tcp + Math.floor((packet[tcp + 12] as number) / 16) * 4;
  if (end > packet.length) return unchanged;
  const result = packet.slice();
  for (const at of segmentSizeOptions(packet, tcp + 20, end)) {
    const offered = get16(result, at);
    if (offered <= maximum) continue;
    put16(result, at, maximum);
    // The value counts in the checksum as it stands in the words of the segment: swapped where it begins at an odd byte.
    const factor = (at - tcp) % 2 === 0 ? 1 : 256;
    const before = 0xffff - get16(result, tcp + 16);
    const sum = before + normal(0xffff * factor - offered * factor) + normal(maximum * factor);
    put16(result, tcp + 16, 0xffff - normal(sum));
  }
  return { packet: result, changed: !result.every((byte, at) => byte === packet[at]) };
}

function segmentSizeOptions(packet: Uint8Array, from: number, end: number): number[] {
  const found: number[] = [];
  for (let at = from; at < end && packet[at] !== 0; ) {
    if (packet[at] === 1) {
      at += 1;
      continue;
    }
    const length = at + 1 < end ? (packet[at + 1] as number) : 0;
    if (length < 2 || at + length > end) break;
    if (packet[at] === 2 && length === 4) found.push(at + 2);
    at += length;
  }
  return found;
}
