import type { BatchLookup } from '../fib/batch-lookup.ts';
import * as layout from '../fib/layout.ts';
import * as lookup from '../fib/lookup.ts';
import { BATCH_MAX } from '../io/batch.ts';
import * as ipv4 from '../packet/ipv4.ts';
import { IPV4, PROTOCOL } from '../packet/ipv4.ts';
import * as plain from '../packet/plain.ts';
import type { Slab } from './slab.ts';

const { LOCAL_GROUP, NO_GROUP } = layout;
const { SOURCE, FLAGS, LINK_MTU, OUTER_BYTES, UDP_PORT } = layout.SETTINGS;
const { CLAMP_MSS, INNER_SOURCE_STRICT, INNER_SOURCE_LOOSE } = layout.SETTINGS_FLAG;
const { findPeer, groupCluster, isTransit, peerHasCluster } = lookup;
const { isMartianDestination, isMartianSource } = ipv4;
const { mayBeSyn, plainDestination, plainFouPayload, plainLength, plainPayload, plainProtocol, plainSource } =
  plain;
const { IPIP, UDP } = PROTOCOL;
const { HEADER_BYTES, TOS } = IPV4;

/** The way of those packets from the underlay that need nothing but the outer header gone: nearly all. */
export interface PlainInbound {
  /** As PlainOutbound.look: both addresses of each packet. */
  look(from: number): number;
  /**
   * Hands on the packets `from` … `to - 1`, which `look` has seen. Returns the index of the first that it left: one that is not from a
   * gateway, not from an address of its cluster, or not to one of ours.
   */
  forward(from: number, to: number): number;
}

/**
 * Leaves to `Inbound` what it does not know, as plainOutbound does. Of the routes it takes two cells a packet: the source at the packet's
 * index, the destination BATCH_MAX behind it.
 *
 * @constructs
 */
export function plainInbound(words: Uint32Array, slab: Slab, routes: BatchLookup): PlainInbound {
  const lengths = new Int32Array(BATCH_MAX);
  return { look: looking(words, slab, routes, lengths), forward: forwarding(words, slab, routes, lengths) };
}

/** @constructs */
function looking(
  words: Uint32Array,
  slab: Slab,
  routes: BatchLookup,
  lengths: Int32Array,
): PlainInbound['look'] {
  const input = slab.fromUnderlay;
  const { view, at: column, length: available } = input;
  const addresses = routes.addresses;

  function look(from: number): number {
    const clamps = words[FLAGS]! & CLAMP_MSS;
    const outerBytes = words[OUTER_BYTES]! | 0;
    const linkMtu = words[LINK_MTU]! - outerBytes;
    const port = words[UDP_PORT]! | 0;
    const protocol = port === 0 ? IPIP : UDP;
    const count = input.count;
    let i = from | 0;
    for (; i < count; i++) {
      const outerAt = column[i]!;
      let payload = plainPayload(view, outerAt, available[i]!, protocol);
      if (port !== 0) payload = plainFouPayload(view, (outerAt + HEADER_BYTES) | 0, payload, port);
      const at = (outerAt + outerBytes) | 0;
      const length = plainLength(view, at, payload);
      if (length === 0) break;
      // What is left here needs no mark carried over, and is none of the pairs that are counted (ECN_UNUSED).
      const ecn = view.getUint8((outerAt + TOS) | 0) & 3;
      if (ecn !== 0 && ecn !== (view.getUint8((at + TOS) | 0) & 3)) break;
      if (clamps !== 0 && mayBeSyn(view, at, length) !== 0) break;
      // What did not cross the link in one packet may be several datagrams that were merged on the way, inside the tunnel or around it.
      if (payload > linkMtu && (length !== payload || plainProtocol(view, at) === UDP)) break;
      lengths[i] = length;
      addresses[i] = plainSource(view, at);
      addresses[(i + BATCH_MAX) | 0] = plainDestination(view, at);
    }
    if ((words[FLAGS]! & (INNER_SOURCE_STRICT | INNER_SOURCE_LOOSE)) !== 0) routes.run(from, i);
    routes.run(from + BATCH_MAX, i + BATCH_MAX);
    return i;
  }
  return look;
}

/** @constructs */
function forwarding(
  words: Uint32Array,
  slab: Slab,
  routes: BatchLookup,
  lengths: Int32Array,
): PlainInbound['forward'] {
  const { view, at: column } = slab.fromUnderlay;
  const { addresses, groups } = routes;
  const out = slab.toDevice;
  const { at: outAt, length: outLength, peer: outPeer, packets, innerBytes, pieces } = out;

  function forward(from: number, to: number): number {
    const ours = words[SOURCE]! | 0;
    const outerBytes = words[OUTER_BYTES]! | 0;
    const flags = words[FLAGS]!;
    const strict = flags & INNER_SOURCE_STRICT;
    const checks = flags & (INNER_SOURCE_STRICT | INNER_SOURCE_LOOSE);
    let index = out.count | 0;
    let i = from | 0;
    for (; i < to; i++) {
      const outerAt = column[i]!;
      const at = (outerAt + outerBytes) | 0;
      const source = addresses[i]!;
      const destination = addresses[(i + BATCH_MAX) | 0]!;
      const gateway = plainSource(view, outerAt);
      const peer = findPeer(words, gateway);
      if (peer < 0 || plainProtocol(view, at) === IPIP) break;
      if (isMartianSource(source) || isMartianDestination(destination)) break;
      if (source === ours || destination === ours || source === gateway || destination === gateway) break;
      const group = groups[i]!;
      if (checks !== 0 && group <= LOCAL_GROUP) break;
      if (strict !== 0 && peerHasCluster(words, peer, groupCluster(words, group)) === 0) break;
      const target = groups[(i + BATCH_MAX) | 0]!;
      if (
        target !== LOCAL_GROUP &&
        (target === NO_GROUP || isTransit(words, groupCluster(words, target)) === 0)
      )
        break;
      const length = lengths[i]!;
      outAt[index] = at;
      outLength[index] = length;
      outPeer[index] = peer;
      packets[index] = 1;
      innerBytes[index] = length;
      pieces[index] = 0;
      index++;
    }
    out.count = index;
    return i;
  }

  return forward;
}
