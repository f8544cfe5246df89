import { parseAddress, parseCidr4 } from '../../../src/base/address.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import { type Ends, malformedPacket, spoiled } from '../../fuzz/malformed-packets.ts';
import { predictInbound } from '../../sim/oracle/inbound.ts';
import { judgeInner } from '../../sim/oracle/inner-packet.ts';
import { type Model, publishRoutes } from '../../sim/oracle/model.ts';
import { predictOutbound } from '../../sim/oracle/outbound.ts';
import { LearnedPaths } from '../../sim/oracle/path-mtu.ts';
import { buildIpv4, get16, headerLength, put16, sealHeader } from '../../sim/oracle/wire.ts';

/**
 * The ways malformed packets come to the gateway.
 *
 * device: written to the tunnel device itself, so that the gateway reads every byte as it was made. pod: from a pod's network card, by the
 * kernel of the gateway, which forwards what it takes for a packet. tunnel: from the underlay, malformed inside a good outer header, from
 * the peer and from an address that is none. outer: the outer header is malformed too, and the kernel decides what a raw socket gets.
 * icmp: errors about packets that the gateway may have sent.
 */
export const WAYS = ['device', 'pod', 'tunnel', 'outer', 'icmp'] as const;
export type Way = (typeof WAYS)[number];

/** On the first two ways nothing but the gateway decides, so each packet must have exactly the fate that the oracle says. */
export const EXACT: readonly Way[] = ['device', 'tunnel'];

export interface World {
  readonly ours: number;
  readonly gateway: number;
  readonly stranger: number;
  readonly pod: number;
  readonly remotePod: number;
}

export const LOCAL_CIDR = '10.1.0.0/16';
export const REMOTE_CIDR = '10.2.0.0/16';
const LINK_MTU_BYTES = 1500;
const INNER_BYTES_MAX = LINK_MTU_BYTES - 20;
/** The kernel would fragment what is larger, and an option may grow no packet beyond it. */
const POD_BYTES_MAX = 1400;
const EXPERIMENTAL = 253;

/** What the oracle has to know of the gateway under test. */
export function modelOf(world: World): Model {
  const model: Model = {
    settings: {
      ...{ source: world.ours, tunnelAddress: null, linkMtuBytes: LINK_MTU_BYTES, ttl: 64, dscp: 'inherit' },
      ...{ ecn: 'normal', clampMss: true, fragment: 'inner', innerSource: 'strict' },
      ...{ allowedSources: [], transit: [] },
    },
    local: [parseCidr4(LOCAL_CIDR)],
    routes: [],
    peers: new Map(),
    paths: new LearnedPaths(),
  };
  const gateways = [{ address: world.gateway, weight: 1 }];
  publishRoutes(model, [{ cidr: parseCidr4(REMOTE_CIDR), cluster: 'west', gateways }]);
  return model;
}

const NOWHERE = ['0.0.0.0', '127.0.0.1', '224.0.0.5', '240.0.0.1', '255.255.255.255', '10.99.0.1'];

function ends(world: World, way: Way): Ends {
  const local = way === 'pod' ? [world.pod] : [world.pod, parseAddress('10.1.77.9')];
  const remote = [world.remotePod, parseAddress('10.2.77.9')];
  const isOut = way === 'device' || way === 'pod';
  return {
    sources: isOut ? local : remote,
    destinations: isOut ? remote : local,
    strange: [...NOWHERE.map(parseAddress), world.ours, world.gateway, world.stranger, ...local, ...remote],
    bytesMax: way === 'pod' ? POD_BYTES_MAX : INNER_BYTES_MAX,
  };
}

/** Packet `index` on a way, as it is put on the wire. */
export function packetOn(world: World, way: Way, seed: number, index: number): Uint8Array {
  const inner = malformedPacket(seed, index, ends(world, way));
  // A kernel that forwards writes into options, by rules of its own: those are left to the way that avoids it.
  if (way === 'pod' && inner[0]! % 16 > 5) return inner.with(0, 0x44);
  if (way === 'device' || way === 'pod') return inner;
  if (way === 'tunnel') return wrapped(world, inner, index);
  if (way === 'icmp') return spoiled(seed, index, LINK_MTU_BYTES, () => icmpError(world, inner, index));
  return spoiled(seed + 1, index, LINK_MTU_BYTES, () => wrapped(world, inner, index));
}

function wrapped(world: World, payload: Uint8Array, index: number): Uint8Array {
  const source = index % 19 === 0 ? world.stranger : world.gateway;
  // All four values of the ECN field, with all four of what is inside.
  const tos = index % 5 === 0 ? Math.floor(index / 5) % 4 : payload.length > 1 ? payload[1]! : 0;
  return buildIpv4({ protocol: 4, source, destination: world.ours, id: index % 65_536, tos, payload });
}

/** About a packet of ours to the peer, from a router in between: each type and code, next-hop MTUs from 0 up. */
function icmpError(world: World, inner: Uint8Array, index: number): Uint8Array {
  const quote = buildIpv4({ protocol: 4, source: world.ours, destination: world.gateway, payload: inner });
  const message = new Uint8Array(8 + Math.min(quote.length, 548));
  message.set([[3, 3, 11, 12, 4, 5][index % 6]!, Math.floor(index / 6) % 8]);
  put16(message, 6, [0, 68, 595, 596, 1300, 1499, 65_535][index % 7]!);
  message.set(quote.subarray(0, message.length - 8), 8);
  put16(message, 2, 0);
  const packet = buildIpv4({ protocol: 1, source: world.gateway, destination: world.ours, payload: message });
  put16(packet, 22, icmpChecksum(message));
  return packet;
}

function icmpChecksum(message: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < message.length; i++) sum += message[i]! * (i % 2 === 0 ? 256 : 1);
  return 0xffff - (((sum - 1) % 0xffff) + 1);
}

/** A whole packet behind a burst: all of a burst have been handled when its marker comes out. */
export function marker(world: World, way: Way, number: number): Uint8Array {
  const isOut = way === 'device' || way === 'pod';
  const inner = buildIpv4({
    protocol: EXPERIMENTAL,
    source: isOut ? world.pod : world.remotePod,
    destination: isOut ? world.remotePod : world.pod,
    payload: Uint8Array.from([...'marker'].map((c) => c.charCodeAt(0)).concat([number >> 8, number & 255])),
  });
  if (isOut) return inner;
  return buildIpv4({ protocol: 4, source: world.gateway, destination: world.ours, payload: inner });
}

export interface Fate {
  readonly verdict: number;
  /** Of what leaves, when it is forwarded. */
  readonly key?: string;
}

/** What must become of a packet, if it reaches the gateway; undefined: it does not. */
export function fateOf(model: Model, way: Way, packet: Uint8Array): Fate | undefined {
  if (way === 'icmp') return undefined;
  const received = way === 'device' ? packet : way === 'pod' ? forwarded(packet) : trimmed(packet);
  if (received === undefined) return undefined;
  if (way === 'tunnel' || way === 'outer') {
    const { verdict, packet: out } = predictInbound(model, received);
    return out === undefined ? { verdict } : { verdict, key: inboundKey(out) };
  }
  const { verdict, sends } = predictOutbound(model, received);
  if (sends === undefined) return { verdict };
  return { verdict, key: outboundKey(buildIpv4({ ...sends.outer, payload: sends.inner })) };
}

/** What the kernel makes of a packet that it forwards. */
function forwarded(packet: Uint8Array): Uint8Array | undefined {
  if (judgeInner(packet) !== VERDICT.FORWARD || packet[8]! < 2) return undefined;
  const result = packet.slice(0, get16(packet, 2));
  result[8] = packet[8]! - 1;
  sealHeader(result);
  return result;
}

/** The kernel cuts off what is behind the total length. */
function trimmed(packet: Uint8Array): Uint8Array {
  return packet.length < 4 ? packet : packet.subarray(0, Math.min(packet.length, get16(packet, 2)));
}

export function inboundKey(packet: Uint8Array): string {
  return Buffer.from(packet).toString('latin1');
}

/** Of an outer packet; the ID is the engine's to choose, so the checksum is compared without it. */
export function outboundKey(packet: Uint8Array): string {
  const copy = Buffer.from(packet);
  if (copy.length >= 20 && headerLength(copy) === 20) {
    // A wrong checksum stays visible as one.
    const given = get16(copy, 10);
    sealHeader(copy);
    const isRight = get16(copy, 10) === given;
    put16(copy, 4, 0);
    put16(copy, 10, isRight ? 0 : 1);
  }
  return copy.toString('latin1');
}
