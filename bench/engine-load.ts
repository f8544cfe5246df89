import { systemClock } from '../src/base/clock.ts';
import { Prng } from '../src/base/prng.ts';
import { counterBytes } from '../src/dataplane/counters.ts';
import { Engine } from '../src/dataplane/engine.ts';
import { ICMP_QUEUE_BYTES, IcmpQueue } from '../src/dataplane/icmp-queue.ts';
import { Slab } from '../src/dataplane/slab.ts';
import { Fib } from '../src/fib/fib.ts';
import { PEERS_MAX } from '../src/fib/layout.ts';
import { enterEpoch } from '../src/fib/lookup.ts';
import { BATCH_MAX, type Batch } from '../src/io/batch.ts';
import { loadNative } from '../src/io/load.ts';
import type { PacketIo } from '../src/io/packet-io.ts';
import { writeU16, writeU32 } from '../src/packet/bytes.ts';
import { internetChecksum } from '../src/packet/checksum.ts';
import { ENCAPSULATION_BYTES, encapsulate } from '../src/packet/ipip.ts';
import { IPV4 } from '../src/packet/ipv4.ts';

/** Packets that one call of a load handles: a batch is full when it matters what a packet costs. */
export const PACKETS_PER_CALL = BATCH_MAX;

const ROUTES = 10_000;
const GATEWAYS = 200;
const PACKET_BYTES = 92;
const HEAD_BYTES = 48;
const FLOWS = 4096;
const LOCAL = 0x0a01_0000;
const REMOTE = 0x0b00_0000;
const OURS = 0xac1f_0102;
const FIRST_GATEWAY = 0xac1f_0202;

const gatewayOf = (route: number): number => FIRST_GATEWAY + (route % GATEWAYS);

function makeFib(): Fib {
  const fib = new Fib();
  fib.configure({
    ...{ source: OURS, tunnelAddress: 0, linkMtuBytes: 1500, ttl: 64, dscp: 'inherit', ecn: 'normal' },
    ...{ fragment: 'inner', clampMss: true, innerSource: 'strict', allowedSources: [], transit: [] },
  });
  fib.setLocal([{ address: LOCAL, prefixLength: 16 }]);
  fib.replace(
    Array.from({ length: ROUTES }, (_, route) => ({
      cidr: { address: REMOTE + route * 256, prefixLength: 24 },
      cluster: `cluster-${(route % GATEWAYS) % 20}`,
      gateways: [{ address: gatewayOf(route), weight: 1 }],
    })),
  );
  return fib;
}

/** The head of one packet of TCP between a local pod and one of a random route: all that the engine reads. */
function writeHead(bytes: Uint8Array, at: number, source: number, destination: number, prng: Prng): void {
  writeU16(bytes, at + IPV4.VERSION_IHL, 0x4500);
  writeU16(bytes, at + IPV4.TOTAL_LENGTH, PACKET_BYTES);
  writeU16(bytes, at + IPV4.TTL, (63 << 8) | 6);
  writeU32(bytes, at + IPV4.SOURCE, source);
  writeU32(bytes, at + IPV4.DESTINATION, destination);
  writeU16(bytes, at + IPV4.CHECKSUM, internetChecksum(bytes, at, IPV4.HEADER_BYTES));
  writeU32(bytes, at + IPV4.HEADER_BYTES, prng.u32());
}

/** Heads of FLOWS packets as 32-bit words, outer header first where `inbound`. */
function headsOf(inbound: boolean): Uint32Array {
  const prng = new Prng(7);
  const bytes = new Uint8Array(FLOWS * HEAD_BYTES);
  for (let flow = 0; flow < FLOWS; flow++) {
    const at = flow * HEAD_BYTES + (inbound ? ENCAPSULATION_BYTES : 0);
    const route = prng.below(ROUTES);
    const local = LOCAL + prng.below(65_536);
    const remote = REMOTE + route * 256 + prng.below(256);
    writeHead(bytes, at, inbound ? remote : local, inbound ? local : remote, prng);
    if (inbound) encapsulate(bytes, at, PACKET_BYTES, gatewayOf(route), OURS, 0, 64, flow, IPV4.DF);
  }
  return new Uint32Array(bytes.buffer);
}

/** Gives a full batch each time, of flow after flow, and takes all it is given: what is measured is the engine, and a copy of 48 bytes. */
class Tap implements PacketIo {
  readonly calls = new Float64Array(1);
  readonly #heads: Uint32Array | undefined;
  readonly #length: number;
  #words: Uint32Array | undefined;
  #flow = 0;

  constructor(heads: Uint32Array | undefined, length: number) {
    this.#heads = heads;
    this.#length = length;
  }

  receive(batch: Batch): number {
    const heads = this.#heads;
    if (heads === undefined) return 0;
    this.#words ??= new Uint32Array(batch.bytes.buffer, 0, batch.bytes.length >>> 2);
    const words = this.#words;
    for (let i = 0; i < BATCH_MAX; i++) {
      const from = this.#flow * (HEAD_BYTES / 4);
      const at = batch.roomFor(i, this.#length);
      const to = at >>> 2;
      for (let word = 0; word < HEAD_BYTES / 4; word++) words[to + word] = heads[from + word]!;
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
  const offload = loadNative();
  enterEpoch(words, 0);
  return new Engine({
    device,
    underlay,
    offload,
    coalesceFeatures: 0,
    words,
    counters,
    icmp,
    engine: 0,
    engines: 1,
  });
}

export interface EngineLoad {
  /** One turn of the shipped engine: every rule of the design on PACKETS_PER_CALL packets of many flows, without the kernel. */
  outbound(): void;
  inbound(): void;
  /** The copy of a head into each packet's slot that both contain: it stands for the kernel. */
  copy(): void;
}

export function engineLoad(): EngineLoad {
  const fib = makeFib();
  const silent = new Tap(undefined, 0);
  const outbound = engineOf(fib, new Tap(headsOf(false), PACKET_BYTES), silent);
  const inbound = engineOf(fib, silent, new Tap(headsOf(true), PACKET_BYTES + ENCAPSULATION_BYTES));
  for (const engine of [outbound, inbound]) {
    // A load that measured how fast packets are dropped would be the best one of all.
    if (engine.turn() !== 2 * BATCH_MAX) throw new Error('not every packet was forwarded');
  }
  const tap = new Tap(headsOf(false), PACKET_BYTES);
  const { fromDevice } = new Slab();
  return {
    outbound: () => void outbound.turn(),
    inbound: () => void inbound.turn(),
    copy: () => void tap.receive(fromDevice),
  };
}
