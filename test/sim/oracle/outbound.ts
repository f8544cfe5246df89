import { VERDICT } from '../../../src/packet/verdict.ts';
import { flowOf, ownerOf } from './balancing.ts';
import { isNoHost, judgeInner, judgeIpv6 } from './inner-packet.ts';
import { longestMatch, type Model, type ModelGateway, pathMtuOf } from './model.ts';
import { clampSegmentSize } from './segment-size.ts';
import { get16, headerLength, type Ipv4, parseIpv4 } from './wire.ts';

/** An ICMP error that the sender of the packet is owed, when the rate allows. */
export interface IcmpWish {
  readonly destination: number;
  readonly code: number;
  readonly nextHopMtu: number;
  /** The packet it is about, as it was when the error was made. */
  readonly about: Uint8Array;
}

/** What must become of a packet from a local host. */
export interface OutboundFate {
  readonly verdict: number;
  /** The gateway it goes to, or that was chosen before it was dropped. */
  readonly gateway?: number;
  /** The flow and the live gateways from which that one was chosen. */
  readonly choice?: Choice;
  readonly icmp?: IcmpWish;
  readonly clamped?: boolean;
  /** It is above the learned path MTU and goes out all the same. */
  readonly softStateExceeded?: boolean;
  /** FORWARD only. */
  readonly sends?: ExpectedSends;
}

export interface Choice {
  readonly flow: string;
  readonly live: readonly ModelGateway[];
}

export interface ExpectedSends {
  readonly gateway: number;
  /** The inner packet as it must arrive. */
  readonly inner: Uint8Array;
  /** The outer header but for the ID, which is the engine's to choose within rules that are checked apart. */
  readonly outer: Partial<Ipv4>;
  /** whole: one outer packet. inner, outer: pieces of the inner or of the outer one, each at most `pathMtuBytes` on the wire. */
  readonly pieces: 'whole' | 'inner' | 'outer';
  readonly pathMtuBytes: number;
}

const FRAGMENTS_MAX = 128;

/** The encapsulation rules, one after the other (RFC 2003, RFC 6040, RFC 2983, RFC 1812). `received` is what the device delivered. */
export function predictOutbound(model: Model, received: Uint8Array): OutboundFate {
  // The model's routes are of IPv4.
  if (received.length > 0 && Math.floor((received[0] as number) / 16) === 6) {
    const verdict = judgeIpv6(received);
    return { verdict: verdict === VERDICT.FORWARD ? VERDICT.NO_ROUTE : verdict };
  }
  const malformed = judgeInner(received);
  if (malformed !== VERDICT.FORWARD) return { verdict: malformed };
  const packet = received.slice(0, get16(received, 2));
  const { source, destination } = parseIpv4(packet);
  if (source === model.settings.source) return { verdict: VERDICT.LOOP };

  const route = longestMatch(model, destination);
  if (route === undefined || route === 'local')
    return { verdict: VERDICT.NO_ROUTE, ...unreachable(packet, 0) };
  const flow = flowOf(parseIpv4(packet));
  const live = route.gateways.filter(
    ({ address, weight }) => weight > 0 && model.peers.get(address)?.alive === true,
  );
  const gateway = ownerOf(flow, live);
  if (gateway === undefined) return { verdict: VERDICT.NO_GATEWAY, ...unreachable(packet, 1) };
  if (source === gateway || destination === gateway) return { verdict: VERDICT.LOOP, gateway };
  return { ...sendOrSplit(model, packet, gateway), choice: { flow: flow.join(), live } };
}

function sendOrSplit(model: Model, packet: Uint8Array, gateway: number): OutboundFate {
  const { settings } = model;
  const { length } = packet;
  const { dontFragment } = parseIpv4(packet);
  const pathMtuBytes = pathMtuOf(model, gateway);
  const sends = (pieces: ExpectedSends['pieces'], outerDontFragment: boolean): OutboundFate => {
    const unclamped = { packet, changed: false };
    const clamp = settings.clampMss ? clampSegmentSize(packet, pathMtuBytes - 60) : unclamped;
    const outer = outerHeader(settings, clamp.packet, gateway, outerDontFragment);
    return {
      ...{ verdict: VERDICT.FORWARD, gateway, clamped: clamp.changed },
      sends: { gateway, pieces, pathMtuBytes, inner: clamp.packet, outer },
    };
  };
  if (length + 20 <= pathMtuBytes) return sends('whole', dontFragment || settings.fragment === 'inner');
  if (dontFragment) {
    const icmp = unreachable(packet, 4, pathMtuBytes - 20);
    if (length + 20 > settings.linkMtuBytes) return { gateway, ...icmp, verdict: VERDICT.TOO_BIG };
    return { ...sends('whole', true), ...icmp, softStateExceeded: true };
  }
  const outerMode = settings.fragment === 'outer';
  if (outerMode && length + 20 > 65_535) return { gateway, verdict: VERDICT.TOO_BIG };
  const pieces = outerMode
    ? piecesOf(length + 20, 20, pathMtuBytes)
    : piecesOf(length, headerLength(packet), pathMtuBytes - 20);
  if (pieces > FRAGMENTS_MAX) return { gateway, verdict: VERDICT.NO_BUFFER };
  return sends(outerMode ? 'outer' : 'inner', !outerMode);
}

/** How many pieces a packet makes: full ones in units of 8 bytes until the rest fits. */
function piecesOf(length: number, header: number, mtu: number): number {
  const room = mtu - header;
  let pieces = 1;
  for (let rest = length - header; rest > room; rest -= room - (room % 8)) pieces += 1;
  return pieces;
}

function outerHeader(
  settings: Model['settings'],
  inner: Uint8Array,
  gateway: number,
  dontFragment: boolean,
): Partial<Ipv4> {
  const { tos, ttl } = parseIpv4(inner);
  const ecn = settings.ecn === 'normal' ? tos % 4 : 0;
  const dscp = settings.dscp === 'inherit' ? Math.floor(tos / 4) : settings.dscp;
  return {
    tos: dscp * 4 + ecn,
    dontFragment,
    ttl: settings.ttl === 'inherit' ? ttl : settings.ttl,
    protocol: 4,
    source: settings.source,
    destination: gateway,
  };
}

/** Nobody is told about an ICMP error, a later fragment, or a packet from or to no single host: RFC 1812 §4.3.2.7. */
function unreachable(packet: Uint8Array, code: number, nextHopMtu = 0): { icmp?: IcmpWish } {
  const { protocol, offsetUnits, source, destination, payload } = parseIpv4(packet);
  if (offsetUnits > 0 || isNoHost(source) || isNoHost(destination)) return {};
  if (protocol === 1) {
    const queries = [0, 8, 13, 14, 15, 16, 17, 18];
    if (payload.length === 0 || !queries.includes(payload[0] as number)) return {};
  }
  return { icmp: { destination: source, code, nextHopMtu, about: packet } };
}
