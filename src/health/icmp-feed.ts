import { formatAddress, type IpAddress } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import { readU16, readU32 } from '../packet/bytes.ts';
import { FOU, FOU_ENCAPSULATION_BYTES } from '../packet/fou.ts';
import { ICMP, ICMP_HEADER, quotedAt } from '../packet/icmp.ts';
import { IPIP_ENCAPSULATION_BYTES } from '../packet/ipip.ts';
import { headerBytes, IPV4, isFragment, PROTOCOL, totalLength } from '../packet/ipv4.ts';
import type { IcmpRelay } from './icmp-relay.ts';
import type { PathMtuChange, PathMtuTable } from './path-mtu.ts';

export interface IcmpFeedSetup {
  readonly pathMtu: PathMtuTable;
  readonly clock: Clock;
  /** Our underlay address: only errors about what we sent count. */
  readonly source: () => IpAddress | undefined;
  readonly isPeer: (address: IpAddress) => boolean;
  /** The UDP port to which packets go to a peer; 0 = they go as IP protocol 4. */
  readonly udpPortOf: (peer: IpAddress) => number;
  readonly relay: IcmpRelay;
  readonly onPathMtu: (change: PathMtuChange) => void;
  /** Whether reports about the path to this peer are passed over, because probes have shown one to be wrong. */
  readonly distrustsReports: (peer: IpAddress) => boolean;
  readonly onError: (peer: IpAddress, text: string) => void;
}

/**
 * Takes the ICMP errors that come back from the underlay and turns those about our own packets into soft state (RFC 2003 §5) and into
 * errors for the senders of the inner packets (§4). Anybody can send ICMP, so an error counts only when it quotes a packet from us to a
 * peer of ours, of protocol 4 or 41, or with fou of UDP to the port of that peer.
 */
export class IcmpFeed {
  readonly #setup: IcmpFeedSetup;
  #accepted = 0;
  #ignored = 0;

  constructor(setup: IcmpFeedSetup) {
    this.#setup = setup;
  }

  get accepted(): number {
    return this.#accepted;
  }

  get ignored(): number {
    return this.#ignored;
  }

  /** `packet` is an IPv4 packet with an ICMP message, as a raw ICMP socket hands it over. */
  receive(packet: Uint8Array): void {
    const quote = quotedAt(packet, 0, packet.length);
    if (quote < 0) return;
    const { source, isPeer, udpPortOf } = this.#setup;
    const peer = readU32(packet, quote + IPV4.DESTINATION);
    const isOurs =
      readU32(packet, quote + IPV4.SOURCE) === source() &&
      isPeer(peer) &&
      isEncapsulated(packet, quote, udpPortOf(peer));
    if (!isOurs) {
      this.#ignored += 1;
      return;
    }
    const icmp = quote - ICMP_HEADER.BYTES;
    const type = packet[icmp + ICMP_HEADER.TYPE]!;
    const code = packet[icmp + ICMP_HEADER.CODE]!;
    if (this.#isDoubtful(peer, type, code)) {
      this.#ignored += 1;
      return;
    }
    this.#accepted += 1;
    const router = formatAddress(readU32(packet, IPV4.SOURCE));
    if (type === ICMP.UNREACHABLE && code === ICMP.CODE_FRAGMENTATION_NEEDED) {
      this.#fragmentationNeeded(
        peer,
        readU16(packet, icmp + ICMP_HEADER.NEXT_HOP_MTU),
        totalLength(packet, quote),
        router,
      );
    } else {
      this.#setup.onError(peer, `${describe(type, code)}, said ${router}`);
    }
    const { relay, pathMtu, clock } = this.#setup;
    const outerBytes = udpPortOf(peer) === 0 ? IPIP_ENCAPSULATION_BYTES : FOU_ENCAPSULATION_BYTES;
    relay.relay(packet, quote, peer, { pathMtuBytes: pathMtu.known(peer), outerBytes }, clock.nowMs());
  }

  /** Lets what was learned long ago expire. Call every few seconds. */
  expire(): void {
    const { pathMtu, clock, onPathMtu } = this.#setup;
    for (const change of pathMtu.expire(clock.nowMs())) onPathMtu(change);
  }

  #isDoubtful(peer: IpAddress, type: number, code: number): boolean {
    const isAboutSize = type === ICMP.UNREACHABLE && code === ICMP.CODE_FRAGMENTATION_NEEDED;
    return isAboutSize && this.#setup.distrustsReports(peer);
  }

  #fragmentationNeeded(peer: IpAddress, mtuBytes: number, sentBytes: number, router: string): void {
    const { pathMtu, clock, onPathMtu, onError } = this.#setup;
    const change = pathMtu.report(peer, mtuBytes, sentBytes, clock.nowMs());
    if (change === undefined) return;
    onPathMtu(change);
    onError(peer, `path MTU ${change.pathMtuBytes} bytes, said ${router}`);
  }
}

/** Whether the packet quoted at `quote`, a whole header and 8 bytes, is one that carries others to a peer. */
function isEncapsulated(packet: Uint8Array, quote: number, udpPort: number): boolean {
  const protocol = packet[quote + IPV4.PROTOCOL];
  if (udpPort === 0) return protocol === PROTOCOL.IPIP || protocol === PROTOCOL.IPV6;
  if (protocol !== PROTOCOL.UDP || isFragment(packet, quote)) return false;
  return readU16(packet, quote + headerBytes(packet, quote) + FOU.DESTINATION_PORT) === udpPort;
}

function describe(type: number, code: number): string {
  if (type === ICMP.TIME_EXCEEDED) return 'time exceeded on the way to the gateway';
  if (type !== ICMP.UNREACHABLE) return `ICMP type ${type} code ${code}`;
  switch (code) {
    case ICMP.CODE_NET_UNREACHABLE:
      return 'network unreachable';
    case ICMP.CODE_HOST_UNREACHABLE:
      return 'host unreachable';
    case ICMP.CODE_PROTOCOL_UNREACHABLE:
      return 'protocol unreachable: nothing there decapsulates IPIP';
    case ICMP.CODE_PORT_UNREACHABLE:
      return 'port unreachable: nothing there takes UDP for the tunnel, or a kernel with tunnel4 has no matching tunnel';
    default:
      return `unreachable, code ${code} (filtered?)`;
  }
}
