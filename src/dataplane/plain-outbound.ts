import type { BatchLookup } from '../fib/batch-lookup.ts';
import * as layout from '../fib/layout.ts';
import * as lookup from '../fib/lookup.ts';
import { BATCH_MAX } from '../io/batch.ts';
import { SEGMENT } from '../io/native.ts';
import { ECN_MODE, outerTos } from '../packet/ecn.ts';
import * as fou from '../packet/fou.ts';
import * as ipip from '../packet/ipip.ts';
import { IPV4, PROTOCOL } from '../packet/ipv4.ts';
import * as plain from '../packet/plain.ts';
import { VNET } from '../packet/vnet.ts';
import type { Slab } from './slab.ts';

const { DSCP_INHERIT, TTL_INHERIT, LOCAL_GROUP, GROUPS, GROUP_WORDS, PEERS, PEER_WORDS } = layout;
const { SOURCE, LINK_MTU, TTL, DSCP, FLAGS, OUTER_BYTES } = layout.SETTINGS;
const { CLAMP_MSS, FRAGMENT_OUTER, ECN_COMPATIBILITY, UNDERLAY_IPV6 } = layout.SETTINGS_FLAG;
const { MEMBERS } = layout.GROUP;
const { ADDRESS, PATH_MTU, UDP_PORT } = layout.PEER;
const { pickPeer } = lookup;
const { DF, TOS, TTL: INNER_TTL, FRAGMENT, HEADER_BYTES } = IPV4;
const { NORMAL, COMPATIBILITY } = ECN_MODE;
const { encapsulate } = ipip;
const { fouSourcePort, writeFouHeader } = fou;
const { IPIP, UDP } = PROTOCOL;
const { mayBeSyn, plainDestination, plainFlowHash, plainLength, plainSource } = plain;
const { ID_FIRST, ID_COUNT, IDS_USED } = SEGMENT;
const GSO_TYPE = VNET.GSO_TYPE - VNET.BYTES;

/** The way of those packets from the device that need nothing but an outer header: nearly all. */
export interface PlainOutbound {
  /**
   * Reads and looks up the packets of the input from `from` on, up to the first that is not plain. Returns that one's index. What was looked
   * up is good as long as the epoch.
   */
  look(from: number): number;
  /**
   * Encapsulates the packets `from` … `to - 1`, which `look` has seen, while there is room for them. Returns the index of the first that
   * it left: one without a route or a gateway, in a loop, or too big for its path.
   */
  forward(from: number, to: number): number;
}

/**
 * It knows only some of the rules. A packet to which another one might apply it leaves as it is, for `Outbound` to decide on; what it
 * handles, it handles exactly as `Outbound` would: a new rule there has its place here too, if only as one more reason to leave a packet
 * (test/unit/dataplane/plain.test.ts and the simulator compare).
 *
 * Three loops over a run of packets instead of one: read the headers, look all of them up (batchLookup says why), write the outer headers.
 * Functions and no class, because V8 compiles what a function has from around it into the code: of a typed array that is a constant the
 * memory's address, of one in a field a check and three loads at each access, in each round of a loop. That holds as long as there is only
 * one of these functions in a thread, as there is one engine in a worker; with several, in tests, they are merely slower.
 * bench/engine.bench.ts: one loop in a class took 159 ns a packet, three loops 61, these 40.
 *
 * @constructs
 */
export function plainOutbound(
  words: Uint32Array,
  slab: Slab,
  routes: BatchLookup,
  request: Int32Array,
): PlainOutbound {
  const lengths = new Int32Array(BATCH_MAX);
  return {
    look: looking(words, slab, routes, lengths),
    forward: forwarding(words, slab, routes, lengths, request),
  };
}

/** @constructs */
function looking(
  words: Uint32Array,
  slab: Slab,
  routes: BatchLookup,
  lengths: Int32Array,
): PlainOutbound['look'] {
  const input = slab.fromDevice;
  const { view, at: column, length: available } = input;
  const destinations = routes.addresses;
  function look(from: number): number {
    const ours = words[SOURCE]! | 0;
    const clamps = words[FLAGS]! & CLAMP_MSS;
    const count = input.count;
    let i = from | 0;
    if ((words[FLAGS]! & UNDERLAY_IPV6) !== 0) return i;
    for (; i < count; i++) {
      const at = column[i]!;
      const length = plainLength(view, at, available[i]!);
      if (length === 0 || view.getUint8((at + GSO_TYPE) | 0) !== 0) break;
      if (plainSource(view, at) === ours) break;
      if (clamps !== 0 && mayBeSyn(view, at, length) !== 0) break;
      lengths[i] = length;
      destinations[i] = plainDestination(view, at);
    }
    routes.run(from, i);
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
  request: Int32Array,
): PlainOutbound['forward'] {
  const { view, at: column } = slab.fromDevice;
  const { addresses: destinations, groups } = routes;
  const out = slab.toUnderlay;
  const { at: outAt, length: outLength, address, peer: outPeer, packets, innerBytes, pieces } = out;

  function forward(from: number, to: number): number {
    const ours = words[SOURCE]! | 0;
    const linkMtu = words[LINK_MTU]!;
    const flags = words[FLAGS]!;
    const outerBytes = words[OUTER_BYTES]! | 0;
    const shim = (outerBytes - HEADER_BYTES) | 0;
    const protocol = shim === 0 ? IPIP : UDP;
    // What is inherited is masked out of the inner header, what is fixed is added: the same for all packets, and no branch.
    const dscp = words[DSCP]! === DSCP_INHERIT ? -1 : words[DSCP]! | 0;
    const ecnMode = (flags & ECN_COMPATIBILITY) === 0 ? NORMAL : COMPATIBILITY;
    const tosFixed = outerTos(0, dscp, ecnMode) | 0;
    const tosMask = outerTos(0xff, dscp, ecnMode) ^ tosFixed;
    const ttlFixed = words[TTL]! | 0;
    const ttlMask = ttlFixed === TTL_INHERIT ? 0xff : 0;
    const fragmentFixed = (flags & FRAGMENT_OUTER) === 0 ? DF : 0;
    const idFirst = request[ID_FIRST]!;
    const idCount = request[ID_COUNT]!;
    let idsUsed = request[IDS_USED]!;
    const room = (from + out.capacity - out.count) | 0;
    const end = to < room ? to | 0 : room;
    let index = out.count | 0;
    let i = from | 0;
    for (; i < end; i++) {
      const at = column[i]!;
      const length = lengths[i]!;
      const group = groups[i]!;
      if (group <= LOCAL_GROUP) break;
      const isOnly = words[GROUPS + group * GROUP_WORDS + MEMBERS]! === 1;
      const hash = isOnly && shim === 0 ? 0 : plainFlowHash(view, at, length);
      const peer = pickPeer(words, group, hash);
      if (peer < 0) break;
      const record = PEERS + peer * PEER_WORDS;
      const gateway = words[record + ADDRESS]! | 0;
      const learned = words[record + PATH_MTU]!;
      const total = (length + outerBytes) | 0;
      if (gateway === plainSource(view, at) || gateway === destinations[i]!) break;
      if (total > linkMtu || (learned !== 0 && total > learned)) break;
      const tos = (view.getUint8((at + TOS) | 0) & tosMask) | tosFixed;
      const ttl = (view.getUint8((at + INNER_TTL) | 0) & ttlMask) | ttlFixed;
      const fragment = (view.getUint16((at + FRAGMENT) | 0) & DF) | fragmentFixed;
      // All ones while the block is not used up, then 0: a branch would be taken for the first time after thousands of packets and cost
      // the optimised code then, and a remainder takes longer than the rest of the header.
      idsUsed += 1;
      idsUsed &= (idsUsed - idCount) >> 31;
      if (shim !== 0) writeFouHeader(view, at, length, fouSourcePort(hash), words[record + UDP_PORT]! | 0);
      const id = idFirst + idsUsed;
      encapsulate(view, at - shim, length + shim, ours, gateway, tos, ttl, id, fragment, protocol);
      outAt[index] = at - outerBytes;
      outLength[index] = total;
      address[index] = gateway;
      outPeer[index] = peer;
      packets[index] = 1;
      innerBytes[index] = length;
      pieces[index] = 0;
      index++;
    }
    out.count = index;
    request[IDS_USED] = idsUsed;
    return i;
  }

  return forward;
}
