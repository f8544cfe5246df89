import { batchLookup } from '../fib/batch-lookup.ts';
import { BATCH_MAX, type Batch } from '../io/batch.ts';
import type { Native } from '../io/native.ts';
import type { PacketIo } from '../io/packet-io.ts';
import { VERDICT } from '../packet/verdict.ts';
import { DROPS_INBOUND, DROPS_OUTBOUND, PEER_CELL, peerCell, TOTAL } from './counters.ts';
import type { IcmpQueue } from './icmp-queue.ts';
import { Inbound } from './inbound.ts';
import { Outbound } from './outbound.ts';
import { plainInbound } from './plain-inbound.ts';
import { plainOutbound } from './plain-outbound.ts';
import { segmentRequest } from './segmenter.ts';
import type { SentHeaders } from './sent-headers.ts';
import { Slab } from './slab.ts';

/** The negated errno of a packet that is larger than the underlay device carries. */
const EMSGSIZE = 90;

/** A mask for `turn`: the sides on which packets wait. The bits are those that `Native.wait` gives for descriptors in this order. */
export const READY = { DEVICE: 1, UNDERLAY: 2, UNDERLAY_IPV6: 4 } as const;

export interface EngineParts {
  readonly device: PacketIo;
  readonly underlay: PacketIo;
  /** Where IPv6 comes in by a socket of its own (protocol 41); nothing is sent by it. */
  readonly underlayIpv6?: PacketIo | undefined;
  /** What the addon does to packets in memory. */
  readonly offload: Pick<Native, 'segment' | 'coalesce'>;
  /** COALESCE bits: what the device takes merged besides TCP. */
  readonly coalesceFeatures: number;
  /** The FIB image, as 32-bit words. */
  readonly words: Uint32Array;
  /** This engine's own counter block. */
  readonly counters: Float64Array;
  readonly icmp: IcmpQueue;
  /** Kept of what goes to the underlay, for errors that come back. */
  readonly sent: SentHeaders;
  /** This engine's number, 0 … engines - 1. */
  readonly engine: number;
  readonly engines: number;
}

/**
 * The userspace engine: moves batches from the TUN device through `Outbound` to the underlay, and from the underlay through `Inbound` to
 * the device. One engine belongs to one thread; engines share only the FIB image, which they read.
 */
export class Engine {
  readonly #device: PacketIo;
  readonly #underlay: PacketIo;
  readonly #underlayIpv6: PacketIo | undefined;
  readonly #counters: Float64Array;
  readonly #icmp: IcmpQueue;
  readonly #sent: SentHeaders;
  readonly #slab: Slab;
  readonly #outbound: Outbound;
  readonly #inbound: Inbound;
  /** First packet of the device batch that `Outbound` has not handled yet. */
  #pending = 0;
  /** First packets of the send batches that the kernel has not taken yet. */
  #underlaySent = 0;
  #deviceSent = 0;

  constructor(parts: EngineParts) {
    this.#device = parts.device;
    this.#underlay = parts.underlay;
    this.#underlayIpv6 = parts.underlayIpv6;
    this.#counters = parts.counters;
    this.#icmp = parts.icmp;
    this.#sent = parts.sent;
    this.#slab = new Slab();
    // One for both directions: with a second one in the thread its code would be that of neither (plain-outbound.ts).
    const routes = batchLookup(parts.words, 2 * BATCH_MAX);
    const request = segmentRequest(parts.engine, parts.engines);
    this.#outbound = new Outbound(
      parts.words,
      parts.counters,
      this.#slab,
      request,
      plainOutbound(parts.words, this.#slab, routes, request),
      parts.offload,
      parts.icmp,
    );
    this.#inbound = new Inbound(
      parts.words,
      parts.counters,
      this.#slab,
      plainInbound(parts.words, this.#slab, routes),
      parts.offload,
      parts.coalesceFeatures,
      parts.icmp,
    );
  }

  /**
   * Moves at most one batch in each direction, without blocking; reads only the sides in `ready`. Returns the number of packets that moved in some way: 0 means that
   * nothing waits and the caller may sleep until a descriptor is readable, or, when `isBlocked`, for a moment.
   */
  turn(ready: number = READY.DEVICE | READY.UNDERLAY | READY.UNDERLAY_IPV6): number {
    this.#counters[TOTAL.TURNS]! += 1;
    this.#icmp.beginTurn();
    const moved =
      this.#turnOutbound((ready & READY.DEVICE) !== 0) +
      this.#turnInbound(this.#underlay, (ready & READY.UNDERLAY) !== 0);
    const ipv6 = this.#underlayIpv6;
    return ipv6 === undefined ? moved : moved + this.#turnInbound(ipv6, (ready & READY.UNDERLAY_IPV6) !== 0);
  }

  /** A send queue is full: packets wait here, and nothing more is read in that direction until they are gone. */
  get isBlocked(): boolean {
    return this.blocked !== 0;
  }

  /** READY bits of the sides that are not read for as long as what came from them cannot go on. */
  get blocked(): number {
    return (
      (this.#slab.toUnderlay.count > 0 ? READY.DEVICE : 0) |
      (this.#slab.toDevice.count > 0 ? READY.UNDERLAY | READY.UNDERLAY_IPV6 : 0)
    );
  }

  #turnOutbound(isReady: boolean): number {
    const { fromDevice, toUnderlay } = this.#slab;
    let moved = 0;
    if (isReady && this.#pending >= fromDevice.count && toUnderlay.count === 0) {
      this.#pending = 0;
      fromDevice.count = this.#received(this.#device.receive(fromDevice));
      moved = fromDevice.count;
    }
    // A round sends what is ready, then lets the rest of the batch follow; it ends when all is out or the kernel takes no more.
    for (;;) {
      if (toUnderlay.count > 0) {
        moved += this.#sendUnderlay();
        if (toUnderlay.count > 0) return moved;
      }
      if (this.#pending >= fromDevice.count) return moved;
      this.#pending = this.#outbound.step(this.#pending);
    }
  }

  #turnInbound(underlay: PacketIo, isReady: boolean): number {
    const { fromUnderlay, toDevice } = this.#slab;
    if (toDevice.count > 0) return this.#sendDevice();
    if (!isReady) return 0;
    const received = this.#received(underlay.receive(fromUnderlay));
    if (received === 0) return 0;
    fromUnderlay.count = received;
    this.#inbound.step();
    return received + this.#sendDevice();
  }

  #received(result: number): number {
    if (result >= 0) return result;
    this.#counters[TOTAL.RECEIVE_ERRORS]! += 1;
    return 0;
  }

  #sendUnderlay(): number {
    const batch = this.#slab.toUnderlay;
    const start = this.#underlaySent;
    let next = start;
    while (next < batch.count) {
      const sent = this.#underlay.send(batch, next, batch.count);
      if (sent === 0) break;
      if (sent > 0) {
        this.#count(batch, next, next + sent, TOTAL.OUTBOUND_PACKETS, PEER_CELL.OUTBOUND_PACKETS);
        this.#sent.remember(batch, next, next + sent);
        next += sent;
      } else {
        const verdict = sent === -EMSGSIZE ? VERDICT.TOO_BIG : VERDICT.SEND_FAILED;
        const packets = batch.packets[next]!;
        this.#counters[DROPS_OUTBOUND + verdict]! += packets;
        this.#counters[peerCell(batch.peer[next]!) + PEER_CELL.OUTBOUND_DROPS]! += packets;
        next += 1;
      }
    }
    this.#underlaySent = next;
    if (next >= batch.count) {
      batch.count = 0;
      this.#underlaySent = 0;
      this.#slab.spare.reset();
    }
    return next - start;
  }

  #sendDevice(): number {
    const batch = this.#slab.toDevice;
    const start = this.#deviceSent;
    let next = start;
    while (next < batch.count) {
      const sent = this.#device.send(batch, next, batch.count);
      if (sent === 0) break;
      if (sent > 0) {
        this.#count(batch, next, next + sent, TOTAL.INBOUND_PACKETS, PEER_CELL.INBOUND_PACKETS);
        next += sent;
      } else {
        const packets = batch.packets[next]!;
        this.#counters[DROPS_INBOUND + VERDICT.DEVICE_FAILED]! += packets;
        const peer = batch.peer[next]!;
        if (peer >= 0) this.#counters[peerCell(peer) + PEER_CELL.INBOUND_DROPS]! += packets;
        next += 1;
      }
    }
    this.#deviceSent = next;
    if (next >= batch.count) {
      batch.count = 0;
      this.#deviceSent = 0;
    }
    return next - start;
  }

  /** Counts packets and inner bytes as forwarded only when the kernel has taken them, so that received = forwarded + dropped holds. */
  #count(batch: Batch, from: number, to: number, total: number, cell: number): void {
    const counters = this.#counters;
    let totalPackets = 0;
    let totalBytes = 0;
    for (let i = from; i < to; i++) {
      const packets = batch.packets[i]!;
      const innerBytes = batch.innerBytes[i]!;
      totalPackets += packets;
      totalBytes += innerBytes;
      const peer = batch.peer[i]!;
      if (peer < 0) continue;
      const at = peerCell(peer) + cell;
      counters[at]! += packets;
      counters[at + 1]! += innerBytes;
    }
    counters[total]! += totalPackets;
    counters[total + 1]! += totalBytes;
  }
}
