import { cidrKey, prefixMask } from '../src/base/address.ts';
import { systemClock } from '../src/base/clock.ts';
import { Prng } from '../src/base/prng.ts';
import { counterBytes } from '../src/dataplane/counters.ts';
import { Engine, READY } from '../src/dataplane/engine.ts';
import { ICMP_QUEUE_BYTES, IcmpQueue } from '../src/dataplane/icmp-queue.ts';
import { SENT_HEADERS_BYTES, SentHeaders } from '../src/dataplane/sent-headers.ts';
import { Slab } from '../src/dataplane/slab.ts';
import type { FibEntry, FibGateway } from '../src/fib/entry.ts';
import { Fib } from '../src/fib/fib.ts';
import { PEERS_MAX } from '../src/fib/layout.ts';
import { enterEpoch, lookup, peerAddress, pickPeer } from '../src/fib/lookup.ts';
import { BATCH_MAX, type Batch } from '../src/io/batch.ts';
import type { Native } from '../src/io/native.ts';
import type { PacketIo } from '../src/io/packet-io.ts';
import { writeU16, writeU32 } from '../src/packet/bytes.ts';
import { internetChecksum } from '../src/packet/checksum.ts';
import { encapsulate, IPIP_ENCAPSULATION_BYTES } from '../src/packet/ipip.ts';
import { IPV4, PROTOCOL } from '../src/packet/ipv4.ts';

/** Packets that one call of a load handles: a batch is full when it matters what a packet costs. */
export const PACKETS_PER_CALL = BATCH_MAX;

const ROUTES = 100_000;
const GATEWAYS = 400;
const CLUSTERS = 20;
/** Of routes, one in so many has a second gateway. */
const PAIRED = 4;
const PACKET_BYTES = 92;
/** What the engine reads of a packet, in 32-bit words: an IPv4 header, and of TCP as far as its flags. */
const HEAD_WORDS = 9;
const OUTER_WORDS = IPIP_ENCAPSULATION_BYTES / 4;
/** VNET.BYTES, rounded up. */
const VNET_WORDS = 3;
/** So many that the routes of flow after flow are not in the cache when they are looked up: 65,536 flows of 100,000 random routes. */
const FLOWS = 65_536;
/** Words in which the heads of two flows differ. */
const FLOW_WORDS = 4;
const LOCAL = 0x0a01_0000;
const OURS = 0xac1f_0102;
const FIRST_GATEWAY = 0xac20_0000;
const SEED = 2003;

/** The gateways of a route belong to one cluster: each gateway is of the cluster that its number names. */
const gatewaysOf = (first: number): readonly FibGateway[] => {
  const second = (first + CLUSTERS) % GATEWAYS;
  const one = { address: FIRST_GATEWAY + first, weight: 1 };
  return first % PAIRED === 0 ? [one, { address: FIRST_GATEWAY + second, weight: 1 }] : [one];
};

/** Prefixes at random places, as the pod CIDRs of many clusters are when nobody planned them. */
function randomRoutes(prng: Prng, [shortest, longest]: PrefixLengths): FibEntry[] {
  const routes = new Map<number, FibEntry>();
  while (routes.size < ROUTES) {
    const prefixLength = shortest + prng.below(longest - shortest + 1);
    // From 11.0.0.0 to 126.255.255.255: neither ours nor martian.
    const address = (0x0b00_0000 + prng.below(0x7400_0000)) & prefixMask(prefixLength);
    const gateway = prng.below(GATEWAYS);
    const cidr = { address, prefixLength };
    routes.set(cidrKey(cidr), {
      cidr,
      cluster: `cluster-${gateway % CLUSTERS}`,
      gateways: gatewaysOf(gateway),
    });
  }
  return [...routes.values()];
}

function makeFib(routes: readonly FibEntry[]): Fib {
  const fib = new Fib();
  fib.configure({
    ...{ source: OURS, tunnelAddress: 0, linkMtuBytes: 1500, ttl: 64, dscp: 'inherit', ecn: 'normal' },
    ...{ fragment: 'inner', clampMss: true, innerSource: 'strict', allowedSources: [], transit: [] },
  });
  fib.setLocal([{ address: LOCAL, prefixLength: 16 }]);
  fib.replace(routes);
  return fib;
}

/** The head of one packet of TCP between a local pod and one of a random route: all that the engine reads. */
function writeHead(bytes: Uint8Array, at: number, source: number, destination: number, ports: number): void {
  writeU16(bytes, at + IPV4.VERSION_IHL, 0x4500);
  writeU16(bytes, at + IPV4.TOTAL_LENGTH, PACKET_BYTES);
  writeU16(bytes, at + IPV4.TTL, (63 << 8) | 6);
  writeU32(bytes, at + IPV4.SOURCE, source);
  writeU32(bytes, at + IPV4.DESTINATION, destination);
  writeU16(bytes, at + IPV4.CHECKSUM, 0);
  writeU16(bytes, at + IPV4.CHECKSUM, internetChecksum(bytes, at, IPV4.HEADER_BYTES));
  writeU32(bytes, at + IPV4.HEADER_BYTES, ports);
}

/**
 * Heads of FLOWS packets: behind a vnet header, as the device gives them, or behind an outer header where `inbound`. Kept as what differs, so
 * that they leave most of the cache to the routes.
 */
function headsOf(fib: Fib, routes: readonly FibEntry[], inbound: boolean): Heads {
  const prng = new Prng(SEED);
  const before = inbound ? OUTER_WORDS : VNET_WORDS;
  const bytes = new Uint8Array((before + HEAD_WORDS) * 4);
  const template = new Uint32Array(bytes.buffer);
  const view = new DataView(bytes.buffer);
  const differing = inbound
    ? [2, 3, before + 2, before + 3]
    : [before + 2, before + 3, before + 4, before + 5];
  const flows = new Uint32Array(FLOWS * FLOW_WORDS);
  for (let flow = 0; flow < FLOWS; flow++) {
    const { cidr } = prng.pick(routes);
    const remote = (Number(cidr.address) + prng.below(2 ** (32 - cidr.prefixLength))) >>> 0;
    const local = inbound ? LOCAL + 1 : LOCAL + prng.below(65_536);
    const ports = inbound ? 0x01bb_c0de : prng.u32();
    writeHead(bytes, before * 4, inbound ? remote : local, inbound ? local : remote, ports);
    if (inbound)
      encapsulate(
        view,
        before * 4,
        PACKET_BYTES,
        gatewayOf(fib, remote),
        OURS,
        0,
        64,
        1,
        IPV4.DF,
        PROTOCOL.IPIP,
      );
    for (const [i, word] of differing.entries()) flows[flow * FLOW_WORDS + i] = template[word]!;
  }
  return { template, flows, differing, lead: inbound ? 0 : VNET_WORDS };
}

/** Not that of the route at hand: a longer one may hold the address as well, and its cluster is the one that may send from there. */
function gatewayOf(fib: Fib, remote: number): number {
  const group = lookup(fib.words, remote);
  return peerAddress(fib.words, pickPeer(fib.words, group, 0)) >>> 0;
}

interface Heads {
  /** A whole head, as words. */
  readonly template: Uint32Array;
  /** Of each flow the words that differ, and which these are. */
  readonly flows: Uint32Array;
  readonly differing: readonly number[];
  /** Words of a head that lie before the packet. */
  readonly lead: number;
}

/** Gives a full batch each time, of flow after flow, and takes all it is given: what is measured is the engine, and a copy of the heads. */
class Tap implements PacketIo {
  readonly calls = new Float64Array(1);
  readonly #heads: Heads | undefined;
  readonly #length: number;
  #words: Uint32Array | undefined;
  #flow = 0;

  constructor(heads: Heads | undefined, length: number) {
    this.#heads = heads;
    this.#length = length;
  }

  receive(batch: Batch): number {
    if (this.#heads === undefined) return 0;
    this.#words ??= new Uint32Array(batch.bytes.buffer, 0, batch.bytes.length >>> 2);
    const { template, flows, differing, lead } = this.#heads;
    const words = this.#words;
    const count = template.length;
    for (let i = 0; i < BATCH_MAX; i++) {
      const from = this.#flow * FLOW_WORDS;
      const at = batch.roomFor(i, this.#length);
      const to = (at >>> 2) - lead;
      for (let word = 0; word < count; word++) words[to + word] = template[word]!;
      for (let word = 0; word < FLOW_WORDS; word++) words[to + differing[word]!] = flows[from + word]!;
      batch.at[i] = at;
      batch.length[i] = this.#length;
      this.#flow = (this.#flow + 1) % FLOWS;
    }
    return BATCH_MAX;
  }

  send(_batch: Batch, from: number, to: number): number {
    return to - from;
  }

  close(): void {}
}

function engineOf(fib: Fib, device: PacketIo, underlay: PacketIo): Engine {
  const words = new Uint32Array(fib.buffer);
  const counters = new Float64Array(new SharedArrayBuffer(counterBytes(PEERS_MAX)));
  const icmp = new IcmpQueue(new SharedArrayBuffer(ICMP_QUEUE_BYTES), systemClock);
  enterEpoch(words, 0);
  return new Engine({
    sent: new SentHeaders(new SharedArrayBuffer(SENT_HEADERS_BYTES)),
    ...{ device, underlay, offload, coalesceFeatures: 0, words, counters, icmp, engine: 0, engines: 1 },
  });
}

/** The addon's part is not JavaScript's: no packet of this load is to be cut, and to merge none is left to it. */
const offload: Pick<Native, 'segment' | 'coalesce'> = {
  segment: () => 0,
  coalesce: (_bytes, _at, _length, _peer, _packets, _innerBytes, _pieces, count) => count,
};

export interface EngineLoad {
  /** One turn of the shipped engine: every rule of the design on PACKETS_PER_CALL packets of many flows, without the kernel. */
  outbound(): void;
  inbound(): void;
  /** The copy of heads into the packets' slots that each of them contains: it stands for the kernel. */
  outboundCopy(): void;
  inboundCopy(): void;
}

/** The shortest and the longest prefix length of the routes. */
export type PrefixLengths = readonly [number, number];

/**
 * A thread makes only one: code of the packet path that serves two engines is not that of a worker, which has one
 * (src/dataplane/plain-outbound.ts).
 */
export function engineLoad(lengths: PrefixLengths = [24, 24]): EngineLoad {
  const routes = randomRoutes(new Prng(SEED), lengths);
  const fib = makeFib(routes);
  const device = new Tap(headsOf(fib, routes, false), PACKET_BYTES);
  const underlay = new Tap(headsOf(fib, routes, true), PACKET_BYTES + IPIP_ENCAPSULATION_BYTES);
  const engine = engineOf(fib, device, underlay);
  for (const side of [READY.DEVICE, READY.UNDERLAY]) {
    // A load that measured how fast packets are dropped would be the best one of all.
    if (engine.turn(side) !== 2 * BATCH_MAX) throw new Error('not every packet was forwarded');
  }
  const slab = new Slab();
  return {
    outbound: () => void engine.turn(READY.DEVICE),
    inbound: () => void engine.turn(READY.UNDERLAY),
    outboundCopy: () => void device.receive(slab.fromDevice),
    inboundCopy: () => void underlay.receive(slab.fromUnderlay),
  };
}
