import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { formatAddress } from '../../../src/base/address.ts';
import { openRawIp } from '../../../src/io/raw-ip.ts';
import { poll } from '../../../src/measure/topology.ts';
import { ipv4, PROTOCOL, udp } from '../topology/packet-builder.ts';
import { systemTest } from '../topology/scene.ts';
import type { EchoSetup } from './echo-worker.ts';
import { batchOf, HERE, native, openDevice, receiveAll, sendAll, THERE } from './end-to-end.ts';

const LOOPBACK = 0x7f00_0001;

interface Started {
  readonly worker: Worker;
  readonly wake: number;
  readonly ready: Promise<unknown>;
  end(): Promise<void>;
}

function startWorker(underlay: number, hold = false): Started {
  const wake = native.wakeOpen();
  const control = new SharedArrayBuffer(4);
  const workerData: EchoSetup = { underlay, wake, control, hold };
  const worker = new Worker(new URL('./echo-worker.js', import.meta.url), { workerData });
  return {
    worker,
    wake,
    ready: once(worker, 'message'),
    // Not terminate(): nothing interrupts a blocking poll.
    async end() {
      const exit = once(worker, 'exit');
      Atomics.store(new Int32Array(control), 0, 1);
      native.wakeSignal(wake);
      await exit;
      native.close(wake);
    },
  };
}

/** Outer packets, each around a UDP datagram of its own flow that carries its number. */
function flows(count: number): Buffer[] {
  return Array.from({ length: count }, (_, number) => {
    const data = Buffer.alloc(4);
    data.writeUInt32BE(number);
    const inner = ipv4({
      source: `10.1.0.${number % 200}`,
      destination: `10.2.0.${(number * 7) % 200}`,
      protocol: PROTOCOL.UDP,
      payload: udp(1024 + number, 53, data),
    });
    return ipv4({
      source: formatAddress(THERE),
      destination: formatAddress(HERE),
      protocol: PROTOCOL.IPIP,
      payload: inner,
      id: number + 1,
    });
  });
}

for (const count of [2, 3, 4]) {
  systemTest(`${count} sockets with the sharing program receive each packet exactly once`, async () => {
    const tun = openDevice();
    const sockets = Array.from({ length: count }, (_, index) => {
      return openRawIp(native, { address: HERE, worker: { index, count } });
    });
    const batch = batchOf(64);
    const packets = flows(1000);
    sendAll(tun, batch, packets);
    // The kernel delivers within the system call that writes, so what is not there now never comes.
    const seen = new Map<number, number>();
    const shares = sockets.map((socket) => {
      const received = receiveAll(socket, batch, 1);
      for (;;) {
        const more = socket.receive(batch);
        if (more === 0) break;
        for (let slot = 0; slot < more; slot++) {
          const at = batch.at[slot]!;
          received.push(Buffer.from(batch.bytes.slice(at, at + batch.length[slot]!)));
        }
      }
      for (const packet of received) {
        const number = packet.readUInt32BE(48);
        seen.set(number, (seen.get(number) ?? 0) + 1);
      }
      return received.length;
    });
    assert.equal(seen.size, packets.length);
    assert.ok([...seen.values()].every((times) => times === 1));
    assert.ok(Math.min(...shares) > (packets.length / count) * 0.7, shares.join(' '));
    for (const end of [tun, ...sockets]) end.close();
  });
}

systemTest(
  'three workers load the addon at once and pass packets, each on its own queue and socket',
  async () => {
    const tun = openDevice({ multiQueue: true });
    const before = readdirSync('/proc/self/fd').length;
    const workers = [0, 1, 2].map((index) => {
      const socket = openRawIp(native, { address: HERE, worker: { index, count: 3 } });
      return { socket, ...startWorker(socket.fd) };
    });
    await Promise.all(workers.map(({ ready }) => ready));
    const packets = flows(600);
    sendAll(tun, batchOf(64), packets);
    const counts = new Int32Array(3);
    await poll('the workers have received all packets', 5000, async () => {
      const answers = await Promise.all(
        workers.map(async ({ worker, wake }) => {
          const answer = once(worker, 'message');
          native.wakeSignal(wake);
          return ((await answer) as [number])[0];
        }),
      );
      counts.set(answers);
      return answers.reduce((sum, one) => sum + one, 0) === packets.length ? true : undefined;
    });
    assert.ok(counts.every((count) => count > 0));
    for (const { end, socket } of workers) {
      await end();
      socket.close();
    }
    await poll('all descriptors of the workers are closed', 5000, async () => {
      return readdirSync('/proc/self/fd').length <= before ? true : undefined;
    });
    tun.close();
  },
);

systemTest('a signal from another thread ends a poll without a time limit', async () => {
  const socket = openRawIp(native, { address: LOOPBACK });
  const { worker, wake, ready, end } = startWorker(socket.fd);
  await ready;
  for (let round = 0; round < 100; round++) {
    const answer = once(worker, 'message');
    assert.equal(native.wakeSignal(wake), 0);
    assert.deepEqual(await answer, [0]);
  }
  await end();
  socket.close();
});

systemTest('a worker that ends while it watches a descriptor takes nothing down', async () => {
  const socket = openRawIp(native, { address: LOOPBACK });
  for (let round = 0; round < 4; round++) {
    const { worker, wake, ready } = startWorker(socket.fd, true);
    await ready;
    const exit = once(worker, 'exit');
    if (round % 2 === 0) await worker.terminate();
    else worker.postMessage('end');
    await exit;
    assert.equal(native.close(wake), 0);
  }
  socket.close();
});

systemTest('a watcher calls until it is taken off, and its callback may take it off', async () => {
  const wake = native.wakeOpen();
  let calls = 0;
  const watcher = native.watch(wake, () => {
    calls++;
    native.wakeDrain(wake);
    if (calls === 3) native.unwatch(watcher);
    else native.wakeSignal(wake);
  });
  assert.throws(() => native.watch(wake, () => {}), { code: 'EEXIST' });
  native.wakeSignal(wake);
  await poll('the third call', 5000, async () => (calls === 3 ? true : undefined));
  native.wakeSignal(wake);
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(calls, 3);
  native.close(wake);
});

systemTest('what the callback of a watcher throws is an uncaught exception', async () => {
  const wake = native.wakeOpen();
  const thrown = new Error('from the callback');
  const caught = new Promise((resolve) => process.prependOnceListener('uncaughtException', resolve));
  // The test runner's own listener would call the test failed.
  const others = process.listeners('uncaughtException').slice(1);
  for (const other of others) process.off('uncaughtException', other);
  const watcher = native.watch(wake, () => {
    native.unwatch(watcher);
    throw thrown;
  });
  native.wakeSignal(wake);
  assert.equal(await caught, thrown);
  for (const other of others) process.on('uncaughtException', other);
  native.close(wake);
});
