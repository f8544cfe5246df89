import { readI32 } from './bytes.ts';
import { headerBytes, IPV4, isFragment, PROTOCOL, totalLength } from './ipv4.ts';

/** Protocols whose first four payload bytes are source and destination port: SCTP, DCCP and UDP-Lite as well as TCP and UDP. */
const DCCP = 33;
const SCTP = 132;
const UDP_LITE = 136;
const { TCP, UDP } = PROTOCOL;
const { imul } = Math;

/** True where the payload begins with two ports. */
export function hasPorts(protocol: number): boolean {
  return (
    protocol === TCP || protocol === UDP || protocol === SCTP || protocol === DCCP || protocol === UDP_LITE
  );
}

/**
 * An i32 that is the same for all packets of a flow and spreads flows evenly, by which a route with several gateways
 * picks one. Reads the checked header at `at` and, where the protocol has ports, four bytes behind it. Any fragment is hashed without
 * ports, the first one too, because the later ones have none and all of one datagram must take one gateway: the far one may have to
 * reassemble. The kernel's multipath hash leaves them out for the same reason (net/core/flow_dissector.c).
 *
 * All 32 bits are good: take some with `>>>` or `&` (a remainder could be negative). Signed, because a result from 2^31 on would be
 * boxed on return (see readI32).
 */
export function flowHash(bytes: Uint8Array, at: number): number {
  const protocol = bytes[at + IPV4.PROTOCOL]!;
  const header = headerBytes(bytes, at);
  const portsInside = totalLength(bytes, at) >= header + 4;
  const ports = portsInside && hasPorts(protocol) && !isFragment(bytes, at) ? readI32(bytes, at + header) : 0;
  return flowHashOf(readI32(bytes, at + IPV4.SOURCE), readI32(bytes, at + IPV4.DESTINATION), protocol, ports);
}

/**
 * flowHash on numbers, for asking "where would this flow go" without a packet. Addresses in host order and `ports` = source port << 16
 * | destination port, u32 or i32; ports 0 for fragments and protocols without ports. The mixing is that of MurmurHash3 (32 bit) over
 * the four words: the cheapest published one whose every output bit depends on every input bit, so any bits may pick a bucket.
 */
export function flowHashOf(source: number, destination: number, protocol: number, ports: number): number {
  let hash = mixWord(protocol, source);
  hash = mixWord(hash, destination);
  return spread(mixWord(hash, ports));
}

/** The last step: every bit of the result depends on every bit of all words. */
export function spread(mixed: number): number {
  let hash = mixed ^ (mixed >>> 16);
  hash = imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = imul(hash, 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

/** One block of MurmurHash3_x86_32. Returns an i32, so that the value stays a small integer between the calls. */
export function mixWord(hash: number, word: number): number {
  const scrambled = imul(word, 0xcc9e2d51);
  const mixed = hash ^ imul((scrambled << 15) | (scrambled >>> 17), 0x1b873593);
  return (imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}
