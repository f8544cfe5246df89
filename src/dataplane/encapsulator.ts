import { DSCP_INHERIT, PEER, SETTINGS, SETTINGS_FLAG, SOURCE6, TTL_INHERIT } from '../fib/layout.ts';
import { peerAddress, peerAddressAt, peerWord } from '../fib/lookup.ts';
import type { Batch } from '../io/batch.ts';
import { SEGMENT } from '../io/native.ts';
import { readU16, writeU16 } from '../packet/bytes.ts';
import { outerTos } from '../packet/ecn.ts';
import { DESTINATION_OPTIONS, LIMIT_OPTION_BYTES, writeLimitOption } from '../packet/encapsulation-limit.ts';
import { flowHash } from '../packet/flow.ts';
import { flowHash6 } from '../packet/flow6.ts';
import { FOU, fouSourcePort, writeFouHeader } from '../packet/fou.ts';
import { fragmentCount, writeFragment } from '../packet/fragment.ts';
import { FRAGMENT6, writeFragment6 } from '../packet/fragment6.ts';
import { encapsulate } from '../packet/ipip.ts';
import { encapsulate6 } from '../packet/ipip6.ts';
import { headerBytes, IPV4, PROTOCOL } from '../packet/ipv4.ts';
import { IPV6, isIpv6, trafficClass } from '../packet/ipv6.ts';
import { clampMss, clampMss6 } from '../packet/tcp.ts';
import { VERDICT } from '../packet/verdict.ts';
import { TOTAL } from './counters.ts';
import { segmentBytes, segmentBytes6 } from './path-mtu.ts';
import { FRAGMENTS_MAX, type Slab, type Spare } from './slab.ts';

/** No verdict: the packet has to wait until the output batch has been sent. */
export const FLUSH_FIRST = -1;

/** The length fields of both families: IPv4's counts its header too, IPv6's does not. */
const LENGTH_MAX = 65_535;

/** Headroom and alignment that one piece of spare memory costs beside the fragment itself. */
const SPARE_OVERHEAD_BYTES = 80;

/** What all fragments of a packet take of it beside their payload: headers, what rounding to units of 8 leaves free, and the above. */
export const SPARE_BYTES_OF_FRAGMENTS = (FRAGMENTS_MAX + 1) * (60 + 8 + SPARE_OVERHEAD_BYTES);

/**
 * Writes the outer headers of packets whose peer is known, by the settings of the FIB image and the family of the underlay, and appends
 * them to what goes there: whole, or in fragments. Decides nothing but whether there is room.
 */
export class Encapsulator {
  readonly #words: Uint32Array;
  readonly #counters: Float64Array;
  readonly #out: Batch;
  readonly #spare: Spare;
  /** Its ID cells are those of all packets, cut or not. */
  readonly #request: Int32Array;
  /** Upper half of the IDs of IPv6 fragments, whose lower half is one of the above. */
  #fragmented = 0;

  constructor(words: Uint32Array, counters: Float64Array, slab: Slab, request: Int32Array) {
    this.#words = words;
    this.#counters = counters;
    this.#out = slab.toUnderlay;
    this.#spare = slab.spare;
    this.#request = request;
  }

  /** The whole packet at `at` to `peer`; `flags` are those of an IPv4 outer header. There is room for it. */
  emit(bytes: Uint8Array, at: number, length: number, peer: number, flags: number): void {
    const outerBytes = this.#words[SETTINGS.OUTER_BYTES]!;
    this.writeHeader(bytes, at, length, peer, this.#nextId(), flags);
    this.#append(at - outerBytes, length + outerBytes, length, peer);
  }

  /** The outer header alone, before the packet at `at`. */
  writeHeader(bytes: Uint8Array, at: number, length: number, peer: number, id: number, flags: number): void {
    const words = this.#words;
    const settings = words[SETTINGS.FLAGS]!;
    const is6 = isIpv6(bytes, at);
    const ttl = words[SETTINGS.TTL]!;
    const dscp = words[SETTINGS.DSCP]!;
    const tos = outerTos(
      is6 ? trafficClass(bytes, at) : bytes[at + IPV4.TOS]!,
      dscp === DSCP_INHERIT ? -1 : dscp,
      (settings & SETTINGS_FLAG.ECN_COMPATIBILITY) === 0 ? 0 : 1,
    );
    const hops = ttl === TTL_INHERIT ? bytes[at + (is6 ? IPV6.HOP_LIMIT : IPV4.TTL)]! : ttl;
    if ((settings & SETTINGS_FLAG.UNDERLAY_IPV6) === 0)
      this.#writeIpv4(bytes, at, length, peer, id, flags, tos, hops, is6);
    else this.#writeIpv6(bytes, at, length, peer, tos, hops, is6 ? PROTOCOL.IPV6 : PROTOCOL.IPIP);
  }

  /** As configured: the packet itself is cut, or what carries it is. As the two below. */
  fragment(bytes: Uint8Array, at: number, length: number, peer: number, pathMtu: number): number {
    if ((this.#words[SETTINGS.FLAGS]! & SETTINGS_FLAG.FRAGMENT_OUTER) !== 0)
      return this.fragmentOuter(bytes, at, length, peer, pathMtu);
    return this.fragmentInner(bytes, at, length, peer, pathMtu);
  }

  /** FORWARD, FLUSH_FIRST with nothing done, or why it cannot be. RFC 2003 §5.1: an IPv4 packet, cut before encapsulation. */
  fragmentInner(bytes: Uint8Array, at: number, length: number, peer: number, pathMtu: number): number {
    const out = this.#out;
    const innerMtu = pathMtu - this.#words[SETTINGS.OUTER_BYTES]!;
    const count = fragmentCount(length, headerBytes(bytes, at), innerMtu);
    const room = this.#roomFor(count, innerMtu);
    if (room !== VERDICT.FORWARD) return room;
    this.clamp(bytes, at, pathMtu);
    const first = out.count;
    out.count += 1;
    for (let index = 1; index < count; index++) {
      const fragmentAt = this.#spare.take(innerMtu);
      const fragmentLength = writeFragment(bytes, at, index, count, innerMtu, fragmentAt);
      if (fragmentLength > 0) this.emit(bytes, fragmentAt, fragmentLength, peer, IPV4.DF);
    }
    // The first fragment is made last, in place: it overwrites what the others are cut from. It still leaves first.
    const last = out.count;
    out.count = first;
    this.emit(bytes, at, writeFragment(bytes, at, 0, count, innerMtu, at), peer, IPV4.DF);
    out.count = last;
    this.#countFragments(last - first);
    return VERDICT.FORWARD;
  }

  /** The same of a packet of either family whose outer packet is fragmented: RFC 2003 §5.1, RFC 2473 §7.1 (b), RFC 4213 §3.2.2. */
  fragmentOuter(bytes: Uint8Array, at: number, length: number, peer: number, pathMtu: number): number {
    if ((this.#words[SETTINGS.FLAGS]! & SETTINGS_FLAG.UNDERLAY_IPV6) !== 0)
      return this.#fragmentOuter6(bytes, at, length, peer, pathMtu);
    const out = this.#out;
    const total = length + this.#words[SETTINGS.OUTER_BYTES]!;
    if (total > LENGTH_MAX) return VERDICT.TOO_BIG;
    const count = fragmentCount(total, IPV4.HEADER_BYTES, pathMtu);
    const room = this.#roomFor(count, pathMtu);
    if (room !== VERDICT.FORWARD) return room;
    this.clamp(bytes, at, pathMtu);
    const first = out.count;
    this.emit(bytes, at, length, peer, 0);
    const outerAt = out.at[first]!;
    for (let index = 1; index < count; index++) {
      const fragmentAt = this.#spare.take(pathMtu);
      const fragmentLength = writeFragment(bytes, outerAt, index, count, pathMtu, fragmentAt);
      if (fragmentLength > 0)
        this.#append(fragmentAt, fragmentLength, fragmentLength - IPV4.HEADER_BYTES, peer);
    }
    const firstLength = writeFragment(bytes, outerAt, 0, count, pathMtu, outerAt);
    out.length[first] = firstLength;
    out.innerBytes[first] = firstLength - this.#words[SETTINGS.OUTER_BYTES]!;
    this.#countFragments(out.count - first);
    return VERDICT.FORWARD;
  }

  /** An IPv6 packet behind a header that limits how many tunnels it may enter from here. As fragmentOuter, where it does not fit. */
  emitLimited(
    bytes: Uint8Array,
    at: number,
    length: number,
    peer: number,
    limit: number,
    pathMtu: number,
  ): number {
    const from = at - LIMIT_OPTION_BYTES;
    const total = length + LIMIT_OPTION_BYTES;
    const fits = total + IPV6.HEADER_BYTES <= pathMtu;
    const room = fits ? VERDICT.FORWARD : this.#roomFor6(total, pathMtu);
    if (room !== VERDICT.FORWARD) return room;
    this.clamp(bytes, at, pathMtu - LIMIT_OPTION_BYTES);
    this.writeHeader(bytes, at, length, peer, 0, 0);
    // The header just written, with the one in between.
    bytes.copyWithin(from - IPV6.HEADER_BYTES, at - IPV6.HEADER_BYTES, at);
    writeLimitOption(bytes, at, PROTOCOL.IPV6, limit);
    const outer = from - IPV6.HEADER_BYTES;
    writeU16(bytes, outer + IPV6.PAYLOAD_LENGTH, total);
    bytes[outer + IPV6.NEXT_HEADER] = DESTINATION_OPTIONS;
    if (fits) this.#append(outer, total + IPV6.HEADER_BYTES, length, peer);
    else this.#cut6(bytes, from, total, peer, pathMtu);
    return VERDICT.FORWARD;
  }

  #fragmentOuter6(bytes: Uint8Array, at: number, length: number, peer: number, pathMtu: number): number {
    if (length > LENGTH_MAX) return VERDICT.TOO_BIG;
    const room = this.#roomFor6(length, pathMtu);
    if (room !== VERDICT.FORWARD) return room;
    this.clamp(bytes, at, pathMtu);
    this.writeHeader(bytes, at, length, peer, 0, 0);
    this.#cut6(bytes, at, length, peer, pathMtu);
    return VERDICT.FORWARD;
  }

  #roomFor6(length: number, pathMtu: number): number {
    return this.#roomFor(fragmentCount(length + FRAGMENTED_HEADERS, FRAGMENTED_HEADERS, pathMtu), pathMtu);
  }

  /** Appends the fragments of the payload at `at` behind the outer IPv6 header before it. There is room for them. */
  #cut6(bytes: Uint8Array, at: number, length: number, peer: number, pathMtu: number): void {
    const out = this.#out;
    const headers = FRAGMENTED_HEADERS;
    const count = fragmentCount(length + headers, headers, pathMtu);
    this.#fragmented = (this.#fragmented + 1) & 0xffff;
    const id = (this.#fragmented << 16) | this.#nextId();
    const first = out.count;
    out.count += 1;
    for (let index = 1; index < count; index++) {
      const fragmentAt = this.#spare.take(pathMtu);
      const bytesOf = writeFragment6(bytes, at, length, index, count, pathMtu, id, fragmentAt);
      this.#append(fragmentAt, bytesOf, bytesOf - headers, peer);
    }
    // In place, which moves the outer header forward.
    const last = out.count;
    out.count = first;
    const firstAt = at - headers;
    const firstBytes = writeFragment6(bytes, at, length, 0, count, pathMtu, id, firstAt);
    this.#append(firstAt, firstBytes, firstBytes - headers, peer);
    out.count = last;
    this.#countFragments(last - first);
  }

  /**
   * Only once it is certain that the packet goes out now: one that has to wait for a flush is looked at again, by then under other
   * settings perhaps, and an ICMP error quotes the packet as its sender knows it.
   */
  clamp(bytes: Uint8Array, at: number, pathMtu: number): void {
    const words = this.#words;
    if ((words[SETTINGS.FLAGS]! & SETTINGS_FLAG.CLAMP_MSS) === 0) return;
    if (isIpv6(bytes, at)) {
      this.#counters[TOTAL.MSS_CLAMPED]! += clampMss6(bytes, at, segmentBytes6(words, pathMtu));
      return;
    }
    if (bytes[at + IPV4.PROTOCOL]! !== PROTOCOL.TCP) return;
    this.#counters[TOTAL.MSS_CLAMPED]! += clampMss(bytes, at, segmentBytes(words, pathMtu));
  }

  /** Outer DF follows inner DF, and is set for all others too unless outer fragmentation was asked for (RFC 2003 §3.1, §5.1). */
  dontFragment(bytes: Uint8Array, at: number): number {
    if ((this.#words[SETTINGS.FLAGS]! & SETTINGS_FLAG.FRAGMENT_OUTER) === 0 || isIpv6(bytes, at))
      return IPV4.DF;
    return readU16(bytes, at + IPV4.FRAGMENT) & IPV4.DF;
  }

  #writeIpv4(
    bytes: Uint8Array,
    at: number,
    length: number,
    peer: number,
    id: number,
    flags: number,
    tos: number,
    ttl: number,
    is6: boolean,
  ): void {
    const words = this.#words;
    const port = peerWord(words, peer, PEER.UDP_PORT);
    if (port !== 0) {
      const hash = is6 ? flowHash6(bytes, at) : flowHash(bytes, at);
      writeFouHeader(this.#out.view, at, length, fouSourcePort(hash), port);
    }
    const shim = port === 0 ? 0 : FOU.HEADER_BYTES;
    encapsulate(
      this.#out.view,
      at - shim,
      length + shim,
      words[SETTINGS.SOURCE]! | 0,
      peerAddress(words, peer),
      tos,
      ttl,
      id,
      flags,
      port !== 0 ? PROTOCOL.UDP : is6 ? PROTOCOL.IPV6 : PROTOCOL.IPIP,
    );
  }

  /** RFC 6438 §3: a flow label of the inner flow, by which routers that share load keep it together. */
  #writeIpv6(
    bytes: Uint8Array,
    at: number,
    length: number,
    peer: number,
    tos: number,
    hopLimit: number,
    nextHeader: number,
  ): void {
    const words = this.#words;
    const hash = nextHeader === PROTOCOL.IPV6 ? flowHash6(bytes, at) : flowHash(bytes, at);
    encapsulate6(
      this.#out.view,
      at,
      length,
      words,
      SOURCE6,
      words,
      peerAddressAt(peer),
      tos,
      hash & FLOW_LABEL_MASK,
      hopLimit,
      nextHeader,
    );
  }

  /** FORWARD when `count` fragments fit now, FLUSH_FIRST when they will after a flush, NO_BUFFER when they never can. */
  #roomFor(count: number, mtu: number): number {
    if (count === 0) return VERDICT.TOO_BIG;
    if (count > FRAGMENTS_MAX) return VERDICT.NO_BUFFER;
    if (this.#out.count + count > this.#out.capacity) return FLUSH_FIRST;
    const needed = (count - 1) * (mtu + SPARE_OVERHEAD_BYTES);
    if (needed <= this.#spare.freeBytes()) return VERDICT.FORWARD;
    return this.#out.count > 0 ? FLUSH_FIRST : VERDICT.NO_BUFFER;
  }

  #countFragments(count: number): void {
    this.#counters[TOTAL.FRAGMENTED]! += 1;
    this.#counters[TOTAL.FRAGMENTS]! += count;
  }

  #append(at: number, length: number, innerBytes: number, peer: number): void {
    const out = this.#out;
    const index = out.count;
    out.at[index] = at;
    out.length[index] = length;
    out.address[index] = peerAddress(this.#words, peer);
    out.peer[index] = peer;
    out.packets[index] = 1;
    // Traffic is counted in inner bytes in both directions: what the pods sent, whatever carried it.
    out.innerBytes[index] = innerBytes;
    out.pieces[index] = 0;
    out.count = index + 1;
  }

  #nextId(): number {
    // A remainder, not a branch: that would be taken for the first time after thousands of packets and cost the optimised code then.
    const request = this.#request;
    const used = (request[SEGMENT.IDS_USED]! + 1) % request[SEGMENT.ID_COUNT]!;
    request[SEGMENT.IDS_USED] = used;
    return request[SEGMENT.ID_FIRST]! + used;
  }
}

/** Before the payload of an outer IPv6 fragment. */
const FRAGMENTED_HEADERS = IPV6.HEADER_BYTES + FRAGMENT6.HEADER_BYTES;

const FLOW_LABEL_MASK = 0xf_ffff;
