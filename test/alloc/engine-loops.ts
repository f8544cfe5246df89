/**
 * Runs Engine.turn in a steady loop for several kinds of traffic and prints, as one line of JSON, how many heap bytes a packet
 * allocated. Started by engine.test.ts with the same flags, and for the same reasons, as packet-loops.ts.
 */
import { systemClock } from '../../src/base/clock.ts';
import { Prng } from '../../src/base/prng.ts';
import { counterBytes, TOTAL } from '../../src/dataplane/counters.ts';
import { Engine } from '../../src/dataplane/engine.ts';
import { ICMP_QUEUE_BYTES, IcmpQueue } from '../../src/dataplane/icmp-queue.ts';
import { Fib, type FibSettings } from '../../src/fib/fib.ts';
import { PEERS_MAX } from '../../src/fib/layout.ts';
import { enterEpoch, leaveEpoch } from '../../src/fib/lookup.ts';
import { BATCH_MAX, type Batch } from '../../src/io/batch.ts';
import type { PacketIo } from '../../src/io/packet-io.ts';
import { buildIpv4, checksumOf, type Ipv4, put16 } from '../sim/oracle/wire.ts';

const TURNS = 3000;
const WARM_UP_ROUNDS = 4;
/** Different packets, so that no branch and no cache line is always the same. */
const PACKETS = 4 * BATCH_MAX;

/** Above 128.0.0.0, where an address does not fit a small integer and boxing would show. */
const OURS = 0xc633_640a;
const LOCAL = 0xac10_0000;
const REMOTE = 0xcb00_0000;
const GATEWAYS = [0xc0a8_0a01, 0xc0a8_0a02, 0xc0a8_0a03];

const SETTINGS: FibSettings = {
  ...{ source: OURS, tunnelAddress: 0, linkMtuBytes: 1500, ttl: 64, dscp: 'inherit', ecn: 'normal' },
  ...{ fragment: 'inner', clampMss: true, innerSource: 'strict', allowedSources: [], transit: [] },
};

/** Gives the same packets round and round and takes all that it gets; allocates nothing unless told to. */
class Treadmill implements PacketIo {
  readonly #packets: readonly Uint8Array[];
  readonly #wasteful: boolean;
  #next = 0;

  constructor(packets: readonly Uint8Array[], wasteful: boolean) {
    this.#packets = packets;
    this.#wasteful = wasteful;
  }

  receive(batch: Batch): number {
    const { length } = this.#packets;
    if (length === 0) return 0;
    for (let i = 0; i < BATCH_MAX; i++) {
      const packet = this.#packets[this.#next] as Uint8Array;
      this.#next = (this.#next + 1) % length;
      batch.bytes.set(this.#wasteful ? packet.subarray(0) : packet, batch.at[i] as number);
      batch.length[i] = packet.length;
    }
    return BATCH_MAX;
  }

  send(_batch: Batch, from: number, to: number): number {
    return to - from;
  }

  close(): void {}
}

function syn(prng: Prng): Uint8Array {
  const segment = new Uint8Array(44);
  put16(segment, 0, prng.below(0x1_0000));
  put16(segment, 2, 443);
  segment.set([0xb0, 2], 12);
  segment.set([2, 4, 0x23, 0, 1, 3, 3, 7], 20);
  put16(segment, 16, checksumOf(segment));
  return segment;
}

function inner(prng: Prng, outbound: boolean, fields: Partial<Ipv4>): Uint8Array {
  const local = LOCAL + prng.below(0x1_0000);
  const remote = REMOTE + prng.below(0x100_0000);
  const payload = new Uint8Array(40).fill(prng.u32());
  return buildIpv4({
    ...{ ttl: 63, tos: 2, protocol: 17, payload, dontFragment: true, id: prng.below(0x1_0000) },
    ...{ source: outbound ? local : remote, destination: outbound ? remote : local },
    ...fields,
  });
}

type Make = (prng: Prng) => Uint8Array;

function fromPeer(prng: Prng, tos: number, fields: Partial<Ipv4>): Uint8Array {
  const payload = inner(prng, false, fields);
  return buildIpv4({ protocol: 4, tos, source: prng.pick(GATEWAYS), destination: OURS, payload });
}

interface Case {
  readonly outbound?: Make;
  readonly inbound?: Make;
  readonly settings?: Partial<FibSettings>;
  /** One subarray a packet, which the packet path must never make: shows that the meter works. */
  readonly wasteful?: boolean;
}

const CASES: Readonly<Record<string, Case>> = {
  outbound: { outbound: (prng) => inner(prng, true, {}) },
  'outbound, segment size clamped': {
    outbound: (prng) => inner(prng, true, { protocol: 6, payload: syn(prng) }),
  },
  'outbound, fragmented before encapsulation': {
    outbound: (prng) => inner(prng, true, { dontFragment: false, payload: new Uint8Array(1472) }),
  },
  'outbound, fragmented after encapsulation': {
    outbound: (prng) => inner(prng, true, { dontFragment: false, payload: new Uint8Array(1472) }),
    settings: { fragment: 'outer' },
  },
  'outbound, too big, ICMP errors up to the limit': {
    outbound: (prng) => inner(prng, true, { payload: new Uint8Array(1472) }),
  },
  'outbound, no route': {
    outbound: (prng) => inner(prng, true, { destination: 0x0808_0000 + prng.below(0x1_0000) }),
  },
  inbound: { inbound: (prng) => fromPeer(prng, 2, {}) },
  'inbound, congestion marked': { inbound: (prng) => fromPeer(prng, 3, {}) },
  'inbound, segment size clamped': {
    inbound: (prng) => fromPeer(prng, 2, { protocol: 6, payload: syn(prng) }),
  },
  'inbound, spoofed source': { inbound: (prng) => fromPeer(prng, 0, { source: 0x0808_0808 }) },
  'inbound, stranger': {
    inbound: (prng) =>
      buildIpv4({ protocol: 4, source: prng.u32(), destination: OURS, payload: inner(prng, false, {}) }),
  },
  '(allocating on purpose)': { outbound: (prng) => inner(prng, true, {}), wasteful: true },
  'both directions': { outbound: (prng) => inner(prng, true, {}), inbound: (prng) => fromPeer(prng, 2, {}) },
};

function packetsOf(make: Make | undefined): Uint8Array[] {
  const prng = new Prng(11);
  return make === undefined ? [] : Array.from({ length: PACKETS }, () => make(prng));
}

function fibOf(settings: Partial<FibSettings> | undefined): Fib {
  const fib = new Fib({ capacityBytes: 1 << 22 });
  fib.configure({ ...SETTINGS, ...settings });
  fib.setLocal([{ address: LOCAL, prefixLength: 16 }]);
  const gateways = GATEWAYS.map((address, index) => ({ address, weight: index + 1 }));
  fib.replace(
    Array.from({ length: 256 }, (_, i) => ({
      cidr: { address: REMOTE + i * 0x1_0000, prefixLength: 16 + (i % 9) },
      cluster: 'remote',
      gateways: i % 2 === 0 ? gateways : gateways.slice(0, 1),
    })),
  );
  fib.apply([{ cidr: { address: REMOTE, prefixLength: 8 }, cluster: 'remote', gateways }], []);
  return fib;
}

/** Heap bytes a packet. */
function measure({ outbound, inbound, settings, wasteful = false }: Case): number {
  const { words } = fibOf(settings);
  const counters = new Float64Array(new SharedArrayBuffer(counterBytes(PEERS_MAX)));
  const queue = new Uint32Array(new SharedArrayBuffer(ICMP_QUEUE_BYTES));
  const icmp = new IcmpQueue(queue.buffer, systemClock);
  const device = new Treadmill(packetsOf(outbound), wasteful);
  const underlay = new Treadmill(packetsOf(inbound), wasteful);
  const engine = new Engine({ device, underlay, words, counters, icmp, engine: 0, engines: 1 });
  const turns = (count: number): void => {
    for (let turn = 0; turn < count; turn++) {
      enterEpoch(words, 0);
      engine.turn();
      // The slow path has taken everything (tail = head): a ring that stays full would hide what an error costs.
      queue[1] = queue[0] as number;
    }
    leaveEpoch(words, 0);
  };
  const collect = globalThis.gc;
  if (collect === undefined) throw new Error('start this with --expose-gc');
  for (let round = 0; round < WARM_UP_ROUNDS; round++) turns(TURNS);
  // The smallest of three: the compiler may still allocate in one of them, while what the loop itself allocates shows in all.
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 3; round++) {
    collect();
    const received = counters[TOTAL.OUTBOUND_RECEIVED]! + counters[TOTAL.INBOUND_RECEIVED]!;
    const before = process.memoryUsage().heapUsed;
    turns(TURNS);
    const bytes = process.memoryUsage().heapUsed - before;
    const packets = counters[TOTAL.OUTBOUND_RECEIVED]! + counters[TOTAL.INBOUND_RECEIVED]! - received;
    least = Math.min(least, bytes / packets);
  }
  return least;
}

const measured: Record<string, number> = {};
for (const [name, one] of Object.entries(CASES)) measured[name] = measure(one);
process.stdout.write(`${JSON.stringify(measured)}\n`);
