import { readI32 } from './bytes.ts';
import { hasPorts, mixWord, spread } from './flow.ts';
import { IPV6, isFragment6, NO_UPPER_LAYER, totalLength6, upperLayer } from './ipv6.ts';

/**
 * flowHash of an IPv6 packet: an i32 that is the same for all packets of a flow. Over both addresses, the upper layer's protocol, and the
 * ports where that has them and the packet is no fragment. The flow label is left out: hosts change it within a flow (RFC 6437 §2).
 */
export function flowHash6(bytes: Uint8Array, at: number): number {
  const upper = isFragment6(bytes, at) ? NO_UPPER_LAYER : upperLayer(bytes, at);
  const protocol = upper === NO_UPPER_LAYER ? bytes[at + IPV6.NEXT_HEADER]! : upper & 0xff;
  const offset = upper >> 8;
  const hasThem = upper !== NO_UPPER_LAYER && hasPorts(protocol) && offset + 4 <= totalLength6(bytes, at);
  let hash = protocol;
  for (let word = IPV6.SOURCE; word < IPV6.HEADER_BYTES; word += 4)
    hash = mixWord(hash, readI32(bytes, at + word));
  return spread(mixWord(hash, hasThem ? readI32(bytes, at + offset) : 0));
}

/** flowHash6 on numbers, as flowHashOf: both addresses by their words. */
export function flowHashOf6(
  source: readonly number[],
  destination: readonly number[],
  protocol: number,
  ports: number,
): number {
  let hash = protocol;
  for (let i = 0; i < 4; i++) hash = mixWord(hash, source[i]!);
  for (let i = 0; i < 4; i++) hash = mixWord(hash, destination[i]!);
  return spread(mixWord(hash, ports));
}
