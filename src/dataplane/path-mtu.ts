import { PEER, SETTINGS } from '../fib/layout.ts';
import { peerWord } from '../fib/lookup.ts';
import { IPV4 } from '../packet/ipv4.ts';
import { IPV6 } from '../packet/ipv6.ts';
import { TCP } from '../packet/tcp.ts';

/** The largest outer packet to `peer`: what was learned about the path, or the MTU of the underlay device where that is smaller. */
export function pathMtuOf(words: Uint32Array, peer: number): number {
  const linkMtu = words[SETTINGS.LINK_MTU]!;
  const learned = peerWord(words, peer, PEER.PATH_MTU);
  return learned === 0 || learned > linkMtu ? linkMtu : learned;
}

/** The segment size that a path MTU leaves: headers without options count, whatever options a segment then has (RFC 6691). */
export function segmentBytes(words: Uint32Array, pathMtu: number): number {
  return pathMtu - words[SETTINGS.OUTER_BYTES]! - IPV4.HEADER_BYTES - TCP.HEADER_BYTES;
}

/** The same of IPv6, for which no path is narrower than 1280 bytes: what does not fit leaves in outer fragments. */
export function segmentBytes6(words: Uint32Array, pathMtu: number): number {
  const innerMtu = Math.max(pathMtu - words[SETTINGS.OUTER_BYTES]!, IPV6.MTU_MIN);
  return innerMtu - IPV6.HEADER_BYTES - TCP.HEADER_BYTES;
}
