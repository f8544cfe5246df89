import { LOCAL_GROUP, NO_GROUP, SETTINGS, SETTINGS_FLAG, SOURCE6 } from '../fib/layout.ts';
import {
  findPeer,
  findPeer6,
  groupCluster,
  isAllowedSource,
  isAllowedSource6,
  isTransit,
  lookup,
  peerHasCluster,
} from '../fib/lookup.ts';
import { lookup6 } from '../fib/lookup6.ts';
import type { Batch } from '../io/batch.ts';
import { COALESCE, type Native } from '../io/native.ts';
import { readI32 } from '../packet/bytes.ts';
import { decapsulateEcn, ECN_UNUSED } from '../packet/ecn.ts';
import { checkFou, FOU, fouPayload } from '../packet/fou.ts';
import {
  checkInner,
  checkOuter,
  headerBytes,
  IPV4,
  isMartianDestination,
  isMartianSource,
  outerPayload,
  PROTOCOL,
  totalLength,
} from '../packet/ipv4.ts';
import {
  areSame6,
  checkInner6,
  checkOuter6,
  decapsulateEcn6,
  IPV6,
  isAddress6,
  isMartian6,
  totalLength6,
  trafficClass,
} from '../packet/ipv6.ts';
import { isProbe, isProbe6 } from '../packet/probe.ts';
import { VERDICT } from '../packet/verdict.ts';
import {
  clampReceivedMss,
  clampReceivedMss6,
  isChecksumPartial,
  writeEmptyVnetHeader,
} from '../packet/vnet.ts';
import { DROPS_INBOUND, PEER_CELL, peerCell, TOTAL } from './counters.ts';
import type { IcmpQueue } from './icmp-queue.ts';
import { pathMtuOf, segmentBytes, segmentBytes6 } from './path-mtu.ts';
import type { PlainInbound } from './plain-inbound.ts';
import type { Slab } from './slab.ts';

/** No verdict: the packet was for the gateway itself, and the slow path has it. */
const PROBE = -1;

/**
 * Packets from the underlay to local hosts: the decapsulation rules of the design, in their order. What is not expressly allowed is
 * dropped (CVE-2020-10136 is what happens otherwise). No I/O: the input is what the underlay socket received, the output is what is
 * written to the TUN device, each entry behind its vnet header. From that header on, the outer header is overwritten.
 */
export class Inbound {
  readonly #words: Uint32Array;
  readonly #counters: Float64Array;
  readonly #input: Batch;
  readonly #out: Batch;
  readonly #plain: PlainInbound;
  readonly #offload: Pick<Native, 'coalesce'>;
  readonly #features: number;
  readonly #slowPath: IcmpQueue;

  /** `plain` is tried first with every packet. `features` are the COALESCE bits of what the device takes besides merged TCP. */
  constructor(
    words: Uint32Array,
    counters: Float64Array,
    slab: Slab,
    plain: PlainInbound,
    offload: Pick<Native, 'coalesce'>,
    features: number,
    slowPath: IcmpQueue,
  ) {
    this.#words = words;
    this.#counters = counters;
    this.#input = slab.fromUnderlay;
    this.#out = slab.toDevice;
    this.#plain = plain;
    this.#offload = offload;
    this.#features = features;
    this.#slowPath = slowPath;
  }

  /** Handles all packets from the underlay; the output batch must be empty and hold as many. */
  step(): void {
    const input = this.#input;
    const bytes = input.bytes;
    const count = input.count;
    let looked = 0;
    for (let i = 0; i < count; i++) {
      if (i >= looked) looked = this.#plain.look(i);
      i = this.#plain.forward(i, looked);
      if (i >= count) break;
      const verdict = this.#forward(bytes, input.at[i]!, input.length[i]!);
      if (verdict === PROBE) this.#counters[TOTAL.INBOUND_PROBES]! += 1;
      else if (verdict !== VERDICT.FORWARD) this.#counters[DROPS_INBOUND + verdict]! += 1;
    }
    this.#counters[TOTAL.INBOUND_RECEIVED]! += count;
    this.#merge(bytes);
  }

  /** Writes the vnet headers, and makes one packet of several that follow one another in a flow. */
  #merge(bytes: Uint8Array): void {
    const out = this.#out;
    const count = out.count;
    if (count === 0) return;
    const mtu = this.#words[SETTINGS.DEVICE_MTU]!;
    // A packet that came alone is one whose sender waits for the answer.
    const isPlain = count === 1 && bytes[out.at[0]!]! >>> 4 === 4;
    if (isPlain && writeEmptyVnetHeader(bytes, out.at[0]!, mtu) === 1) return;
    const result = this.#offload.coalesce(
      bytes,
      out.at,
      out.length,
      out.peer,
      out.packets,
      out.innerBytes,
      out.pieces,
      count,
      mtu,
      this.#features,
    );
    const kept = result % COALESCE.DROPPED;
    const end = kept + ((result / COALESCE.DROPPED) | 0);
    for (let i = kept; i < end; i++) this.#countDrop(VERDICT.INNER_CHECKSUM, out.peer[i]!);
    out.count = kept;
  }

  #countDrop(verdict: number, peer: number): void {
    this.#counters[DROPS_INBOUND + verdict]! += 1;
    if (peer >= 0) this.#counters[peerCell(peer) + PEER_CELL.INBOUND_DROPS]! += 1;
  }

  #forward(bytes: Uint8Array, outerAt: number, available: number): number {
    const words = this.#words;
    if ((words[SETTINGS.FLAGS]! & SETTINGS_FLAG.UNDERLAY_IPV6) !== 0)
      return this.#forwardOuter6(bytes, outerAt, available);
    const port = words[SETTINGS.UDP_PORT]!;
    const isIpv6 =
      port === 0 && available > IPV4.PROTOCOL && bytes[outerAt + IPV4.PROTOCOL] === PROTOCOL.IPV6;
    const protocol = port !== 0 ? PROTOCOL.UDP : isIpv6 ? PROTOCOL.IPV6 : PROTOCOL.IPIP;
    const malformed = checkOuter(bytes, outerAt, available, protocol);
    if (malformed !== VERDICT.FORWARD) return malformed;
    const outerSource = readI32(bytes, outerAt + IPV4.SOURCE);
    const peer = findPeer(words, outerSource);
    if (peer < 0 && isAllowedSource(words, outerSource) === 0) return VERDICT.UNKNOWN_PEER;

    let at = outerAt + headerBytes(bytes, outerAt);
    let payload = outerPayload(bytes, outerAt, available);
    if (port !== 0) {
      const wrong = checkFou(bytes, outerAt, at, payload, port);
      if (wrong !== VERDICT.FORWARD) return wrong;
      payload = fouPayload(bytes, at);
      at += FOU.HEADER_BYTES;
    }
    // The outer protocol says what is inside; UDP leaves it to the inner packet.
    const is6 = isIpv6 || (port !== 0 && payload > 0 && bytes[at]! >>> 4 === 6);
    const tos = bytes[outerAt + IPV4.TOS]!;
    const verdict = is6
      ? this.#inner6(bytes, at, payload, peer, tos, NO_OUTER6)
      : this.#inner(bytes, at, payload, outerSource, peer, tos);
    if (verdict === PROBE) {
      this.#slowPath.pushProbe(outerSource, at + payload - outerAt, bytes, at);
      return PROBE;
    }
    return this.#handOn(bytes, at, payload, peer, is6, verdict);
  }

  /** The same of an IPv6 underlay (RFC 2473 §3.2), whose peers have IPv6 addresses. */
  #forwardOuter6(bytes: Uint8Array, outerAt: number, available: number): number {
    const words = this.#words;
    const malformed = checkOuter6(bytes, outerAt, available);
    if (malformed !== VERDICT.FORWARD) return malformed;
    const from = outerAt + IPV6.SOURCE;
    const w0 = readI32(bytes, from);
    const w1 = readI32(bytes, from + 4);
    const w2 = readI32(bytes, from + 8);
    const w3 = readI32(bytes, from + 12);
    const peer = findPeer6(words, w0, w1, w2, w3);
    if (peer < 0 && isAllowedSource6(words, w0, w1, w2, w3) === 0) return VERDICT.UNKNOWN_PEER;
    const at = outerAt + IPV6.HEADER_BYTES;
    const payload = available - IPV6.HEADER_BYTES;
    const is6 = bytes[outerAt + IPV6.NEXT_HEADER] === PROTOCOL.IPV6;
    const tos = trafficClass(bytes, outerAt);
    const verdict = is6
      ? this.#inner6(bytes, at, payload, peer, tos, outerAt)
      : this.#inner(bytes, at, payload, NO_ADDRESS, peer, tos);
    if (verdict === PROBE) {
      this.#slowPath.pushProbe6(available, bytes, outerAt, at);
      return PROBE;
    }
    return this.#handOn(bytes, at, payload, peer, is6, verdict);
  }

  /** The packet at `at`, on which there is a verdict, goes to the device, unless that or what its length tells is against it. */
  #handOn(
    bytes: Uint8Array,
    at: number,
    payload: number,
    peer: number,
    is6: boolean,
    verdict: number,
  ): number {
    if (verdict !== VERDICT.FORWARD) {
      if (peer >= 0) this.#counters[peerCell(peer) + PEER_CELL.INBOUND_DROPS]! += 1;
      return verdict;
    }
    // What is behind the inner packet inside the outer one is no part of it (RFC 4213 §3.6).
    const length = is6 ? totalLength6(bytes, at) : totalLength(bytes, at);
    if (this.#isMerged(bytes, at, length, payload)) {
      if (peer >= 0) this.#counters[peerCell(peer) + PEER_CELL.INBOUND_DROPS]! += 1;
      return VERDICT.MERGED_DATAGRAMS;
    }
    if (peer >= 0 && is6) this.#clamp6(bytes, at, peer);
    else if (peer >= 0 && bytes[at + IPV4.PROTOCOL]! === PROTOCOL.TCP) this.#clamp(bytes, at, peer);
    const out = this.#out;
    const index = out.count;
    out.at[index] = at;
    out.length[index] = length;
    out.peer[index] = peer;
    out.packets[index] = 1;
    out.innerBytes[index] = length;
    out.pieces[index] = 0;
    out.count = index + 1;
    return VERDICT.FORWARD;
  }

  /**
   * Datagrams merged by GRO look like one long datagram whose checksum is left undone; a raw socket does not tell their size, so they
   * cannot be cut again. One that a sender made so long came in fragments, and what the kernel fragments has a whole checksum
   * (ip_do_fragment). With fou the kernel merges outer datagrams where it is told to (rx-udp-gro-forwarding), and then there is more in one
   * than its first inner packet.
   */
  #isMerged(bytes: Uint8Array, at: number, length: number, payload: number): boolean {
    const words = this.#words;
    const room = words[SETTINGS.LINK_MTU]! - words[SETTINGS.OUTER_BYTES]!;
    if (words[SETTINGS.UDP_PORT] !== 0 && payload > room && payload > length) return true;
    if (length <= room || bytes[at]! >>> 4 === 6) return false;
    if (bytes[at + IPV4.PROTOCOL]! !== PROTOCOL.UDP) return false;
    return isChecksumPartial(bytes, at) === 1;
  }

  #inner(
    bytes: Uint8Array,
    at: number,
    available: number,
    outerSource: number,
    peer: number,
    tos: number,
  ): number {
    const words = this.#words;
    const malformed = checkInner(bytes, at, available);
    if (malformed !== VERDICT.FORWARD) return malformed;
    const source = readI32(bytes, at + IPV4.SOURCE);
    const destination = readI32(bytes, at + IPV4.DESTINATION);
    const ours = words[SETTINGS.SOURCE]! | 0;
    if (bytes[at + IPV4.PROTOCOL]! === PROTOCOL.IPIP) {
      if (destination === ours) return VERDICT.NESTED;
      // A tunnel address of 0 stands for none, and 0.0.0.0 is a martian.
      if (destination !== 0 && destination === (words[SETTINGS.TUNNEL_ADDRESS]! | 0)) return VERDICT.NESTED;
    }
    if (isMartianSource(source) || isMartianDestination(destination)) return VERDICT.MARTIAN;
    if (destination === ours && source === outerSource && peer >= 0 && isProbe(bytes, at) === 1) return PROBE;
    if (source === ours || destination === ours) return VERDICT.MARTIAN;
    if (source === outerSource || destination === outerSource) return VERDICT.MARTIAN;

    const flags = words[SETTINGS.FLAGS]!;
    if ((flags & (SETTINGS_FLAG.INNER_SOURCE_STRICT | SETTINGS_FLAG.INNER_SOURCE_LOOSE)) !== 0) {
      const from = lookup(words, source);
      if (from <= LOCAL_GROUP) return VERDICT.SPOOFED_SOURCE;
      // A sender that is only in security.decapsulateFrom has no cluster of its own to be held to: any remote CIDR will do.
      if ((flags & SETTINGS_FLAG.INNER_SOURCE_STRICT) !== 0 && peer >= 0) {
        if (peerHasCluster(words, peer, groupCluster(words, from)) === 0) return VERDICT.SPOOFED_SOURCE;
      }
    }
    const to = lookup(words, destination);
    if (to !== LOCAL_GROUP && (to === NO_GROUP || isTransit(words, groupCluster(words, to)) === 0))
      return VERDICT.NOT_LOCAL;
    this.#counters[TOTAL.ECN_UNUSED]! += ECN_UNUSED[((bytes[at + IPV4.TOS]! & 3) << 2) | (tos & 3)]!;
    return decapsulateEcn(bytes, at, tos);
  }

  /**
   * The rules of #inner for an IPv6 packet: RFC 4213 §3.6, §5. On an IPv6 underlay, whose outer header is at `outerAt`, the ends of the
   * tunnel are addresses of its family; else no packet can have one of them.
   */
  #inner6(
    bytes: Uint8Array,
    at: number,
    available: number,
    peer: number,
    tos: number,
    outerAt: number,
  ): number {
    const words = this.#words;
    const malformed = checkInner6(bytes, at, available);
    if (malformed !== VERDICT.FORWARD) return malformed;
    if (isMartian6(bytes, at + IPV6.SOURCE) || isMartian6(bytes, at + IPV6.DESTINATION))
      return VERDICT.MARTIAN;
    if (outerAt !== NO_OUTER6) {
      const verdict = this.#endOfTunnel(bytes, at, peer, outerAt);
      if (verdict !== VERDICT.FORWARD) return verdict;
    }
    const flags = words[SETTINGS.FLAGS]!;
    if ((flags & (SETTINGS_FLAG.INNER_SOURCE_STRICT | SETTINGS_FLAG.INNER_SOURCE_LOOSE)) !== 0) {
      const from = groupAt6(words, bytes, at + IPV6.SOURCE);
      if (from <= LOCAL_GROUP) return VERDICT.SPOOFED_SOURCE;
      if ((flags & SETTINGS_FLAG.INNER_SOURCE_STRICT) !== 0 && peer >= 0) {
        if (peerHasCluster(words, peer, groupCluster(words, from)) === 0) return VERDICT.SPOOFED_SOURCE;
      }
    }
    const to = groupAt6(words, bytes, at + IPV6.DESTINATION);
    if (to !== LOCAL_GROUP && (to === NO_GROUP || isTransit(words, groupCluster(words, to)) === 0))
      return VERDICT.NOT_LOCAL;
    this.#counters[TOTAL.ECN_UNUSED]! += ECN_UNUSED[((trafficClass(bytes, at) & 3) << 2) | (tos & 3)]!;
    return decapsulateEcn6(bytes, at, tos);
  }

  /** What an inner packet is that has an end of the tunnel as an end of its own; FORWARD where it has none. */
  #endOfTunnel(bytes: Uint8Array, at: number, peer: number, outerAt: number): number {
    const words = this.#words;
    const from = at + IPV6.SOURCE;
    const to = at + IPV6.DESTINATION;
    const gateway = outerAt + IPV6.SOURCE;
    if (isAddress6(bytes, to, words, SOURCE6)) {
      const next = bytes[at + IPV6.NEXT_HEADER]!;
      if (next === PROTOCOL.IPIP || next === PROTOCOL.IPV6) return VERDICT.NESTED;
      if (peer >= 0 && areSame6(bytes, from, gateway) && isProbe6(bytes, at) === 1) return PROBE;
      return VERDICT.MARTIAN;
    }
    if (isAddress6(bytes, from, words, SOURCE6)) return VERDICT.MARTIAN;
    if (areSame6(bytes, from, gateway) || areSame6(bytes, to, gateway)) return VERDICT.MARTIAN;
    return VERDICT.FORWARD;
  }

  #clamp6(bytes: Uint8Array, at: number, peer: number): void {
    const words = this.#words;
    if ((words[SETTINGS.FLAGS]! & SETTINGS_FLAG.CLAMP_MSS) === 0) return;
    const maximum = segmentBytes6(words, pathMtuOf(words, peer));
    this.#counters[TOTAL.MSS_CLAMPED]! += clampReceivedMss6(bytes, at, maximum);
  }

  /**
   * The segment size that a remote host offers bounds what our hosts send it through this tunnel; a peer that clamps nothing itself, such
   * as the kernel's ipip device, would leave them in a path MTU black hole.
   */
  #clamp(bytes: Uint8Array, at: number, peer: number): void {
    const words = this.#words;
    if ((words[SETTINGS.FLAGS]! & SETTINGS_FLAG.CLAMP_MSS) === 0) return;
    this.#counters[TOTAL.MSS_CLAMPED]! += clampReceivedMss(
      bytes,
      at,
      segmentBytes(words, pathMtuOf(words, peer)),
    );
  }
}

/** Stands for the outer header of an underlay that has no IPv6 addresses, and for the IPv4 address of an end that has none: a martian. */
const NO_OUTER6 = -1;
const NO_ADDRESS = 0;

/** lookup6 of the address at `at`. */
function groupAt6(words: Uint32Array, bytes: Uint8Array, at: number): number {
  return lookup6(
    words,
    readI32(bytes, at),
    readI32(bytes, at + 4),
    readI32(bytes, at + 8),
    readI32(bytes, at + 12),
  );
}
