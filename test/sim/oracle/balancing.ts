import type { ModelGateway } from './model.ts';
import { get16, type Ipv4 } from './wire.ts';

/** TCP, DCCP, UDP-Lite, UDP and SCTP begin with two ports. */
const WITH_PORTS = new Set([6, 17, 33, 132, 136]);

const BUCKETS = 1024;
const HASH_VALUES = 2 ** 32;

/** What makes packets one flow: the 5-tuple; without ports for fragments and for protocols that have none. */
export function flowOf(
  packet: Ipv4,
): readonly [source: number, destination: number, protocol: number, ports: number] {
  const { source, destination, protocol, payload } = packet;
  const isFragment = packet.moreFragments || packet.offsetUnits > 0;
  const hasPorts = WITH_PORTS.has(protocol) && !isFragment && payload.length >= 4;
  const ports = hasPorts ? get16(payload, 0) * 0x1_0000 + get16(payload, 2) : 0;
  return [source, destination, protocol, ports];
}

/**
 * The gateway that a flow belongs to, undefined when there is none. Weighted rendezvous hashing from its definition: every live gateway
 * is asked for its score in the flow's bucket, and the highest wins. `live` is sorted by address.
 */
export function ownerOf(
  flow: readonly [number, number, number, number],
  live: readonly ModelGateway[],
): number | undefined {
  const bucket = Math.floor((flowHash(flow) * BUCKETS) / HASH_VALUES);
  let best: { address: number; score: number } | undefined;
  for (const { address, weight } of live) {
    const score = weight / -Math.log((mix(mix(address) ^ mix(bucket + 1)) + 0.5) / 2 ** 32);
    if (best === undefined || score > best.score) best = { address, score };
  }
  return best?.address;
}

/** MurmurHash3 (x86, 32 bit) of source, destination and ports with the protocol as its seed, without the length. */
function flowHash([source, destination, protocol, ports]: readonly [number, number, number, number]): number {
  let hash = protocol;
  for (const word of [source, destination, ports]) {
    hash = unsigned(hash ^ times(rotate(times(word, 0xcc9e2d51), 15), 0x1b873593));
    hash = (times(rotate(hash, 13), 5) + 0xe6546b64) % 2 ** 32;
  }
  return mix(hash);
}

/** The finaliser of MurmurHash3. */
function mix(word: number): number {
  let hash = unsigned(word);
  hash = times(unsigned(hash ^ (hash >>> 16)), 0x85ebca6b);
  hash = times(unsigned(hash ^ (hash >>> 13)), 0xc2b2ae35);
  return unsigned(hash ^ (hash >>> 16));
}

/** Product modulo 2^32, in halves that stay exact. */
function times(a: number, b: number): number {
  const value = unsigned(a);
  const high = Math.floor(value / 0x1_0000);
  const low = value % 0x1_0000;
  return (((high * b) % 0x1_0000) * 0x1_0000 + low * b) % 2 ** 32;
}

function rotate(word: number, bits: number): number {
  const value = unsigned(word);
  return unsigned((value << bits) | (value >>> (32 - bits)));
}

function unsigned(word: number): number {
  return word < 0 ? word + 2 ** 32 : word;
}
