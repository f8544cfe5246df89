import { DSCP_INHERIT, LOCAL_GROUP, PEER, SETTINGS, SETTINGS_FLAG, TTL_INHERIT } from '../fib/layout.ts';
import { lookup, peerAddress, peerWord, pickPeer } from '../fib/lookup.ts';
import { lookup6 } from '../fib/lookup6.ts';
import type { Batch } from '../io/batch.ts';
import { type Native, SEGMENT } from '../io/native.ts';
import { readI32, readU16 } from '../packet/bytes.ts';
import { outerTos } from '../packet/ecn.ts';
import { flowHash } from '../packet/flow.ts';
import { flowHash6 } from '../packet/flow6.ts';
import { FOU, fouSourcePort, writeFouHeader } from '../packet/fou.ts';
import { fragmentCount, writeFragment } from '../packet/fragment.ts';
import { gsoHeaders, gsoHeaders6, gsoSize, gsoType } from '../packet/gso.ts';
import { ICMP } from '../packet/icmp.ts';
import { ICMP6 } from '../packet/icmp6.ts';
import { encapsulate } from '../packet/ipip.ts';
import { checkInner, headerBytes, IPV4, PROTOCOL, totalLength } from '../packet/ipv4.ts';
import { checkInner6, IPV6, totalLength6, trafficClass } from '../packet/ipv6.ts';
import { clampMss, clampMss6 } from '../packet/tcp.ts';
import { VERDICT } from '../packet/verdict.ts';
import { DROPS_OUTBOUND, PEER_CELL, peerCell, TOTAL } from './counters.ts';
import type { IcmpQueue } from './icmp-queue.ts';
import { pathMtuOf, segmentBytes, segmentBytes6 } from './path-mtu.ts';
import type { PlainOutbound } from './plain-outbound.ts';
import { Segmenter } from './segmenter.ts';
import { FRAGMENTS_MAX, type Slab, type Spare } from './slab.ts';

/**
 * Packets from local hosts to remote clusters: the encapsulation rules of the design, in their order. No I/O: the input is what was
 * read from the TUN device, the output is what goes to the underlay, both in one slab.
 *
 * The device hands over TCP and UDP uncut, up to 64 KiB of a flow in a packet. The rules are applied to it once, as to each of its
 * segments, and only then is it cut.
 */
export class Outbound {
  readonly #words: Uint32Array;
  readonly #counters: Float64Array;
  readonly #input: Batch;
  readonly #out: Batch;
  readonly #plain: PlainOutbound;
  readonly #spare: Spare;
  readonly #icmp: IcmpQueue;
  readonly #segmenter: Segmenter;
  /** Its ID cells are those of all packets, cut or not. */
  readonly #request: Int32Array;
  /** Of the packet in hand: what it counts for, and for one that is to be cut its headers, else 0, and the payload of a segment. */
  #packets = 1;
  #headers = 0;
  #size = 0;

  /** `plain` is tried first with every packet; `request` is the segmenter's, from segmentRequest. */
  constructor(
    words: Uint32Array,
    counters: Float64Array,
    slab: Slab,
    request: Int32Array,
    plain: PlainOutbound,
    offload: Pick<Native, 'segment'>,
    icmp: IcmpQueue,
  ) {
    this.#words = words;
    this.#counters = counters;
    this.#input = slab.fromDevice;
    this.#out = slab.toUnderlay;
    this.#spare = slab.spare;
    this.#icmp = icmp;
    this.#request = request;
    this.#plain = plain;
    this.#segmenter = new Segmenter(offload, slab.toUnderlay, request, slab.headersAt);
  }

  /**
   * Handles the packets from the device, `from` … of its batch, and appends to the output batch. Returns the index of the first packet not handled: less than
   * its count when the output must be flushed first. That packet may have been cut in part; the next call goes on with it.
   */
  step(from: number): number {
    const input = this.#input;
    const out = this.#out;
    const bytes = input.bytes;
    const count = input.count;
    const segmenter = this.#segmenter;
    let received = 0;
    let i = from;
    let looked = from;
    for (; i < count; i++) {
      if (out.count >= out.capacity) break;
      if (segmenter.left === 0) {
        if (i >= looked) looked = this.#plain.look(i);
        const next = this.#plain.forward(i, looked);
        received += next - i;
        i = next;
        if (i >= count || out.count >= out.capacity) break;
        // A packet is only begun when its worst case fits, so that none but one that is cut is ever half done.
        const verdict = this.#forward(bytes, input.at[i]!, input.length[i]!);
        if (verdict === FLUSH_FIRST) break;
        received += this.#packets;
        if (verdict !== VERDICT.FORWARD) this.#counters[DROPS_OUTBOUND + verdict]! += this.#packets;
      }
      if (segmenter.left === 0) continue;
      if (segmenter.isTooBig) this.#fragmentSegments(bytes);
      else segmenter.append();
      if (segmenter.left > 0) break;
    }
    this.#counters[TOTAL.OUTBOUND_RECEIVED]! += received;
    return i;
  }

  #forward(bytes: Uint8Array, at: number, available: number): number {
    const words = this.#words;
    this.#packets = 1;
    this.#headers = 0;
    if (available > 0 && isIpv6(bytes, at)) return this.#forward6(bytes, at, available);
    const malformed = checkInner(bytes, at, available);
    if (malformed !== VERDICT.FORWARD) return malformed;
    const length = totalLength(bytes, at);
    let largest = length;
    if (gsoType(bytes, at) !== 0) {
      largest = this.#readGso(bytes, at, length, gsoHeaders(bytes, at, available));
      if (largest < 0) return VERDICT.INNER_MALFORMED;
    }
    // Addresses are i32 from here on: as u32 they cost 32 bytes of garbage a packet (bench/engine.bench.ts, readI32).
    const source = readI32(bytes, at + IPV4.SOURCE);
    if (source === (words[SETTINGS.SOURCE]! | 0)) return VERDICT.LOOP;

    const destination = readI32(bytes, at + IPV4.DESTINATION);
    const group = lookup(words, destination);
    if (group <= LOCAL_GROUP) {
      this.#answer(ICMP.UNREACHABLE, ICMP.CODE_NET_UNREACHABLE, 0, bytes, at, length);
      return VERDICT.NO_ROUTE;
    }
    const peer = pickPeer(words, group, flowHash(bytes, at));
    if (peer < 0) {
      this.#answer(ICMP.UNREACHABLE, ICMP.CODE_HOST_UNREACHABLE, 0, bytes, at, length);
      return VERDICT.NO_GATEWAY;
    }
    const gateway = peerAddress(words, peer);
    if (source === gateway) return this.#dropOf(peer, VERDICT.LOOP);
    if (destination === gateway) return this.#dropOf(peer, VERDICT.LOOP);

    const linkMtu = words[SETTINGS.LINK_MTU]!;
    const pathMtu = pathMtuOf(words, peer);
    if (largest + words[SETTINGS.OUTER_BYTES]! > pathMtu)
      return this.#tooBig(bytes, at, length, largest, peer, pathMtu, linkMtu);
    const dontFragment = this.#outerDontFragment(bytes, at);
    if (this.#headers > 0) return this.#cut(bytes, at, length, peer, gateway, dontFragment, false);
    this.#clamp(bytes, at, pathMtu);
    this.#emit(bytes, at, length, peer, gateway, dontFragment);
    return VERDICT.FORWARD;
  }

  /**
   * An IPv6 packet, the same rules as far as they are asked of it: its ends are never those of the tunnel, which are IPv4 addresses, and
   * nobody but its sender fragments it. RFC 4213 §3.2.2: what is larger than the path carries is refused down to 1280 bytes; from there on
   * the outer packet may be fragmented.
   */
  #forward6(bytes: Uint8Array, at: number, available: number): number {
    const words = this.#words;
    const malformed = checkInner6(bytes, at, available);
    if (malformed !== VERDICT.FORWARD) return malformed;
    const length = totalLength6(bytes, at);
    let largest = length;
    if (gsoType(bytes, at) !== 0) {
      largest = this.#readGso(bytes, at, length, gsoHeaders6(bytes, at, available));
      if (largest < 0) return VERDICT.INNER_MALFORMED;
    }
    const to = at + IPV6.DESTINATION;
    const group = lookup6(
      words,
      readI32(bytes, to),
      readI32(bytes, to + 4),
      readI32(bytes, to + 8),
      readI32(bytes, to + 12),
    );
    if (group <= LOCAL_GROUP) {
      this.#answer6(ICMP6.UNREACHABLE, ICMP6.CODE_NO_ROUTE, 0, bytes, at, length);
      return VERDICT.NO_ROUTE;
    }
    const peer = pickPeer(words, group, flowHash6(bytes, at));
    if (peer < 0) {
      this.#answer6(ICMP6.UNREACHABLE, ICMP6.CODE_ADDRESS_UNREACHABLE, 0, bytes, at, length);
      return VERDICT.NO_GATEWAY;
    }
    const outerBytes = words[SETTINGS.OUTER_BYTES]!;
    const pathMtu = pathMtuOf(words, peer);
    const isTooBig = largest + outerBytes > pathMtu;
    if (isTooBig && largest > IPV6.MTU_MIN) {
      const mtu = Math.max(pathMtu - outerBytes, IPV6.MTU_MIN);
      this.#answer6(ICMP6.TOO_BIG, 0, mtu, bytes, at, length);
      return this.#dropOf(peer, VERDICT.TOO_BIG);
    }
    const gateway = peerAddress(words, peer);
    const flags = isTooBig ? 0 : IPV4.DF;
    if (this.#headers > 0) return this.#cut(bytes, at, length, peer, gateway, flags, isTooBig);
    if (isTooBig) return this.#fragmentOuter(bytes, at, length, peer, pathMtu);
    this.#clamp(bytes, at, pathMtu);
    this.#emit(bytes, at, length, peer, gateway, flags);
    return VERDICT.FORWARD;
  }

  /** Bytes of the largest segment of a packet that is to be cut, or -1; keeps what else the vnet header says, which will be overwritten. */
  #readGso(bytes: Uint8Array, at: number, length: number, headers: number): number {
    if (headers < 0) return -1;
    const size = gsoSize(bytes, at);
    const payload = length - headers;
    this.#headers = headers;
    this.#size = size;
    this.#packets = ((payload + size - 1) / size) | 0;
    return headers + Math.min(size, payload);
  }

  /** All that is decided for a packet holds for its segments. No SYN is among them, so there is no MSS to clamp. */
  #cut(
    bytes: Uint8Array,
    at: number,
    length: number,
    peer: number,
    gateway: number,
    flags: number,
    isTooBig: boolean,
  ): number {
    this.#encapsulate(bytes, at, 0, peer, gateway, 0, flags);
    const outerBytes = this.#words[SETTINGS.OUTER_BYTES]!;
    const packets = this.#packets;
    this.#segmenter.begin(
      at,
      length,
      this.#headers,
      this.#size,
      packets,
      peer,
      gateway,
      isTooBig,
      outerBytes,
    );
    return VERDICT.FORWARD;
  }

  /** Segments that are too big for the path, DF clear: each by itself as any other packet, until the output has to be flushed. */
  #fragmentSegments(bytes: Uint8Array): void {
    const segmenter = this.#segmenter;
    const out = this.#out;
    const spare = this.#spare;
    this.#packets = 1;
    this.#headers = 0;
    while (segmenter.left > 0) {
      const length = segmenter.nextBytes();
      // With nothing to send, nothing refers to spare memory, which then holds a segment of any size and its fragments.
      if (out.count === 0) spare.reset();
      else if (out.capacity - out.count < FRAGMENTS_MAX) return;
      else if (spare.freeBytes() < 2 * length + SPARE_BYTES_OF_FRAGMENTS) return;
      const at = segmenter.copyNext(spare);
      const verdict = this.#sendSegment(bytes, at, length, segmenter.peer, segmenter.gateway);
      if (verdict !== VERDICT.FORWARD) this.#counters[DROPS_OUTBOUND + verdict]! += 1;
    }
  }

  #sendSegment(bytes: Uint8Array, at: number, length: number, peer: number, gateway: number): number {
    const pathMtu = pathMtuOf(this.#words, peer);
    if (length + this.#words[SETTINGS.OUTER_BYTES]! > pathMtu) {
      if (isIpv6(bytes, at)) return this.#fragmentOuter(bytes, at, length, peer, pathMtu);
      return this.#fragment(bytes, at, length, peer, pathMtu);
    }
    this.#emit(bytes, at, length, peer, gateway, this.#outerDontFragment(bytes, at));
    return VERDICT.FORWARD;
  }

  /** RFC 2003 §5.1: with DF the sender is told, without it the packet is fragmented, before encapsulation or after as configured. */
  #tooBig(
    bytes: Uint8Array,
    at: number,
    length: number,
    largest: number,
    peer: number,
    pathMtu: number,
    linkMtu: number,
  ): number {
    const gateway = peerAddress(this.#words, peer);
    const outerBytes = this.#words[SETTINGS.OUTER_BYTES]!;
    if ((readU16(bytes, at + IPV4.FRAGMENT) & IPV4.DF) !== 0) {
      this.#answer(ICMP.UNREACHABLE, ICMP.CODE_FRAGMENTATION_NEEDED, pathMtu - outerBytes, bytes, at, length);
      if (largest + outerBytes > linkMtu) return this.#dropOf(peer, VERDICT.TOO_BIG);
      // The path MTU is soft state: the datagram goes out all the same, so that a path that has recovered shows it (RFC 2003 §5).
      this.#counters[TOTAL.SOFT_STATE_EXCEEDED]! += this.#packets;
      if (this.#headers > 0) return this.#cut(bytes, at, length, peer, gateway, IPV4.DF, false);
      this.#clamp(bytes, at, pathMtu);
      this.#emit(bytes, at, length, peer, gateway, IPV4.DF);
      return VERDICT.FORWARD;
    }
    if (this.#headers > 0) return this.#cut(bytes, at, length, peer, gateway, 0, true);
    return this.#fragment(bytes, at, length, peer, pathMtu);
  }

  #fragment(bytes: Uint8Array, at: number, length: number, peer: number, pathMtu: number): number {
    if ((this.#words[SETTINGS.FLAGS]! & SETTINGS_FLAG.FRAGMENT_OUTER) !== 0) {
      return this.#fragmentOuter(bytes, at, length, peer, pathMtu);
    }
    return this.#fragmentInner(bytes, at, length, peer, pathMtu);
  }

  #fragmentInner(bytes: Uint8Array, at: number, length: number, peer: number, pathMtu: number): number {
    const out = this.#out;
    const innerMtu = pathMtu - this.#words[SETTINGS.OUTER_BYTES]!;
    const count = fragmentCount(length, headerBytes(bytes, at), innerMtu);
    const room = this.#roomFor(count, innerMtu, peer);
    if (room !== VERDICT.FORWARD) return room;
    this.#clamp(bytes, at, pathMtu);
    const gateway = peerAddress(this.#words, peer);
    const first = out.count;
    out.count += 1;
    for (let index = 1; index < count; index++) {
      const fragmentAt = this.#spare.take(innerMtu);
      const fragmentLength = writeFragment(bytes, at, index, count, innerMtu, fragmentAt);
      if (fragmentLength > 0) this.#emit(bytes, fragmentAt, fragmentLength, peer, gateway, IPV4.DF);
    }
    // The first fragment is made last, in place: it overwrites what the others are cut from. It still leaves first.
    const last = out.count;
    out.count = first;
    this.#emit(bytes, at, writeFragment(bytes, at, 0, count, innerMtu, at), peer, gateway, IPV4.DF);
    out.count = last;
    this.#countFragments(last - first);
    return VERDICT.FORWARD;
  }

  #fragmentOuter(bytes: Uint8Array, at: number, length: number, peer: number, pathMtu: number): number {
    const out = this.#out;
    const total = length + this.#words[SETTINGS.OUTER_BYTES]!;
    if (total > IPV4_LENGTH_MAX) return this.#dropOf(peer, VERDICT.TOO_BIG);
    const count = fragmentCount(total, IPV4.HEADER_BYTES, pathMtu);
    const room = this.#roomFor(count, pathMtu, peer);
    if (room !== VERDICT.FORWARD) return room;
    this.#clamp(bytes, at, pathMtu);
    const first = out.count;
    this.#emit(bytes, at, length, peer, peerAddress(this.#words, peer), 0);
    const outerAt = out.at[first]!;
    for (let index = 1; index < count; index++) {
      const fragmentAt = this.#spare.take(pathMtu);
      const fragmentLength = writeFragment(bytes, outerAt, index, count, pathMtu, fragmentAt);
      if (fragmentLength > 0)
        this.#append(
          fragmentAt,
          fragmentLength,
          fragmentLength - IPV4.HEADER_BYTES,
          peer,
          out.address[first]! | 0,
        );
    }
    const firstLength = writeFragment(bytes, outerAt, 0, count, pathMtu, outerAt);
    out.length[first] = firstLength;
    out.innerBytes[first] = firstLength - this.#words[SETTINGS.OUTER_BYTES]!;
    this.#countFragments(out.count - first);
    return VERDICT.FORWARD;
  }

  /** FORWARD when `count` fragments fit now, FLUSH_FIRST when they will after a flush, NO_BUFFER when they never can. */
  #roomFor(count: number, mtu: number, peer: number): number {
    if (count === 0) return this.#dropOf(peer, VERDICT.TOO_BIG);
    if (count > FRAGMENTS_MAX) return this.#dropOf(peer, VERDICT.NO_BUFFER);
    if (this.#out.count + count > this.#out.capacity) return FLUSH_FIRST;
    const needed = (count - 1) * (mtu + SPARE_OVERHEAD_BYTES);
    if (needed <= this.#spare.freeBytes()) return VERDICT.FORWARD;
    return this.#out.count > 0 ? FLUSH_FIRST : this.#dropOf(peer, VERDICT.NO_BUFFER);
  }

  #countFragments(count: number): void {
    this.#counters[TOTAL.FRAGMENTED]! += 1;
    this.#counters[TOTAL.FRAGMENTS]! += count;
  }

  /**
   * Only once it is certain that the packet goes out now: one that has to wait for a flush is looked at again, by then under other
   * settings perhaps, and an ICMP error quotes the packet as its sender knows it.
   */
  #clamp(bytes: Uint8Array, at: number, pathMtu: number): void {
    if ((this.#words[SETTINGS.FLAGS]! & SETTINGS_FLAG.CLAMP_MSS) === 0) return;
    if (isIpv6(bytes, at)) {
      this.#counters[TOTAL.MSS_CLAMPED]! += clampMss6(bytes, at, segmentBytes6(this.#words, pathMtu));
      return;
    }
    if (bytes[at + IPV4.PROTOCOL]! !== PROTOCOL.TCP) return;
    this.#counters[TOTAL.MSS_CLAMPED]! += clampMss(bytes, at, segmentBytes(this.#words, pathMtu));
  }

  /** Outer DF follows inner DF, and is set for all others too unless outer fragmentation was asked for (RFC 2003 §3.1, §5.1). */
  #outerDontFragment(bytes: Uint8Array, at: number): number {
    if ((this.#words[SETTINGS.FLAGS]! & SETTINGS_FLAG.FRAGMENT_OUTER) === 0 || isIpv6(bytes, at))
      return IPV4.DF;
    return readU16(bytes, at + IPV4.FRAGMENT) & IPV4.DF;
  }

  #emit(bytes: Uint8Array, at: number, length: number, peer: number, gateway: number, flags: number): void {
    const outerBytes = this.#words[SETTINGS.OUTER_BYTES]!;
    this.#encapsulate(bytes, at, length, peer, gateway, this.#nextId(), flags);
    this.#append(at - outerBytes, length + outerBytes, length, peer, gateway);
  }

  #encapsulate(
    bytes: Uint8Array,
    at: number,
    length: number,
    peer: number,
    gateway: number,
    id: number,
    flags: number,
  ): void {
    const words = this.#words;
    const port = peerWord(words, peer, PEER.UDP_PORT);
    const is6 = isIpv6(bytes, at);
    if (port !== 0) {
      const hash = is6 ? flowHash6(bytes, at) : flowHash(bytes, at);
      writeFouHeader(this.#out.view, at, length, fouSourcePort(hash), port);
    }
    const shim = port === 0 ? 0 : FOU.HEADER_BYTES;
    const ttl = words[SETTINGS.TTL]!;
    const dscp = words[SETTINGS.DSCP]!;
    const compatibility = words[SETTINGS.FLAGS]! & SETTINGS_FLAG.ECN_COMPATIBILITY;
    const tos = outerTos(
      is6 ? trafficClass(bytes, at) : bytes[at + IPV4.TOS]!,
      dscp === DSCP_INHERIT ? -1 : dscp,
      compatibility === 0 ? 0 : 1,
    );
    encapsulate(
      this.#out.view,
      at - shim,
      length + shim,
      words[SETTINGS.SOURCE]! | 0,
      gateway,
      tos,
      ttl === TTL_INHERIT ? bytes[at + (is6 ? IPV6.HOP_LIMIT : IPV4.TTL)]! : ttl,
      id,
      flags,
      port !== 0 ? PROTOCOL.UDP : is6 ? PROTOCOL.IPV6 : PROTOCOL.IPIP,
    );
  }

  #append(at: number, length: number, innerBytes: number, peer: number, gateway: number): void {
    const out = this.#out;
    const index = out.count;
    out.at[index] = at;
    out.length[index] = length;
    out.address[index] = gateway;
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

  #dropOf(peer: number, verdict: number): number {
    this.#counters[peerCell(peer) + PEER_CELL.OUTBOUND_DROPS]! += this.#packets;
    return verdict;
  }

  #answer(type: number, code: number, rest: number, bytes: Uint8Array, at: number, length: number): void {
    this.#countAnswer(this.#icmp.push(type, code, rest, bytes, at, length));
  }

  #answer6(type: number, code: number, rest: number, bytes: Uint8Array, at: number, length: number): void {
    this.#countAnswer(this.#icmp.push6(type, code, rest, bytes, at, length));
  }

  #countAnswer(queued: number): void {
    if (queued === 1) this.#counters[TOTAL.ICMP_QUEUED]! += 1;
    else if (queued < 0) this.#counters[TOTAL.ICMP_SUPPRESSED]! += 1;
  }
}

function isIpv6(bytes: Uint8Array, at: number): boolean {
  return bytes[at]! >>> 4 === 6;
}

/** No verdict: the packet has to wait until the output batch has been sent. */
const FLUSH_FIRST = -1;

const IPV4_LENGTH_MAX = 65_535;

/** Headroom and alignment that one piece of spare memory costs beside the fragment itself. */
const SPARE_OVERHEAD_BYTES = 80;

/** What all fragments of a packet take of it beside their payload: headers, what rounding to units of 8 leaves free, and the above. */
const SPARE_BYTES_OF_FRAGMENTS = (FRAGMENTS_MAX + 1) * (60 + 8 + SPARE_OVERHEAD_BYTES);
