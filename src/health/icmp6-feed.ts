import type { IpAddress } from '../base/address.ts';
import { addressAt6 } from '../base/address6.ts';
import { KeyedBuckets, TokenBucket } from '../base/token-bucket.ts';
import { readU16, readU32 } from '../packet/bytes.ts';
import { FRAGMENT6 } from '../packet/fragment6.ts';
import { ICMP, ICMP_ERROR_BYTES_MAX, mayAnswer, writeIcmpError } from '../packet/icmp.ts';
import { ICMP6, ICMP6_ERROR_BYTES_MAX, mayAnswer6, writeIcmp6Error } from '../packet/icmp6.ts';
import { IPIP6_ENCAPSULATION_BYTES } from '../packet/ipip6.ts';
import { IPV4, PROTOCOL, totalLength } from '../packet/ipv4.ts';
import { IPV6, isIpv6, totalLength6 } from '../packet/ipv6.ts';
import type { IcmpFeedSetup } from './icmp-feed.ts';
import {
  type IcmpRelayCounts,
  PEER_RELAYS_BURST,
  PEER_RELAYS_PER_SECOND,
  RELAYS_BURST,
  RELAYS_PER_SECOND,
} from './icmp-relay.ts';

export interface Icmp6FeedSetup extends Omit<IcmpFeedSetup, 'udpPortOf' | 'relay'> {
  /** Whether an address is our cluster's: a forged error must not make us write to anybody else. */
  readonly isLocal: (address: IpAddress) => boolean;
  /** ICMP and ICMPv6 messages, from their types on, to the sender of an inner packet. */
  readonly send: (destination: number, message: Uint8Array) => void;
  readonly send6: (message: Uint8Array) => void;
}

/** An error that counts: about a packet of ours to a peer, with what it quotes of the inner one. */
interface Report {
  readonly type: number;
  readonly code: number;
  readonly peer: bigint;
  readonly isOfIpv6: boolean;
  /** Of the whole outer packet. */
  readonly sentBytes: number;
  readonly inner: Uint8Array;
}

/**
 * Takes the ICMPv6 errors of an IPv6 underlay, as IcmpFeed does those of an IPv4 one: soft state of the peer, and an error for the sender of
 * the inner packet, whose head they always quote (RFC 4443 §2.4 (c)). RFC 2473 §8.
 */
export class Icmp6Feed {
  readonly #setup: Icmp6FeedSetup;
  readonly #counts = { relayed: 0, notForSender: 0, unknownSender: 0, unanswerable: 0, overLimit: 0 };
  readonly #all: TokenBucket;
  readonly #peers = new KeyedBuckets(PEER_RELAYS_PER_SECOND, PEER_RELAYS_BURST);
  #accepted = 0;
  #ignored = 0;

  constructor(setup: Icmp6FeedSetup) {
    this.#setup = setup;
    this.#all = new TokenBucket(RELAYS_PER_SECOND, RELAYS_BURST, setup.clock.nowMs());
  }

  get accepted(): number {
    return this.#accepted;
  }

  get ignored(): number {
    return this.#ignored;
  }

  get counts(): IcmpRelayCounts {
    return this.#counts;
  }

  /** `message` begins with the ICMPv6 type; the kernel has verified its checksum. `router` is who sent it. */
  receive(message: Uint8Array, router: string): void {
    const report = this.#reportOf(message);
    const { distrustsReports, onError } = this.#setup;
    if (report === undefined || (report.type === ICMP6.TOO_BIG && distrustsReports(report.peer))) {
      this.#ignored += 1;
      return;
    }
    this.#accepted += 1;
    if (report.type === ICMP6.TOO_BIG) this.#tooBig(report, readU32(message, ICMP6.REST), router);
    else onError(report.peer, `${describe(report.type, report.code)}, said ${router}`);
    this.#relay(report);
  }

  #reportOf(message: Uint8Array): Report | undefined {
    const { source, isPeer } = this.#setup;
    const quote = ICMP6.HEADER_BYTES;
    if (message.length < quote + IPV6.HEADER_BYTES || !isIpv6(message, quote)) return undefined;
    const [type, code] = [message[0]!, message[1]!];
    if (type < ICMP6.UNREACHABLE || type > ICMP6.PARAMETER_PROBLEM) return undefined;
    const peer = addressAt6(message, quote + IPV6.DESTINATION);
    if (addressAt6(message, quote + IPV6.SOURCE) !== source() || !isPeer(peer)) return undefined;
    let at = quote + IPV6.HEADER_BYTES;
    let next = message[quote + IPV6.NEXT_HEADER];
    if (next === FRAGMENT6.NEXT_HEADER && at + FRAGMENT6.HEADER_BYTES <= message.length) {
      // A later fragment does not say what it is of; the first one does.
      if (readU16(message, at + FRAGMENT6.OFFSET) >> 3 !== 0) return undefined;
      next = message[at];
      at += FRAGMENT6.HEADER_BYTES;
    }
    if (next !== PROTOCOL.IPIP && next !== PROTOCOL.IPV6) return undefined;
    const sentBytes = totalLength6(message, quote);
    const isOfIpv6 = next === PROTOCOL.IPV6;
    return { type, code, peer, isOfIpv6, sentBytes, inner: message.subarray(at) };
  }

  #tooBig({ peer, sentBytes }: Report, mtuBytes: number, router: string): void {
    const { pathMtu, clock, onPathMtu, onError } = this.#setup;
    const change = pathMtu.report(peer, mtuBytes, sentBytes, clock.nowMs());
    if (change === undefined) return;
    onPathMtu(change);
    onError(peer, `path MTU ${change.pathMtuBytes} bytes, said ${router}`);
  }

  #relay(report: Report): void {
    const { peer, inner, isOfIpv6, type } = report;
    const isTooBig = type === ICMP6.TOO_BIG;
    const known = this.#setup.pathMtu.known(peer);
    const innerMtu = known === 0 ? 0 : known - IPIP6_ENCAPSULATION_BYTES;
    const sender = senderOf(inner, isOfIpv6);
    const counts = this.#counts;
    if (isTooBig && !concernsSender(inner, isOfIpv6, innerMtu)) counts.notForSender += 1;
    else if (sender === undefined || !this.#setup.isLocal(sender)) counts.unknownSender += 1;
    else if (!(isOfIpv6 ? mayAnswer6(inner, 0, type) : mayAnswer(inner, 0))) counts.unanswerable += 1;
    else if (!this.#mayRelay(peer)) counts.overLimit += 1;
    else {
      counts.relayed += 1;
      if (typeof sender === 'bigint') this.#tell6(inner, isTooBig ? innerMtu : 0);
      else this.#tell(sender, inner, isTooBig ? innerMtu : 0);
    }
  }

  /** The bucket of the peer first: one whose path is broken must not use up what all have. */
  #mayRelay(peer: bigint): boolean {
    const nowMs = this.#setup.clock.nowMs();
    return this.#peers.take(peer, nowMs) && this.#all.take(nowMs);
  }

  /** RFC 2473 §8.3 and §8.4: the tunnel is one hop to the sender, so whatever keeps packets from its end is that the host is not reached. */
  #tell(sender: number, inner: Uint8Array, mtuBytes: number): void {
    const code = mtuBytes === 0 ? ICMP.CODE_HOST_UNREACHABLE : ICMP.CODE_FRAGMENTATION_NEEDED;
    const message = new Uint8Array(ICMP_ERROR_BYTES_MAX);
    const quoted = Math.min(inner.length, totalLength(inner, 0));
    const length = writeIcmpError(message, 0, ICMP.UNREACHABLE, code, mtuBytes, inner, 0, quoted);
    this.#setup.send(sender, message.subarray(0, length));
  }

  #tell6(inner: Uint8Array, mtuBytes: number): void {
    const isTooBig = mtuBytes !== 0;
    const type = isTooBig ? ICMP6.TOO_BIG : ICMP6.UNREACHABLE;
    const code = isTooBig ? 0 : ICMP6.CODE_ADDRESS_UNREACHABLE;
    const rest = isTooBig ? Math.max(mtuBytes, IPV6.MTU_MIN) : 0;
    const message = new Uint8Array(ICMP6_ERROR_BYTES_MAX);
    const quoted = Math.min(inner.length, totalLength6(inner, 0));
    const length = writeIcmp6Error(message, 0, type, code, rest, inner, 0, quoted);
    this.#setup.send6(message.subarray(0, length));
  }
}

/** Undefined where the quote ends before its header does, or holds another version than the outer header said. */
function senderOf(inner: Uint8Array, isOfIpv6: boolean): IpAddress | undefined {
  const least = isOfIpv6 ? IPV6.HEADER_BYTES : IPV4.HEADER_BYTES;
  if (inner.length < least || inner[0]! >>> 4 !== (isOfIpv6 ? 6 : 4)) return undefined;
  return isOfIpv6 ? addressAt6(inner, IPV6.SOURCE) : readU32(inner, IPV4.SOURCE);
}

/** Whether the sender can do anything about a path that carries `innerMtu`; 0: the report was not believed. */
function concernsSender(inner: Uint8Array, isOfIpv6: boolean, innerMtu: number): boolean {
  if (innerMtu === 0) return false;
  // What is smaller than every IPv6 link carries is fragmented by us: RFC 2473 §7.1.
  if (isOfIpv6)
    return inner.length >= IPV6.HEADER_BYTES && totalLength6(inner, 0) > Math.max(innerMtu, IPV6.MTU_MIN);
  return inner.length >= IPV4.HEADER_BYTES && (readU16(inner, IPV4.FRAGMENT) & IPV4.DF) !== 0;
}

function describe(type: number, code: number): string {
  if (type === ICMP6.TIME_EXCEEDED) return 'time exceeded on the way to the gateway';
  if (type === ICMP6.PARAMETER_PROBLEM)
    return code === ICMP6.CODE_NEXT_HEADER
      ? 'next header unknown: nothing there decapsulates'
      : `parameter problem, code ${code}`;
  const what = UNREACHABLE_CODES[code];
  return what === undefined ? `unreachable, code ${code}` : what;
}

/** RFC 4443 §3.1. */
const UNREACHABLE_CODES = [
  'no route to the gateway',
  'administratively prohibited (filtered)',
  'beyond the scope of our address',
  'address unreachable',
  'port unreachable: a kernel with tunnel6 has no matching tunnel there',
  'source address failed a policy (filtered)',
  'route rejected',
];
