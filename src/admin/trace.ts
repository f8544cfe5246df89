import {
  type Cidr,
  cidrHolds,
  formatAddress,
  formatCidr,
  type IpAddress,
  parseIpAddress,
} from '../base/address.ts';
import { wordsOf } from '../base/address6.ts';
import { GatewayError } from '../base/errors.ts';
import type { Fib, PeerInfo } from '../fib/fib.ts';
import { LOCAL_GROUP, NO_GROUP, PEER, SETTINGS } from '../fib/layout.ts';
import { lookup, peerWord, pickPeer } from '../fib/lookup.ts';
import { lookup6 } from '../fib/lookup6.ts';
import { flowHashOf } from '../packet/flow.ts';
import { flowHashOf6 } from '../packet/flow6.ts';
import { ICMP6 } from '../packet/icmp6.ts';
import { PROTOCOL } from '../packet/ipv4.ts';
import type { Route } from '../table/route.ts';
import type { RefusedRow, Trace, TraceQuery } from './view.ts';

export interface TraceInput {
  readonly query: TraceQuery;
  readonly destination: IpAddress;
  readonly local: readonly Cidr[];
  /** Routes that hold the destination, longest prefix first. */
  readonly candidates: readonly Route[];
  /** Refused claims that would hold the destination. */
  readonly refused: readonly RefusedRow[];
  readonly fib: Fib;
  readonly linkMtuBytes: number;
}

/**
 * Says what the packet path does with a packet to `destination`, and why. The decision itself is asked of the FIB image, as a packet
 * would; the table only explains it.
 */
export function traceFlow(input: TraceInput): Trace {
  const { destination, fib } = input;
  const words = new Uint32Array(fib.buffer);
  const group = groupOf(words, input);
  const route = input.candidates[0];
  const refused = [...input.refused];
  const blank = {
    destination: formatAddress(destination),
    cidr: null,
    cluster: null,
    gateway: null,
    gateways: [],
    innerMtuBytes: null,
    refused,
  };
  if (group === LOCAL_GROUP) {
    const cidr = localCidr(input);
    return {
      ...blank,
      verdict: 'local',
      cidr: cidr === undefined ? null : formatCidr(cidr),
      reason: `in ${cidr === undefined ? 'one of our CIDRs' : formatCidr(cidr)} of our own cluster: never tunnelled`,
      candidates: candidateRows(input.candidates, undefined),
    };
  }
  if (group === NO_GROUP || route === undefined) {
    const also = refused.length === 0 ? '' : ` (${refused.length} refused ${claims(refused.length)} hold it)`;
    return {
      ...blank,
      verdict: 'unreachable',
      reason: `no remote cluster has a prefix for it${also}, so no kernel route of ours leads it to the tunnel, and the host's other routes decide; were it led there all the same, it would be answered with ICMP net unreachable`,
      candidates: candidateRows(input.candidates, undefined),
    };
  }
  const gateways = gatewayRows(route, input);
  const chosen = chooseGateway(input, words, group, gateways);
  const isDead = gateways.every((gateway) => !gateway.alive);
  const mtu = pathMtuOf(chosen, gateways);
  return {
    ...blank,
    verdict: isDead ? 'unreachable' : 'remote',
    reason: reasonFor(route, gateways.length, chosen, isDead),
    cidr: formatCidr(route.cidr),
    cluster: route.cluster,
    gateway: chosen,
    gateways,
    innerMtuBytes: mtu === null ? null : mtu - words[SETTINGS.OUTER_BYTES]!,
    candidates: candidateRows(input.candidates, route),
  };
}

function groupOf(words: Uint32Array, { destination }: TraceInput): number {
  if (typeof destination === 'number') return lookup(words, destination);
  const [w0, w1, w2, w3] = wordsOf(destination);
  return lookup6(words, w0, w1, w2, w3);
}

function claims(count: number): string {
  return count === 1 ? 'claim would' : 'claims would';
}

function localCidr(input: TraceInput): Cidr | undefined {
  const holding = input.local.filter((cidr) => cidrHolds(cidr, input.destination));
  return holding.sort((a, b) => b.prefixLength - a.prefixLength)[0];
}

function gatewayRows(route: Route, input: TraceInput): Trace['gateways'] {
  const peers = new Map<IpAddress, PeerInfo>(input.fib.peers().map((peer) => [peer.address, peer]));
  const shares = new Map(input.fib.share(route.cidr).map((entry) => [entry.address, entry.share]));
  return route.gateways.map(({ address, weight }) => {
    const peer = peers.get(address);
    const learned = peer?.pathMtuBytes ?? 0;
    return {
      address: formatAddress(address),
      weight,
      alive: peer?.alive ?? false,
      pathMtuBytes: learned === 0 ? input.linkMtuBytes : Math.min(learned, input.linkMtuBytes),
      share: shares.get(address) ?? 0,
    };
  });
}

/** The gateway of the flow asked about, or the only one; null when it depends on a flow that was not given. */
function chooseGateway(
  input: TraceInput,
  words: Uint32Array,
  group: number,
  gateways: Trace['gateways'],
): string | null {
  const { query, destination } = input;
  if (query.source !== undefined && typeof parseIpAddress(query.source) !== typeof destination) {
    const message = `source: expected an address of the family of ${formatAddress(destination)}, got ${query.source}`;
    throw new GatewayError('ISTHMUS_ERR_USAGE', message);
  }
  if (query.source === undefined) {
    const alive = gateways.filter((gateway) => gateway.alive);
    return alive.length === 1 ? alive[0]!.address : null;
  }
  const ports = (((query.sourcePort ?? 0) << 16) | (query.destinationPort ?? 0)) >>> 0;
  const source = parseIpAddress(query.source);
  const protocol = protocolNumber(
    query.protocol,
    typeof destination === 'number' ? PROTOCOL.ICMP : ICMP6.PROTOCOL,
  );
  const hash =
    typeof destination === 'number'
      ? flowHashOf(Number(source), destination, protocol, ports)
      : flowHashOf6(wordsOf(BigInt(source)), wordsOf(destination), protocol, ports);
  const peer = pickPeer(words, group, hash);
  return peer < 0 ? null : formatAddress(peerWord(words, peer, PEER.ADDRESS));
}

function protocolNumber(name: string | undefined, icmp: number): number {
  switch (name ?? 'icmp') {
    case 'icmp':
      return icmp;
    case 'tcp':
      return PROTOCOL.TCP;
    case 'udp':
      return PROTOCOL.UDP;
    default: {
      const number = Number(name);
      if (Number.isInteger(number) && number >= 0 && number <= 255) return number;
      throw new GatewayError(
        'ISTHMUS_ERR_USAGE',
        `protocol: expected tcp, udp, icmp or a number from 0 to 255, got "${name}"`,
      );
    }
  }
}

function pathMtuOf(chosen: string | null, gateways: Trace['gateways']): number | null {
  const relevant = chosen === null ? gateways : gateways.filter((gateway) => gateway.address === chosen);
  return relevant.length === 0 ? null : Math.min(...relevant.map((gateway) => gateway.pathMtuBytes));
}

function reasonFor(route: Route, gateways: number, chosen: string | null, isDead: boolean): string {
  const cidr = formatCidr(route.cidr);
  if (isDead)
    return `${cidr} of cluster ${route.cluster}, but none of its gateways is alive: answered with ICMP host unreachable`;
  if (chosen !== null) return `${cidr} of cluster ${route.cluster}, through gateway ${chosen}`;
  return `${cidr} of cluster ${route.cluster}, through one of ${gateways} gateways by flow; name a source to see which`;
}

function candidateRows(candidates: readonly Route[], used: Route | undefined): Trace['candidates'] {
  return candidates.map((candidate) => ({
    cidr: formatCidr(candidate.cidr),
    cluster: candidate.cluster,
    used: candidate === used,
    why:
      candidate === used
        ? 'the longest prefix that holds the address'
        : used === undefined
          ? 'a longer prefix is our own'
          : `${formatCidr(used.cidr)} is longer`,
  }));
}
