import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { createSocket } from 'node:dgram';
import { test } from 'node:test';
import { loadNative } from '../../../../src/io/load.ts';
import { LOAD } from '../../../../src/io/native.ts';
import { DatagramSink, sendDatagrams } from '../../../../src/measure/load/datagrams.ts';
import { monotonicNs } from '../../../../src/measure/load/monotonic.ts';
import { payloadsOf } from '../../../../src/measure/load/sizes.ts';
import { StreamSink, sendStreams } from '../../../../src/measure/load/streams.ts';
import { echoProbes, measureTrips } from '../../../../src/measure/load/trips.ts';

const native = loadNative();
const HOST = '127.0.0.1';
/** Below the ports that the kernel gives out by itself. */
const PORT = 20_000 + (process.pid % 10_000);
const MAGIC = 0x49535448;

test('the receiver counts each packet of its run once, and none of another', async () => {
  const sink = new DatagramSink(native, PORT);
  const load = { destination: HOST, port: PORT, flows: 3, perSecond: 10_000, durationMs: 20 };
  const payloadBytes = payloadsOf('imix');
  const other = await sendDatagrams(native, { ...load, payloadBytes, run: 6, startAtNs: monotonicNs() });
  const ours = await sendDatagrams(native, { ...load, payloadBytes, run: 7, startAtNs: monotonicNs() });
  const answer = await sink.receive({ run: 7, endAtNs: monotonicNs() + 1e6, graceMs: 20 });
  native.close(sink.fd);
  assert.ok(other.sent > 0);
  assert.ok(ours.sent > 0 && ours.sent <= 200, String(ours.sent));
  assert.deepEqual([answer.arrived, answer.duplicates, answer.reordered], [ours.sent, 0, 0]);
});

/** A head as load.h draws it. */
function head(run: number, flow: number, sequence: number): Buffer {
  const bytes = Buffer.alloc(LOAD.HEAD_BYTES);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt32BE(run, 4);
  bytes.writeUInt16BE(flow, 8);
  bytes.writeUInt32BE(sequence, 12);
  return bytes;
}

test('overtaken packets and duplicates are told apart, flow by flow', async () => {
  const sink = new DatagramSink(native, PORT);
  const socket = createSocket('udp4');
  const send = (packet: Buffer): Promise<unknown> =>
    new Promise((resolve) => socket.send(packet, PORT, HOST, resolve));
  for (const sequence of [0, 2, 1, 2, 700, 699, 3]) await send(head(9, 0, sequence));
  for (const sequence of [0, 1, 1]) await send(head(9, 1, sequence));
  for (const stray of [head(9, LOAD.FLOWS_MAX, 0), head(8, 0, 50), Buffer.from('short')]) await send(stray);
  socket.close();
  const answer = await sink.receive({ run: 9, endAtNs: monotonicNs() + 1e6, graceMs: 10 });
  native.close(sink.fd);
  // 3 lies so far behind 700 that it cannot be told from a duplicate; it counts as overtaken.
  assert.deepEqual([answer.arrived, answer.duplicates, answer.reordered], [8, 2, 3]);
});

test('draining takes what waits', async () => {
  const sink = new DatagramSink(native, PORT);
  const load = { destination: HOST, port: PORT, flows: 1, payloadBytes: [100], perSecond: 10_000 };
  await sendDatagrams(native, { ...load, run: 1, durationMs: 5, startAtNs: monotonicNs() });
  await sink.drain(5, 1000);
  const answer = await sink.receive({ run: 1, endAtNs: monotonicNs() + 1e6, graceMs: 5 });
  native.close(sink.fd);
  assert.equal(answer.arrived, 0);
});

test('each probe that is echoed has a round-trip time', async () => {
  const sink = new DatagramSink(native, PORT);
  const echoing = echoProbes(native, sink.fd, 3, monotonicNs() + 150e6);
  const probes = { destination: HOST, port: PORT, payloadBytes: 36, run: 3, count: 10, intervalMs: 1 };
  const answer = await measureTrips(native, { ...probes, timeoutMs: 5000 });
  assert.equal((await echoing).echoed, 10);
  native.close(sink.fd);
  assert.equal(answer.sent, 10);
  assert.equal(answer.microseconds.length, 10);
  assert.ok(answer.microseconds.every((trip) => trip > 0));
});

test('probes of another run are not echoed, and nobody waits for them for ever', async () => {
  const sink = new DatagramSink(native, PORT);
  const echoing = echoProbes(native, sink.fd, 4, monotonicNs() + 50e6);
  const probes = { destination: HOST, port: PORT, payloadBytes: 36, run: 3, count: 2, intervalMs: 1 };
  const answer = await measureTrips(native, { ...probes, timeoutMs: 50 });
  assert.equal((await echoing).echoed, 0);
  native.close(sink.fd);
  assert.deepEqual(answer, { sent: 2, microseconds: [] });
});

test('streams carry bytes over every connection until their end', async () => {
  const sink = new StreamSink(native, PORT);
  const startAtNs = monotonicNs();
  const receiving = sink.receive({ startAtNs, endAtNs: startAtNs + 150e6 });
  const request = { destination: HOST, port: PORT, connections: 4, mss: 88, startAtNs };
  const sent = await sendStreams(native, { ...request, endAtNs: startAtNs + 60e6 });
  const received = await receiving;
  sink.close();
  assert.ok(sent.bytes > 0);
  assert.equal(received.bytes, sent.bytes);
});

test('a receiver that has counted reads on until the sender is done, which so meets no reset', async () => {
  const sink = new StreamSink(native, PORT);
  const startAtNs = monotonicNs();
  const receiving = sink.receive({ startAtNs, endAtNs: startAtNs + 30e6 });
  const request = { destination: HOST, port: PORT, connections: 1, mss: null, startAtNs };
  const sent = await sendStreams(native, { ...request, endAtNs: startAtNs + 100e6 });
  const received = await receiving;
  sink.close();
  assert.ok(received.bytes < sent.bytes);
});

test('a stream to a port where nobody listens fails with the error and the address', async () => {
  const startAtNs = monotonicNs();
  const request = { destination: HOST, port: PORT, connections: 1, mss: null, startAtNs };
  await assert.rejects(
    sendStreams(native, { ...request, endAtNs: startAtNs + 1e9 }),
    new RegExp(`TCP to ${HOST}:${PORT}.*ECONNREFUSED`),
  );
});
