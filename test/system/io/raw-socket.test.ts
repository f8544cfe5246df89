import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { isMainThread, Worker } from 'node:worker_threads';
import { parseAddress } from '../../../src/base/address.ts';
import { IcmpSocket } from '../../../src/io/icmp-socket.ts';
import { RawSocketIo } from '../../../src/io/raw-socket.ts';
import { poll } from '../../../src/measure/topology.ts';
import { checksum, firstDifference, ipv4, PROTOCOL } from '../topology/packet-builder.ts';
import { systemTest } from '../topology/scene.ts';
import {
  batchOf,
  get,
  HERE,
  native,
  openDevice,
  outer,
  put,
  receiveAll,
  sendAll,
  THERE,
} from './end-to-end.ts';

async function receiveBySocket(io: RawSocketIo, count: number): Promise<Buffer[]> {
  const batch = batchOf(64);
  const packets: Buffer[] = [];
  await poll(`${count} packets`, 5000, () => {
    const received = io.receive(batch);
    for (let slot = 0; slot < received; slot++) packets.push(get(batch, slot));
    return packets.length >= count;
  });
  return packets;
}

systemTest(
  'over the package raw-socket, packets of 20 to 65,535 bytes pass both ways bit for bit',
  async () => {
    const tun = openDevice();
    const io = RawSocketIo.open({ address: HERE });
    const sizes = [20, 21, 47, 576, 1479, 1480, 1500, 9000, 32_768, 65_534, 65_535];
    const incoming = sizes.map((size, number) => outer(number, size));
    sendAll(tun, batchOf(64), incoming);
    const received = await receiveBySocket(io, sizes.length);
    const outgoing = sizes.map((size, number) => outer(number, size, HERE, THERE));
    sendAll(io, batchOf(64), outgoing, THERE);
    const sent = receiveAll(tun, batchOf(64), sizes.length);
    for (const [got, wanted] of [
      [received, incoming],
      [sent, outgoing],
    ] as const) {
      assert.equal(got.length, wanted.length);
      got.forEach((packet, index) => {
        assert.equal(packet.length, wanted[index]!.length);
        assert.equal(firstDifference(packet, wanted[index]!), -1);
      });
    }
    io.close();
    tun.close();
  },
);

systemTest('the package raw-socket sends while packets keep coming in', async () => {
  const tun = openDevice();
  const io = RawSocketIo.open({ address: HERE });
  const batch = batchOf(64);
  let answered = 0;
  io.onReady(() => {
    // Each arrival brings the next one: there is no turn of the event loop without something to read.
    io.receive(batch);
    put(batch, 0, outer(answered, 60));
    tun.send(batch, 0, 1);
    put(batch, 0, outer(answered, 60, HERE, THERE), THERE);
    answered += io.send(batch, 0, 1);
  });
  put(batch, 0, outer(0, 60));
  tun.send(batch, 0, 1);
  await poll('a hundred answers', 5000, () => answered >= 100);
  io.close();
  tun.close();
});

systemTest('the package raw-socket reports what the kernel refuses as the batch socket does', async () => {
  const tun = openDevice();
  const io = RawSocketIo.open({ address: HERE });
  const batch = batchOf(4);
  for (let slot = 0; slot < 4; slot++) put(batch, slot, outer(slot, 100, HERE, THERE), THERE);
  batch.address[2] = 0xf000_0001;
  assert.equal(io.send(batch, 0, 4), 2);
  assert.equal(io.send(batch, 2, 4), -101);
  assert.equal(io.refused, 1);
  assert.equal(io.send(batch, 3, 4), 1);
  io.close();
  io.close();
  assert.deepEqual([io.send(batch, 0, 1), io.receive(batch)], [-9, -9]);
  tun.close();
});

systemTest(
  'packets that nobody fetches are dropped and counted, those for another address are not taken',
  async () => {
    const tun = openDevice();
    const io = RawSocketIo.open({ address: HERE, receiveBufferBytes: 8192 });
    const other = RawSocketIo.open({ address: parseAddress('10.77.0.200') });
    sendAll(
      tun,
      batchOf(64),
      Array.from({ length: 100 }, (_, number) => outer(number, 60)),
    );
    await poll('drops', 5000, () => io.dropped > 0);
    const kept = 100 - io.dropped;
    const packets = await receiveBySocket(io, kept);
    assert.equal(packets[0]!.readUInt16BE(4), 1);
    assert.equal(packets.length, kept);
    await poll('the other socket to have looked', 5000, () => {
      assert.equal(other.receive(batchOf(64)), 0);
      return other.calls[0]! > kept;
    });
    for (const end of [io, other, tun]) end.close();
  },
);

systemTest('an open socket of the package is not garbage-collected while nobody refers to it', async () => {
  const { setFlagsFromString } = await import('node:v8');
  const { runInNewContext } = await import('node:vm');
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const before = readFileSync('/proc/net/raw', 'utf8').split('\n').length;
  const io = new WeakRef(RawSocketIo.open({ address: HERE }));
  for (let round = 0; round < 5; round++) {
    // A WeakRef holds its target until the turn of the event loop ends.
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
  assert.equal(readFileSync('/proc/net/raw', 'utf8').split('\n').length, before + 1);
  io.deref()!.close();
});

systemTest('in a worker thread the package is refused with what to know', async () => {
  const script = `import(${JSON.stringify(new URL('../../../src/io/raw-socket.js', import.meta.url).href)}).then(
    (io) => io.RawSocketIo.open({ address: 0 })).catch((error) => require('node:worker_threads').parentPort.postMessage(error.code + ' ' + error.message));`;
  const worker = new Worker(script, { eval: true });
  assert.deepEqual(await once(worker, 'message'), [
    'ISTHMUS_ERR_ADDON the package raw-socket works on the main thread only',
  ]);
  assert.ok(isMainThread);
});

systemTest(
  'ICMP: the kernel writes the IP header and chooses the source, and errors that come in are heard',
  async () => {
    const tun = openDevice();
    const icmp = IcmpSocket.open();
    const heard: Buffer[] = [];
    icmp.onReceive((packet, source) => {
      assert.equal(source, '10.77.0.2');
      heard.push(Buffer.from(packet));
    });
    const message = Buffer.alloc(36);
    message.writeUInt8(3, 0);
    message.writeUInt8(4, 1);
    message.writeUInt16BE(checksum(message), 2);
    assert.equal(icmp.send(THERE, message), undefined);
    const [sent] = receiveAll(tun, batchOf(4), 1);
    assert.equal(sent!.readUInt32BE(12), HERE);
    assert.equal(sent!.readUInt8(9), PROTOCOL.ICMP);
    assert.deepEqual(sent!.subarray(20), message);
    assert.equal(icmp.send(0xf000_0001, message)?.errno, 'ENETUNREACH');

    const packet = (type: number) => {
      const payload = Buffer.from(message);
      payload.writeUInt8(type, 0);
      payload.writeUInt16BE(0, 2);
      payload.writeUInt16BE(checksum(payload), 2);
      return ipv4({ source: '10.77.0.2', destination: '10.77.0.1', protocol: PROTOCOL.ICMP, payload });
    };
    // Echo replies (0) are not for us; they are filtered out by the kernel.
    sendAll(tun, batchOf(4), [packet(0), packet(3), packet(11)]);
    await poll('two ICMP errors', 5000, () => heard.length === 2);
    assert.deepEqual(
      heard.map((one) => one.readUInt8(20)),
      [3, 11],
    );
    icmp.close();
    icmp.close();
    assert.equal(icmp.send(THERE, message)?.errno, 'EBADF');
    tun.close();
    assert.equal(native.deviceIndex(tun.name), -19);
  },
);
