import type { Address, IpAddress } from '../base/address.ts';
import { KeyedBuckets, TokenBucket } from '../base/token-bucket.ts';
import { SENT_HEAD_BYTES } from '../dataplane/sent-headers.ts';
import { readU16, readU32 } from '../packet/bytes.ts';
import {
  ICMP,
  ICMP_ERROR_BYTES_MAX,
  ICMP_HEADER,
  mayAnswer,
  quotedInnerAt,
  writeIcmpError,
} from '../packet/icmp.ts';
import { headerBytes, IPV4, isFragment, totalLength } from '../packet/ipv4.ts';

/** Relayed in a second, of all peers and of one: what the Linux kernel allows itself in all (icmp_msgs_per_sec, icmp_msgs_burst). */
export const RELAYS_PER_SECOND = 1000;
export const RELAYS_BURST = 50;
export const PEER_RELAYS_PER_SECOND = 100;
export const PEER_RELAYS_BURST = 20;

/** All that RFC 792 makes a router quote behind the outer header. */
const INNER_QUOTE_BYTES_MIN = 8;

/** Second word of an ICMP header, where it is neither an MTU nor a pointer. */
const UNUSED = 0;

interface Header {
  readonly type: number;
  readonly code: number;
  /** The second word: unused, a pointer in its highest byte, or the next-hop MTU in its low half (RFC 792, RFC 1191 §4). */
  readonly rest: number;
}

export interface KnownPath {
  /** Of outer packets; 0 where the report was not believed. */
  readonly pathMtuBytes: number;
  /** Of the headers before the inner packet. */
  readonly outerBytes: number;
}

/**
 * What the sender of the inner packet is told about an ICMP error from inside the tunnel, by RFC 2003 §4; undefined: nothing.
 *
 * To the sender the tunnel is one hop, so what a router inside says is put into words that fit the hop. Codes that RFC 2003 does not name
 * (filtered, unknown) are not relayed (§4.6), nor is what the sender could only misunderstand: port unreachable, source route failed
 * (§4.1), source quench (§4.2), redirect (§4.3). All of them are state of the peer. `path` is what is known of the
 * path now.
 */
export function relayedHeader(
  type: number,
  code: number,
  rest: number,
  { pathMtuBytes, outerBytes }: KnownPath,
): Header | undefined {
  const unreachable = (as: number): Header => ({ type: ICMP.UNREACHABLE, code: as, rest: UNUSED });
  switch (type) {
    case ICMP.UNREACHABLE:
      // Code 0 stays 0: the sender is not on a network of the encapsulator as far as that can tell.
      if (code === ICMP.CODE_NET_UNREACHABLE) return unreachable(ICMP.CODE_NET_UNREACHABLE);
      if (code === ICMP.CODE_HOST_UNREACHABLE) return unreachable(ICMP.CODE_HOST_UNREACHABLE);
      // Code 0 or 1, not 2: the sender's own protocol is not the one that the exit does not know.
      if (code === ICMP.CODE_PROTOCOL_UNREACHABLE) return unreachable(ICMP.CODE_HOST_UNREACHABLE);
      if (code !== ICMP.CODE_FRAGMENTATION_NEEDED || pathMtuBytes === 0) return undefined;
      return { type, code, rest: pathMtuBytes - outerBytes };
    case ICMP.TIME_EXCEEDED:
      // §4.4: a loop inside the tunnel, of which the TTL of the sender is innocent.
      return unreachable(ICMP.CODE_HOST_UNREACHABLE);
    case ICMP.PARAMETER_PROBLEM:
      // §4.5: of the outer header only the TOS is the sender's, and only where it points there is it his problem.
      return rest >>> 24 === IPV4.TOS ? { type, code, rest } : undefined;
    default:
      return undefined;
  }
}

export interface IcmpRelaySetup {
  /** Whether an address is our cluster's: a forged error must not make us write to anybody else. */
  readonly isLocal: (address: IpAddress) => boolean;
  /** An ICMP message, from its type on; the kernel writes the IPv4 header. */
  readonly send: (destination: Address, message: Uint8Array) => void;
  /**
   * What is known of a packet that went to `gateway` with this outer ID, and begins with the 8 bytes at `at` of `bytes`: its header and 8
   * bytes behind it, to `out`. False where nothing is.
   */
  readonly recall: (gateway: Address, id: number, bytes: Uint8Array, at: number, out: Uint8Array) => boolean;
}

/** How many errors about our packets were passed on to their senders, and how many were not, by reason. */
export interface IcmpRelayCounts {
  readonly relayed: number;
  /** The table of RFC 2003 §4 says no. */
  readonly notForSender: number;
  /** The router quoted too little of a packet that is not remembered any more, or no packet of a sender of ours. */
  readonly unknownSender: number;
  /** About what must not be answered: an ICMP error, a later fragment (RFC 1812 §4.3.2.7). */
  readonly unanswerable: number;
  readonly overLimit: number;
}

/** Passes ICMP errors from inside the tunnel on to the senders of inner packets. Slow path: a few in a second. */
export class IcmpRelay {
  readonly #setup: IcmpRelaySetup;
  readonly #counts = { relayed: 0, notForSender: 0, unknownSender: 0, unanswerable: 0, overLimit: 0 };
  readonly #all: TokenBucket;
  readonly #peers = new KeyedBuckets(PEER_RELAYS_PER_SECOND, PEER_RELAYS_BURST);

  constructor(setup: IcmpRelaySetup, nowMs: number) {
    this.#setup = setup;
    this.#all = new TokenBucket(RELAYS_PER_SECOND, RELAYS_BURST, nowMs);
  }

  get counts(): IcmpRelayCounts {
    return this.#counts;
  }

  /**
   * `packet` is an error that quotes, from `quote` on, a packet of ours to `peer` (IcmpFeed has checked that).
   */
  relay(packet: Uint8Array, quote: number, peer: Address, path: KnownPath, nowMs: number): void {
    const icmp = quote - ICMP_HEADER.BYTES;
    const [type, code] = [packet[icmp + ICMP_HEADER.TYPE]!, packet[icmp + ICMP_HEADER.CODE]!];
    const header = relayedHeader(type, code, readU32(packet, icmp + ICMP_HEADER.REST), path);
    if (header === undefined) {
      this.#counts.notForSender += 1;
      return;
    }
    const inner = this.#innerOf(packet, quote, peer);
    const sender = inner === undefined ? 0 : readU32(inner, IPV4.SOURCE);
    if (inner === undefined || !this.#setup.isLocal(sender)) this.#counts.unknownSender += 1;
    else if (mayAnswer(inner, 0) === 0) this.#counts.unanswerable += 1;
    else if (!this.#mayRelay(peer, nowMs)) this.#counts.overLimit += 1;
    else {
      this.#counts.relayed += 1;
      const quoted = Math.min(inner.length, totalLength(inner, 0));
      const message = new Uint8Array(ICMP_ERROR_BYTES_MAX);
      const length = writeIcmpError(message, 0, header.type, header.code, header.rest, inner, 0, quoted);
      this.#setup.send(sender, message.subarray(0, length));
    }
  }

  /** The beginning of the inner packet: as it is quoted, or, where that is no more than 8 bytes, as it was sent. */
  #innerOf(packet: Uint8Array, quote: number, peer: Address): Uint8Array | undefined {
    const end = totalLength(packet, 0);
    const quoted = quotedInnerAt(packet, quote, end);
    if (quoted >= 0) return packet.subarray(quoted, end);
    const at = quote + headerBytes(packet, quote);
    if (at + INNER_QUOTE_BYTES_MIN > end || isFragment(packet, quote)) return undefined;
    const sent = new Uint8Array(SENT_HEAD_BYTES);
    const isKnown = this.#setup.recall(peer, readU16(packet, quote + IPV4.ID), packet, at, sent);
    // The sender of an IPv6 packet hears of a path that is too narrow with its next one, from the gateway.
    return isKnown && sent[0]! >>> 4 === 4 ? sent : undefined;
  }

  /** The bucket of the peer first: one whose path is broken must not use up what all have. */
  #mayRelay(peer: IpAddress, nowMs: number): boolean {
    return this.#peers.take(peer, nowMs) && this.#all.take(nowMs);
  }
}
