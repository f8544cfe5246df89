/**
 * Runs the shipped engine with mixed traffic, all that a host and the underlay may hand to it, and lets V8 tell (`--trace-deopt`) what
 * optimised code it throws away. Between the two marks, functions that are deoptimised on purpose, stands the steady state. The last line
 * is JSON: the packets of that phase, and heap bytes for each in the loop after it.
 */
import { runInThisContext } from 'node:vm';
import { Prng } from '../../src/base/prng.ts';
import { counterBytes } from '../../src/dataplane/counters.ts';
import { Engine } from '../../src/dataplane/engine.ts';
import { ICMP_QUEUE_BYTES, IcmpQueue } from '../../src/dataplane/icmp-queue.ts';
import { SENT_HEADERS_BYTES, SentHeaders } from '../../src/dataplane/sent-headers.ts';
import { BATCH_MAX, type Batch } from '../../src/io/batch.ts';
import { loadNative } from '../../src/io/load.ts';
import { COALESCE } from '../../src/io/native.ts';
import type { PacketIo } from '../../src/io/packet-io.ts';
import { VNET } from '../../src/packet/vnet.ts';
import { LOCAL, mixedFib, REMOTE, somePacket, someTunnelled } from '../unit/dataplane/mixed-packets.ts';
import { HandClock, SETTINGS } from '../unit/dataplane/rig.ts';
import { PLAIN, superPacket, vnetOf } from '../unit/io/super-packets.ts';
import { bytesPerCall } from './heap-meter.ts';

const SEED = 2003;
/** Different packets of each direction; every kind of them comes many times before the steady state. */
const PACKETS = 4096;
const TURNS = 2500;
/** Of packets of the host, so many are uncut. */
const UNCUT_SHARE = 0.05;

interface Kept {
  readonly packet: Uint8Array;
  readonly vnet: Uint8Array;
}

/** Gives a full batch each time, of one packet after the other, and takes all it is given. */
class Replay implements PacketIo {
  readonly calls = new Float64Array(1);
  readonly #packets: readonly Kept[];
  #next = 0;

  constructor(packets: readonly Kept[]) {
    this.#packets = packets;
  }

  receive(batch: Batch): number {
    for (let i = 0; i < BATCH_MAX; i++) {
      const { packet, vnet } = this.#packets[this.#next]!;
      this.#next = (this.#next + 1) % this.#packets.length;
      const at = batch.roomFor(i, packet.length);
      // TypedArray.prototype.set would allocate at each call.
      for (let j = 0; j < vnet.length; j++) batch.bytes[at - vnet.length + j] = vnet[j]!;
      for (let j = 0; j < packet.length; j++) batch.bytes[at + j] = packet[j]!;
      batch.at[i] = at;
      batch.length[i] = packet.length;
    }
    return BATCH_MAX;
  }

  send(_batch: Batch, from: number, to: number): number {
    return to - from;
  }

  close(): void {}
}

function fromHost(prng: Prng): Kept {
  if (!prng.chance(UNCUT_SHARE)) {
    return { packet: somePacket(prng, LOCAL, REMOTE), vnet: new Uint8Array(VNET.BYTES) };
  }
  const shape = {
    ...{ ...PLAIN, isTcp: prng.chance(0.8), payloadBytes: 1 + prng.below(20_000), tcpFlags: 0x18 },
    ...{ source: prng.pick(LOCAL), destination: prng.pick(REMOTE), dontFragment: prng.chance(0.8) },
  };
  return { packet: superPacket(shape), vnet: vnetOf(shape, prng.pick([500, 1000, 1400, 1440])) };
}

function mixedEngine(): Engine {
  const prng = new Prng(SEED);
  const fib = mixedFib();
  fib.configure(SETTINGS);
  const many = (make: () => Kept): Kept[] => Array.from({ length: PACKETS }, make);
  const clock = new HandClock();
  return new Engine({
    device: new Replay(many(() => fromHost(prng))),
    underlay: new Replay(many(() => ({ packet: someTunnelled(prng), vnet: new Uint8Array(VNET.BYTES) }))),
    ...{ offload: loadNative(), coalesceFeatures: COALESCE.UDP, words: fib.words },
    counters: new Float64Array(new SharedArrayBuffer(counterBytes(64))),
    icmp: new IcmpQueue(new SharedArrayBuffer(ICMP_QUEUE_BYTES), clock),
    sent: new SentHeaders(new SharedArrayBuffer(SENT_HEADERS_BYTES)),
    ...{ engine: 0, engines: 1 },
  });
}

const engine = mixedEngine();

function turns(): void {
  for (let turn = 0; turn < TURNS; turn++) engine.turn();
}

function steadyBegins(value: number): number {
  return value + 1;
}

function steadyEnds(value: number): number {
  return value + 2;
}

/** V8's own words, `--allow-natives-syntax`: no loop of ours would say for sure that a function is optimised by itself. */
const optimise = runInThisContext(
  '(f) => { %PrepareFunctionForOptimization(f); f(1); f(2); %OptimizeFunctionOnNextCall(f); f(3); }',
) as (f: (value: number) => number) => void;

optimise(steadyBegins);
optimise(steadyEnds);
turns();
turns();
steadyBegins('not a number' as never);
turns();
steadyEnds('not a number' as never);
const heapBytes = bytesPerCall(TURNS * 2 * BATCH_MAX, turns);
process.stdout.write(`\n${JSON.stringify({ packets: TURNS * 2 * BATCH_MAX, heapBytes })}\n`);
