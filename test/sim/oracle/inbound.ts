import { VERDICT } from '../../../src/packet/verdict.ts';
import { isNoHost, isNoHost6, judgeInner, judgeIpv6 } from './inner-packet.ts';
import { predictMerged } from './merged.ts';
import { holds, longestMatch, type Model, pathMtuOf } from './model.ts';
import { clampSegmentSize } from './segment-size.ts';
import { get16, get32, headerLength, onesSum, sealHeader } from './wire.ts';

/** What must become of a packet from the underlay. */
export interface InboundFate {
  readonly verdict: number;
  /** The sender, when it is a gateway in the table. */
  readonly peer?: number;
  readonly clamped?: boolean;
  /** The pair of ECN fields is one that nobody should make: "(!!!)" in RFC 6040, Figure 4. */
  readonly ecnUnused?: boolean;
  /** FORWARD only: exactly what the device must get. */
  readonly packet?: Uint8Array;
}

const NOT_ECT = 0;
const ECT_1 = 1;
const ECT_0 = 2;
const CE = 3;

/** The decapsulation rules, one after the other. `received` is what the underlay socket delivered. */
export function predictInbound(model: Model, received: Uint8Array): InboundFate {
  if (!isOuter(received)) return { verdict: VERDICT.OUTER_MALFORMED };
  const { settings } = model;
  const outerSource = get32(received, 12);
  const isPeer = model.peers.has(outerSource);
  const peer = isPeer ? { peer: outerSource } : {};
  if (!isPeer && !settings.allowedSources.some((cidr) => holds(cidr, outerSource))) {
    return { verdict: VERDICT.UNKNOWN_PEER };
  }
  const inside = received.slice(headerLength(received), get16(received, 2));
  if (received[9] === IPV6) return { verdict: verdictOnIpv6(model, inside), ...peer };
  const malformed = judgeInner(inside);
  if (malformed !== VERDICT.FORWARD) return { verdict: malformed, ...peer };
  const inner = inside.slice(0, get16(inside, 2));
  const verdict = policy(model, inner, outerSource);
  if (verdict !== VERDICT.FORWARD) return { verdict, ...peer };

  const [innerEcn, outerEcn] = [(inner[1] as number) % 4, (received[1] as number) % 4];
  const ecnUnused = innerEcn === NOT_ECT ? outerEcn !== NOT_ECT : innerEcn === CE && outerEcn === ECT_1;
  const ecn = ecnAfter(innerEcn, outerEcn);
  if (ecn === undefined) return { verdict: VERDICT.ECN_ILLEGAL, ecnUnused, ...peer };
  if (ecn !== (inner[1] as number) % 4) {
    inner[1] = Math.floor((inner[1] as number) / 4) * 4 + ecn;
    sealHeader(inner);
  }
  const isClamped = isPeer && settings.clampMss;
  const { packet, changed } = isClamped
    ? clampSegmentSize(inner, pathMtuOf(model, outerSource) - 60)
    : { packet: inner, changed: false };
  const deviceMtuBytes = settings.linkMtuBytes - 20;
  return {
    ...predictMerged(inner, packet, deviceMtuBytes, settings.linkMtuBytes),
    ...peer,
    clamped: changed,
    ecnUnused,
  };
}

const IPV6 = 41;

/** Of all IPv6 none is forwarded, because the model's routes are of IPv4. */
function verdictOnIpv6(model: Model, inside: Uint8Array): number {
  const malformed = judgeIpv6(inside);
  if (malformed !== VERDICT.FORWARD) return malformed;
  if (isNoHost6(inside, 8) || isNoHost6(inside, 24)) return VERDICT.MARTIAN;
  return model.settings.innerSource === 'off' ? VERDICT.NOT_LOCAL : VERDICT.SPOOFED_SOURCE;
}

/** RFC 791, and no fragment: the kernel has put those together before a raw socket sees them. */
function isOuter(bytes: Uint8Array): boolean {
  if (bytes.length < 20 || Math.floor((bytes[0] as number) / 16) !== 4) return false;
  const header = headerLength(bytes);
  if (header < 20 || header > bytes.length || get16(bytes, 2) < header) return false;
  if ((bytes[9] !== 4 && bytes[9] !== IPV6) || get16(bytes, 6) % 0x4000 !== 0) return false;
  return onesSum(bytes, 0, header) === 0xffff;
}

/** Which inner addresses may come from where and go where. */
function policy(model: Model, inner: Uint8Array, outerSource: number): number {
  const { settings } = model;
  const source = get32(inner, 12);
  const destination = get32(inner, 16);
  const isUs = (address: number): boolean =>
    address === settings.source || address === settings.tunnelAddress;
  if (inner[9] === 4 && isUs(destination)) return VERDICT.NESTED;
  if (isNoHost(source) || isNoHost(destination)) return VERDICT.MARTIAN;
  const ends = [settings.source, outerSource];
  if (ends.includes(source) || ends.includes(destination)) return VERDICT.MARTIAN;

  if (settings.innerSource !== 'off') {
    const from = longestMatch(model, source);
    if (from === undefined || from === 'local') return VERDICT.SPOOFED_SOURCE;
    const isPeer = model.peers.has(outerSource);
    if (settings.innerSource === 'strict' && isPeer && !isGatewayOf(model, outerSource, from.cluster)) {
      return VERDICT.SPOOFED_SOURCE;
    }
  }
  const to = longestMatch(model, destination);
  if (to === 'local') return VERDICT.FORWARD;
  return to !== undefined && settings.transit.includes(to.cluster) ? VERDICT.FORWARD : VERDICT.NOT_LOCAL;
}

function isGatewayOf(model: Model, address: number, cluster: string): boolean {
  return model.routes.some(
    (route) => route.cluster === cluster && route.gateways.some((gateway) => gateway.address === address),
  );
}

/** RFC 6040 §4.2 in words: undefined is the packet that must not be forwarded. */
function ecnAfter(inner: number, outer: number): number | undefined {
  if (inner === NOT_ECT) return outer === CE ? undefined : NOT_ECT;
  if (inner === CE || outer === CE) return CE;
  if (inner === ECT_0 && outer === ECT_1) return ECT_1;
  return inner;
}
