import { readFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../src/base/clock.ts';
import { counterBytes } from '../src/dataplane/counters.ts';
import { Engine } from '../src/dataplane/engine.ts';
import { ICMP_QUEUE_BYTES, IcmpQueue } from '../src/dataplane/icmp-queue.ts';
import { SENT_HEADERS_BYTES, SentHeaders } from '../src/dataplane/sent-headers.ts';
import type { FibEntry } from '../src/fib/entry.ts';
import { PEERS_MAX } from '../src/fib/layout.ts';
import { enterEpoch, leaveEpoch } from '../src/fib/lookup.ts';
import { BATCH_MAX, type Batch } from '../src/io/batch.ts';
import { loadNative } from '../src/io/load.ts';
import type { PacketIo } from '../src/io/packet-io.ts';
import { writeU16, writeU32 } from '../src/packet/bytes.ts';
import { internetChecksum } from '../src/packet/checksum.ts';
import { IPV4 } from '../src/packet/ipv4.ts';
import { VNET } from '../src/packet/vnet.ts';

/** Engines that run at once at most. */
export const THREADS_MAX = 2;

export const ROUTES = 10_000;
export const OURS = 0xac1f_0102;
export const LOCAL = '10.1.0.0/16';
export const INNER_BYTES = 64;

const LOCAL_ADDRESS = 0x0a01_0000;
const REMOTE_ADDRESS = 0x0b00_0000;
const FIRST_GATEWAY = 0xac1f_0202;
const GATEWAYS = 200;
/** Long beside the ticks in which the kernel counts. */
const RUN_MS = 1000;
const TICK_NS = 10_000_000;

export function routeOf(route: number): FibEntry {
  return {
    cidr: { address: REMOTE_ADDRESS + route * 256, prefixLength: 24 },
    cluster: `cluster-${(route % GATEWAYS) % 20}`,
    gateways: [{ address: FIRST_GATEWAY + (route % GATEWAYS), weight: 1 }],
  };
}

/** The head of packet `number` at `at`: UDP from a pod of ours to one of a route that looks random. */
export function writeInner(bytes: Uint8Array, at: number, number: number): void {
  const route = Math.imul(number, 0x9e37_79b1) >>> 0;
  bytes.fill(0, at, at + INNER_BYTES);
  writeU16(bytes, at + IPV4.VERSION_IHL, 0x4500);
  writeU16(bytes, at + IPV4.TOTAL_LENGTH, INNER_BYTES);
  writeU16(bytes, at + IPV4.TTL, (63 << 8) | 17);
  writeU32(bytes, at + IPV4.SOURCE, LOCAL_ADDRESS + (number & 0xffff));
  writeU32(bytes, at + IPV4.DESTINATION, REMOTE_ADDRESS + (route % (ROUTES * 256)));
  writeU16(bytes, at + IPV4.CHECKSUM, internetChecksum(bytes, at, IPV4.HEADER_BYTES));
}

/** A device on which a full batch always waits, the same packets each time, each in a place of its own. */
class Source implements PacketIo {
  readonly calls = new Float64Array(1);
  #isFilled = false;

  receive(batch: Batch): number {
    for (let i = 0; i < BATCH_MAX; i++) {
      const at = batch.roomFor(i, INNER_BYTES);
      // The engine changes nothing in a packet that needs no change: the header that it writes goes before it, where the vnet header was.
      if (!this.#isFilled) writeInner(batch.bytes, at, i);
      for (let byte = at - VNET.BYTES; byte < at; byte++) batch.bytes[byte] = 0;
      batch.at[i] = at;
      batch.length[i] = INNER_BYTES;
    }
    this.#isFilled = true;
    return BATCH_MAX;
  }

  send(_batch: Batch, from: number, to: number): number {
    return to - from;
  }

  close(): void {}
}

class Sink extends Source {
  override receive(): number {
    return 0;
  }
}

/** Fields 14 and 15 of proc(5), counted behind the name. */
function ownTicks(): number {
  const stat = readFileSync('/proc/thread-self/stat', 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

/**
 * Nanoseconds of this thread's processor time that the shipped engine takes for a packet, with memory for a kernel, while others may do
 * the same: time in which somebody else had the processor does not count, waiting for a cache line does.
 */
function run(image: SharedArrayBuffer, engine: number): void {
  const words = new Uint32Array(image);
  const counters = new Float64Array(new SharedArrayBuffer(counterBytes(PEERS_MAX)));
  const native = loadNative();
  const made = new Engine({
    ...{ device: new Source(), underlay: new Sink(), offload: native, coalesceFeatures: 0, words, counters },
    sent: new SentHeaders(new SharedArrayBuffer(SENT_HEADERS_BYTES)),
    ...{
      icmp: new IcmpQueue(new SharedArrayBuffer(ICMP_QUEUE_BYTES), systemClock),
      engine,
      engines: THREADS_MAX,
    },
  });
  const measure = (): number => {
    const start = performance.now();
    const startTicks = ownTicks();
    let packets = 0;
    while (performance.now() - start < RUN_MS) {
      for (let turn = 0; turn < 100; turn++) {
        enterEpoch(words, engine);
        // Received and sent: each packet moves twice.
        if (made.turn() !== 2 * BATCH_MAX) throw new Error('not every packet was forwarded');
        leaveEpoch(words, engine);
      }
      packets += 100 * BATCH_MAX;
    }
    return ((ownTicks() - startTicks) * TICK_NS) / packets;
  };
  measure();
  parentPort!.on('message', () => parentPort!.postMessage(measure()));
  parentPort!.postMessage('ready');
}

const setup = workerData as { image: SharedArrayBuffer; engine: number } | null;
if (parentPort !== null && setup !== null) run(setup.image, setup.engine);
