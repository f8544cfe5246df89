import { Buffer } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { loadNative } from '../../../../src/io/load.ts';
import type { DeliveredRequest, UdpLoadAnswer, UdpLoadRequest } from '../agent-commands.ts';
import { addressNumber, IP_HEADER_BYTES, ipv4, PROTOCOL, udp } from '../packet-builder.ts';
import { monotonicMs } from './monotonic.ts';

/** Packets of one sendmmsg, and the number of flows (source ports) that the load spreads over. */
const BATCH = 64;
const FIRST_PORT = 20_000;
const BUFFER_BYTES = 8 << 20;

/** How long the sender sleeps when it is ahead: at 100,000 packets/s that is a burst of five, and the core is free meanwhile. */
const PAUSE_MS = 0.05;
const cell = new Int32Array(new SharedArrayBuffer(4));

/** Sends small datagrams at a rate, or as fast as the kernel takes them, between two moments of the monotonic clock. */
export function udpLoad(request: UdpLoadRequest): UdpLoadAnswer {
  const { destination, port, payloadBytes, packetsPerSecond, startAt, durationMs } = request;
  const packetBytes = IP_HEADER_BYTES + 8 + payloadBytes;
  const bytes = Buffer.alloc(BATCH * packetBytes);
  const at = Int32Array.from({ length: BATCH }, (_, slot) => slot * packetBytes);
  const length = new Int32Array(BATCH).fill(packetBytes);
  const pieces = new Int32Array(BATCH);
  const address = new Uint32Array(BATCH).fill(addressNumber(destination));
  for (let slot = 0; slot < BATCH; slot++) {
    const payload = udp(FIRST_PORT + slot, port, Buffer.alloc(payloadBytes, slot));
    // The source is left to the kernel, which takes that of the route.
    ipv4({ source: '0.0.0.0', destination, protocol: PROTOCOL.UDP, payload }).copy(bytes, at[slot]!);
  }
  const native = loadNative();
  const fd = native.rawOpen(PROTOCOL.UDP, 0, BUFFER_BYTES);
  if (fd < 0) throw new Error(`raw socket: errno ${-fd}`);
  try {
    // A raw UDP socket that receives would get a copy of all that comes in; a filter that takes nothing spares the kernel the copy.
    native.rawFilter(fd, Uint32Array.of(0x06, 0));
    while (monotonicMs() < startAt) Atomics.wait(cell, 0, 0, Math.max(0.01, startAt - monotonicMs()));
    const end = startAt + durationMs;
    let sent = 0;
    let refused = 0;
    for (;;) {
      const now = monotonicMs();
      if (now >= end) return { sent, refused };
      const due = packetsPerSecond === null ? BATCH : ((now - startAt) * packetsPerSecond) / 1000 - sent;
      if (due < 1) {
        Atomics.wait(cell, 0, 0, PAUSE_MS);
        continue;
      }
      const from = sent % BATCH;
      const to = Math.min(BATCH, from + Math.floor(due));
      const result = native.rawSend(fd, bytes, at, length, pieces, address, from, to);
      if (result > 0) sent += result;
      else refused++;
    }
  } finally {
    native.close(fd);
  }
}

/** A socket that is bound and never read: the kernel delivers to it without an ICMP error, and no reader takes part of the machine. */
const SINK = `
const { parentPort, workerData } = require('node:worker_threads');
const socket = require('node:dgram').createSocket('udp4');
socket.bind(workerData, () => {
  parentPort.postMessage(null);
  // Blocked from the next turn on, so that the message above gets out.
  setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
});
`;

export async function udpSink(port: number): Promise<null> {
  const worker = new Worker(SINK, { eval: true, workerData: port });
  await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  return null;
}

/** How many packets the kernel had handed to UDP, TCP, ICMP and the like in this namespace, at moments of the monotonic clock. */
export async function delivered(request: DeliveredRequest): Promise<readonly number[]> {
  const counts: number[] = [];
  for (const moment of request.at) {
    const ms = moment - monotonicMs();
    // Node's timers count whole milliseconds: sleep short of it, and the rest exactly.
    if (ms > 2) await sleep(ms - 2);
    while (monotonicMs() < moment) Atomics.wait(cell, 0, 0, Math.max(0.01, moment - monotonicMs()));
    counts.push(inDelivers());
  }
  return counts;
}

function inDelivers(): number {
  const [names, values] = readFileSync('/proc/self/net/snmp', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('Ip:'))
    .map((line) => line.split(' '));
  return Number(values![names!.indexOf('InDelivers')]);
}
