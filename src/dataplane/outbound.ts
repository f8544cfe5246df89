import { LOCAL_GROUP, SETTINGS, SETTINGS_FLAG, SOURCE6 } from '../fib/layout.ts';
import { lookup, peerAddress, peerAddressAt, pickPeer } from '../fib/lookup.ts';
import { lookup6 } from '../fib/lookup6.ts';
import type { Batch } from '../io/batch.ts';
import type { Native } from '../io/native.ts';
import { readI32, readU16 } from '../packet/bytes.ts';
import { encapsulationLimitAt, LIMIT_OPTION_BYTES } from '../packet/encapsulation-limit.ts';
import { flowHash } from '../packet/flow.ts';
import { flowHash6 } from '../packet/flow6.ts';
import { gsoHeaders, gsoHeaders6, gsoSize, gsoType } from '../packet/gso.ts';
import { ICMP } from '../packet/icmp.ts';
import { ICMP6 } from '../packet/icmp6.ts';
import { checkInner, IPV4, totalLength } from '../packet/ipv4.ts';
import { checkInner6, IPV6, isAddress6, isIpv6, totalLength6 } from '../packet/ipv6.ts';
import { VERDICT } from '../packet/verdict.ts';
import { DROPS_OUTBOUND, PEER_CELL, peerCell, TOTAL } from './counters.ts';
import { Encapsulator, FLUSH_FIRST, SPARE_BYTES_OF_FRAGMENTS } from './encapsulator.ts';
import type { IcmpQueue } from './icmp-queue.ts';
import { pathMtuOf } from './path-mtu.ts';
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
  readonly #encapsulator: Encapsulator;
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
    this.#plain = plain;
    this.#encapsulator = new Encapsulator(words, counters, slab, request);
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
    const isUnderlay4 = (words[SETTINGS.FLAGS]! & SETTINGS_FLAG.UNDERLAY_IPV6) === 0;
    if (isUnderlay4 && source === (words[SETTINGS.SOURCE]! | 0)) return VERDICT.LOOP;

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
    if (isUnderlay4) {
      const gateway = peerAddress(words, peer);
      if (source === gateway || destination === gateway) return this.#dropOf(peer, VERDICT.LOOP);
    }

    const linkMtu = words[SETTINGS.LINK_MTU]!;
    const pathMtu = pathMtuOf(words, peer);
    if (largest + words[SETTINGS.OUTER_BYTES]! > pathMtu)
      return this.#tooBig(bytes, at, length, largest, peer, pathMtu, linkMtu);
    const dontFragment = this.#encapsulator.dontFragment(bytes, at);
    if (this.#headers > 0) return this.#cut(bytes, at, length, peer, dontFragment, false);
    this.#encapsulator.clamp(bytes, at, pathMtu);
    this.#encapsulator.emit(bytes, at, length, peer, dontFragment);
    return VERDICT.FORWARD;
  }

  /**
   * An IPv6 packet, the same rules as far as they are asked of it: nobody but its sender fragments it. RFC 4213 §3.2.2, RFC 2473 §7.1: what
   * is larger than the path carries is refused down to 1280 bytes; from there on the outer packet may be fragmented.
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
    const isUnderlay6 = (words[SETTINGS.FLAGS]! & SETTINGS_FLAG.UNDERLAY_IPV6) !== 0;
    const from = at + IPV6.SOURCE;
    const to = at + IPV6.DESTINATION;
    if (isUnderlay6 && isAddress6(bytes, from, words, SOURCE6)) return VERDICT.LOOP;
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
    if (isUnderlay6) {
      const gateway = peerAddressAt(peer);
      const isLoop = isAddress6(bytes, from, words, gateway) || isAddress6(bytes, to, words, gateway);
      if (isLoop) return this.#dropOf(peer, VERDICT.LOOP);
    }
    const limitAt = isUnderlay6 ? encapsulationLimitAt(bytes, at) : 0;
    if (limitAt !== 0) return this.#forwardLimited(bytes, at, length, peer, limitAt);
    const outerBytes = words[SETTINGS.OUTER_BYTES]!;
    const pathMtu = pathMtuOf(words, peer);
    const isTooBig = largest + outerBytes > pathMtu;
    if (isTooBig && largest > IPV6.MTU_MIN) {
      const mtu = Math.max(pathMtu - outerBytes, IPV6.MTU_MIN);
      this.#answer6(ICMP6.TOO_BIG, 0, mtu, bytes, at, length);
      return this.#dropOf(peer, VERDICT.TOO_BIG);
    }
    const flags = isTooBig ? 0 : IPV4.DF;
    if (this.#headers > 0) return this.#cut(bytes, at, length, peer, flags, isTooBig);
    if (isTooBig)
      return this.#fragmented(this.#encapsulator.fragmentOuter(bytes, at, length, peer, pathMtu), peer);
    this.#encapsulator.clamp(bytes, at, pathMtu);
    this.#encapsulator.emit(bytes, at, length, peer, flags);
    return VERDICT.FORWARD;
  }

  /** A packet that another tunnel has given a limit (encapsulation-limit.ts), which the kernel never hands over uncut. */
  #forwardLimited(bytes: Uint8Array, at: number, length: number, peer: number, limitAt: number): number {
    const limit = bytes[at + limitAt]!;
    if (limit === 0) {
      this.#answer6(ICMP6.PARAMETER_PROBLEM, ICMP6.CODE_FIELD, limitAt, bytes, at, length);
      return this.#dropOf(peer, VERDICT.ENCAPSULATION_LIMIT);
    }
    const pathMtu = pathMtuOf(this.#words, peer);
    const innerMtu = pathMtu - this.#words[SETTINGS.OUTER_BYTES]! - LIMIT_OPTION_BYTES;
    if (length > innerMtu && length > IPV6.MTU_MIN) {
      this.#answer6(ICMP6.TOO_BIG, 0, Math.max(innerMtu, IPV6.MTU_MIN), bytes, at, length);
      return this.#dropOf(peer, VERDICT.TOO_BIG);
    }
    return this.#fragmented(
      this.#encapsulator.emitLimited(bytes, at, length, peer, limit - 1, pathMtu),
      peer,
    );
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
    flags: number,
    isTooBig: boolean,
  ): number {
    this.#encapsulator.writeHeader(bytes, at, 0, peer, 0, flags);
    const outerBytes = this.#words[SETTINGS.OUTER_BYTES]!;
    const packets = this.#packets;
    this.#segmenter.begin(
      at,
      length,
      this.#headers,
      this.#size,
      packets,
      peer,
      peerAddress(this.#words, peer),
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
      const verdict = this.#sendSegment(bytes, at, length, segmenter.peer);
      if (verdict !== VERDICT.FORWARD) this.#counters[DROPS_OUTBOUND + verdict]! += 1;
    }
  }

  #sendSegment(bytes: Uint8Array, at: number, length: number, peer: number): number {
    const pathMtu = pathMtuOf(this.#words, peer);
    if (length + this.#words[SETTINGS.OUTER_BYTES]! > pathMtu) {
      if (isIpv6(bytes, at))
        return this.#fragmented(this.#encapsulator.fragmentOuter(bytes, at, length, peer, pathMtu), peer);
      return this.#fragmented(this.#encapsulator.fragment(bytes, at, length, peer, pathMtu), peer);
    }
    this.#encapsulator.emit(bytes, at, length, peer, this.#encapsulator.dontFragment(bytes, at));
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
    const outerBytes = this.#words[SETTINGS.OUTER_BYTES]!;
    if ((readU16(bytes, at + IPV4.FRAGMENT) & IPV4.DF) !== 0) {
      this.#answer(ICMP.UNREACHABLE, ICMP.CODE_FRAGMENTATION_NEEDED, pathMtu - outerBytes, bytes, at, length);
      if (largest + outerBytes > linkMtu) return this.#dropOf(peer, VERDICT.TOO_BIG);
      // The path MTU is soft state: the datagram goes out all the same, so that a path that has recovered shows it (RFC 2003 §5).
      this.#counters[TOTAL.SOFT_STATE_EXCEEDED]! += this.#packets;
      if (this.#headers > 0) return this.#cut(bytes, at, length, peer, IPV4.DF, false);
      this.#encapsulator.clamp(bytes, at, pathMtu);
      this.#encapsulator.emit(bytes, at, length, peer, IPV4.DF);
      return VERDICT.FORWARD;
    }
    if (this.#headers > 0) return this.#cut(bytes, at, length, peer, 0, true);
    return this.#fragmented(this.#encapsulator.fragment(bytes, at, length, peer, pathMtu), peer);
  }

  #fragmented(verdict: number, peer: number): number {
    return verdict === VERDICT.FORWARD || verdict === FLUSH_FIRST ? verdict : this.#dropOf(peer, verdict);
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
