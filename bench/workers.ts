import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { parseCidr4 } from '../src/base/address.ts';
import { Fib } from '../src/fib/fib.ts';
import { receiveBatch, slotBytes } from '../src/io/batch.ts';
import { loadNative } from '../src/io/load.ts';
import { openRawIp } from '../src/io/raw-ip.ts';
import { median } from '../src/measure/statistics.ts';
import { encapsulate } from '../src/packet/ipip.ts';
import { IPV4, PROTOCOL } from '../src/packet/ipv4.ts';
import { INNER_BYTES, LOCAL, OURS, ROUTES, routeOf, THREADS_MAX, writeInner } from './engine-thread.ts';
import { answer, inSandbox, say } from './sandboxed.ts';

/**
 * `npm run build && node dist/bench/workers.js`: what several workers cost each other.
 *
 * 1. The kernel hands a clone of each packet to every worker's raw socket and runs its filter, which keeps it for one: nanoseconds a
 *    packet of sending to ourselves and of receiving, with 1 to 8 sockets, in one thread.
 * 2. Engines on threads of their own over one FIB image, with memory for a kernel: processor time a packet, of one alone and of both at
 *    once. Two that shared a line they write would slow each other; two that do not take only what the processor's own sharing takes.
 */
const SOCKETS = [1, 2, 4, 8];
const SOCKET_ROUNDS = 30;
const BATCHES_A_ROUND = 100;
const BATCH = 64;
const ENGINE_ROUNDS = 5;
const LOOPBACK = 0x7f00_0001;
const SENDER = 0x7f00_0002;

interface Figures {
  readonly sockets: readonly {
    readonly count: number;
    readonly sendNs: number;
    readonly receiveNs: number;
  }[];
  readonly engines: readonly { readonly threads: number; readonly nanoseconds: number }[];
}

if (process.argv[2] === 'inside') {
  answer({ sockets: sockets(), engines: await engines() } satisfies Figures);
  process.exit(0);
}
const figures = await inSandbox<Figures>(new URL(import.meta.url), ['inside']);
for (const { count, sendNs, receiveNs } of figures.sockets)
  say(`${count} sockets: ${sendNs.toFixed(0)} ns a packet to deliver, ${receiveNs.toFixed(0)} ns to receive`);
for (const { threads, nanoseconds } of figures.engines)
  say(`${threads} engines at once: ${nanoseconds.toFixed(0)} ns of processor time a packet`);

function sockets(): Figures['sockets'] {
  const native = loadNative();
  const sender = openRawIp(native, { address: SENDER });
  const batch = receiveBatch(new Uint8Array(new SharedArrayBuffer(slotBytes(BATCH))), 0, BATCH);
  const outgoing = receiveBatch(new Uint8Array(new SharedArrayBuffer(slotBytes(BATCH))), 0, BATCH);
  for (let i = 0; i < BATCH; i++) {
    const at = outgoing.roomFor(i, 0);
    writeInner(outgoing.bytes, at + IPV4.HEADER_BYTES, i);
    encapsulate(
      outgoing.view,
      at + IPV4.HEADER_BYTES,
      INNER_BYTES,
      SENDER,
      LOOPBACK,
      0,
      64,
      i + 1,
      IPV4.DF,
      PROTOCOL.IPIP,
    );
    outgoing.at[i] = at;
    outgoing.length[i] = IPV4.HEADER_BYTES + INNER_BYTES;
    outgoing.address[i] = LOOPBACK;
  }
  const rounds = SOCKETS.map((count) => ({ count, sendNs: [] as number[], receiveNs: [] as number[] }));
  for (let round = 0; round < SOCKET_ROUNDS; round++) {
    for (const { count, sendNs, receiveNs } of rounds) {
      const receivers = Array.from({ length: count }, (_, index) =>
        openRawIp(native, { address: LOOPBACK, worker: { index, count } }),
      );
      let sendMs = 0;
      let receiveMs = 0;
      let received = 0;
      for (let i = 0; i < BATCHES_A_ROUND; i++) {
        const start = performance.now();
        sender.send(outgoing, 0, BATCH);
        const sent = performance.now();
        for (const receiver of receivers) received += receiver.receive(batch);
        sendMs += sent - start;
        receiveMs += performance.now() - sent;
      }
      if (received !== BATCHES_A_ROUND * BATCH) throw new Error(`${received} packets with ${count} sockets`);
      sendNs.push((sendMs * 1e6) / received);
      receiveNs.push((receiveMs * 1e6) / received);
      for (const receiver of receivers) receiver.close();
    }
  }
  return rounds.map(({ count, sendNs, receiveNs }) => ({
    ...{ count, sendNs: median(sendNs), receiveNs: median(receiveNs) },
  }));
}

async function engines(): Promise<Figures['engines']> {
  const fib = new Fib();
  fib.configure({
    ...{ source: OURS, tunnelAddress: 0, linkMtuBytes: 1500, ttl: 64, dscp: 'inherit', ecn: 'normal' },
    ...{ fragment: 'inner', clampMss: true, innerSource: 'strict', allowedSources: [], transit: [] },
  });
  fib.setLocal([parseCidr4(LOCAL)]);
  fib.replace(Array.from({ length: ROUTES }, (_, route) => routeOf(route)));
  const threads = await Promise.all(
    Array.from({ length: THREADS_MAX }, async (_, engine) => {
      const thread = new Worker(new URL('./engine-thread.js', import.meta.url), {
        workerData: { image: fib.buffer, engine },
      });
      await once(thread, 'message');
      return thread;
    }),
  );
  const paces = Array.from({ length: THREADS_MAX }, () => [] as number[]);
  for (let round = 0; round < ENGINE_ROUNDS; round++) {
    for (let count = 1; count <= THREADS_MAX; count++) {
      const running = threads.slice(0, count);
      const said = running.map((thread) => once(thread, 'message') as Promise<[number]>);
      for (const thread of running) thread.postMessage('run');
      for (const [pace] of await Promise.all(said)) paces[count - 1]!.push(pace);
    }
  }
  await Promise.all(threads.map((thread) => thread.terminate()));
  return paces.map((values, index) => ({ threads: index + 1, nanoseconds: median(values) }));
}
