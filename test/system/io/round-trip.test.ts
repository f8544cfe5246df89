import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { CALL_PACKETS_MAX } from '../../../src/io/native.ts';
import { Netlink } from '../../../src/io/netlink.ts';
import { openRawIp } from '../../../src/io/raw-ip.ts';
import { openTun, TUN_OFFLOAD } from '../../../src/io/tun.ts';
import { VNET } from '../../../src/packet/vnet.ts';
import { firstDifference } from '../topology/packet-builder.ts';
import { systemTest } from '../topology/scene.ts';
import { batchOf, HERE, native, openDevice, outer, put, receiveAll, sendAll, THERE } from './end-to-end.ts';

/** Every size around the headers, then in steps that are no multiple of anything, then the largest. */
const SIZES = [
  ...Array.from({ length: 200 }, (_, index) => 20 + index),
  ...Array.from({ length: 50 }, (_, index) => 1400 + index * 5),
  ...Array.from({ length: 40 }, (_, index) => 2003 + index * 1583),
  65_534,
  65_535,
];

function assertSame(received: readonly Buffer[], sent: readonly Buffer[]): void {
  assert.equal(received.length, sent.length);
  received.forEach((packet, index) => {
    assert.equal(packet.length, sent[index]!.length);
    assert.equal(firstDifference(packet, sent[index]!), -1, `packet ${index} of ${packet.length} bytes`);
  });
}

for (const capacity of [1, 64, CALL_PACKETS_MAX]) {
  systemTest(
    `packets of 20 to 65,535 bytes go from the TUN device to the raw socket bit for bit, ${capacity} a call`,
    async () => {
      const tun = openDevice();
      const raw = openRawIp(native, { address: HERE, receiveBufferBytes: 64 << 20 });
      const [sending, receiving] = [batchOf(capacity), batchOf(capacity)];
      const packets = SIZES.map((length, number) => outer(number, length));
      sendAll(tun, sending, packets);
      assertSame(receiveAll(raw, receiving, packets.length), packets);
      assert.equal(raw.receive(receiving), 0);
      assert.equal(raw.takeOverflow(), 0);
      tun.close();
      raw.close();
    },
  );

  systemTest(
    `packets of 20 to 65,535 bytes go from the raw socket to the TUN device bit for bit, ${capacity} a call`,
    async () => {
      const tun = openDevice();
      const raw = openRawIp(native, { address: HERE, sendBufferBytes: 64 << 20 });
      const [sending, receiving] = [batchOf(capacity), batchOf(capacity)];
      const packets = SIZES.map((length, number) => outer(number, length, HERE, THERE));
      sendAll(raw, sending, packets, THERE);
      assertSame(receiveAll(tun, receiving, packets.length), packets);
      tun.close();
      raw.close();
    },
  );
}

systemTest('with a vnet header, packets have the same bytes and the header lies before them', async () => {
  const tun = openDevice({ vnetHeader: true });
  tun.setOffload(TUN_OFFLOAD.CHECKSUM);
  const raw = openRawIp(native, { address: HERE });
  const batch = batchOf(8);
  const packets = [20, 21, 1480].map((length, number) => outer(number, length));
  sendAll(tun, batch, packets);
  assertSame(receiveAll(raw, batch, 3), packets);

  const back = outer(5, 999, HERE, THERE);
  sendAll(raw, batch, [back], THERE);
  batch.bytes.fill(0xff);
  assertSame(receiveAll(tun, batch, 1), [back]);
  const at = batch.at[0]!;
  assert.deepEqual([...batch.bytes.slice(at - VNET.BYTES, at)], new Array(VNET.BYTES).fill(0));
  tun.close();
  raw.close();
});

systemTest('a refused packet ends the batch before it, and is the first of the next call', async () => {
  const tun = openDevice();
  const raw = openRawIp(native, { address: HERE });
  const batch = batchOf(4);
  for (let slot = 0; slot < 4; slot++) put(batch, slot, outer(slot, 100, HERE, THERE), THERE);
  // Nothing routes to 240.0.0.1 here.
  batch.address[2] = 0xf000_0001;
  assert.equal(raw.send(batch, 0, 4), 2);
  assert.equal(raw.send(batch, 2, 4), -101);
  assert.equal(raw.send(batch, 3, 4), 1);

  // No IP version: the TUN driver of a device without packet information has nothing to tell the protocol by.
  for (let slot = 0; slot < 4; slot++) put(batch, slot, outer(slot, 100));
  batch.bytes[batch.at[1]!] = 0;
  assert.equal(tun.send(batch, 0, 4), 1);
  assert.equal(tun.send(batch, 1, 4), -22);
  assert.equal(tun.send(batch, 2, 4), 2);
  tun.close();
  raw.close();
});

systemTest('a packet above the MTU of the way is refused with EMSGSIZE, even with DF clear', async () => {
  const tun = openDevice();
  const netlink = new Netlink(native);
  netlink.setLink(native.deviceIndex(tun.name), { mtuBytes: 1500 });
  const raw = openRawIp(native, { address: HERE });
  const batch = batchOf(1);
  const packet = outer(1, 1501, HERE, THERE);
  packet.writeUInt16BE(0, 6);
  put(batch, 0, packet, THERE);
  assert.equal(raw.send(batch, 0, 1), -90);
  put(batch, 0, outer(1, 1500, HERE, THERE), THERE);
  assert.equal(raw.send(batch, 0, 1), 1);
  tun.close();
  raw.close();
  netlink.close();
});

systemTest(
  'a socket bound to one address does not receive what is sent to another of this host',
  async () => {
    const tun = openDevice();
    const raw = openRawIp(native, { address: 0x7f00_0001 });
    const all = openRawIp(native, { address: 0 });
    const batch = batchOf(4);
    sendAll(tun, batch, [outer(1, 60)]);
    assert.equal(receiveAll(all, batch, 1).length, 1);
    assert.equal(raw.receive(batch), 0);
    for (const io of [tun, raw, all]) io.close();
  },
);

systemTest('what a full receive buffer drops is counted, exactly', async () => {
  const tun = openDevice();
  // The kernel's least buffer: a few packets.
  const raw = openRawIp(native, { address: HERE, receiveBufferBytes: 1 });
  const batch = batchOf(64);
  const packets = Array.from({ length: 500 }, (_, number) => outer(number, 1000));
  sendAll(tun, batch, packets);
  const received = receiveAll(raw, batch, 1).length;
  const dropped = raw.takeOverflow();
  assert.ok(received < 500);
  assert.equal(received + dropped, 500);
  assert.equal(raw.takeOverflow(), 0);
  tun.close();
  raw.close();
});

systemTest(
  'a device in use without multi-queue is busy, and the message says whose fault that is',
  async () => {
    const tun = openDevice();
    assert.throws(() => openTun(native, { name: tun.name }), /EBUSY; another process holds the device/);
    assert.throws(
      () => openTun(native, { name: tun.name, multiQueue: true }),
      /EINVAL; a device of that name exists/,
    );
    assert.throws(
      () => openTun(native, { name: 'lo' }),
      /EINVAL; a device of that name exists and is no TUN device/,
    );
    tun.close();
  },
);

systemTest(
  'a kept device stays when its last queue is closed, one that is no longer kept vanishes',
  async () => {
    const tun = openDevice();
    tun.keep(true);
    tun.close();
    assert.ok(native.deviceIndex(tun.name) > 0);
    const again = openTun(native, { name: tun.name });
    again.keep(false);
    again.close();
    assert.equal(native.deviceIndex(tun.name), -19);
  },
);

systemTest('a device that is down refuses packets with an errno', async () => {
  const tun = openDevice();
  const netlink = new Netlink(native);
  netlink.setLink(native.deviceIndex(tun.name), { up: false });
  const batch = batchOf(1);
  put(batch, 0, outer(1, 100));
  assert.equal(tun.send(batch, 0, 1), -5);
  assert.equal(tun.receive(batch), 0);
  netlink.close();
  tun.close();
});

systemTest(
  'opening and closing again and again leaves no descriptor behind, and closing twice does no harm',
  async () => {
    const before = readdirSync('/proc/self/fd').length;
    for (let cycle = 0; cycle < 1000; cycle++) {
      const raw = openRawIp(native, { address: 0x7f00_0001, worker: { index: 1, count: 2 } });
      const netlink = new Netlink(native);
      const ends: { close(): void }[] = [raw, netlink];
      // The kernel takes 10 ms to remove a TUN queue, so fewer of these.
      if (cycle % 50 === 0) {
        for (let queue = 0; queue < 3; queue++)
          ends.push(openTun(native, { name: 'cycle', multiQueue: true }));
      }
      const wake = native.wakeOpen();
      const watcher = native.watch(wake, () => {});
      native.unwatch(watcher);
      native.unwatch(watcher);
      native.close(wake);
      for (const end of ends) end.close();
      const other = native.wakeOpen();
      for (const end of ends) end.close();
      assert.equal(native.wakeSignal(other), 0, 'the second close hit nobody else');
      native.close(other);
    }
    assert.equal(readdirSync('/proc/self/fd').length, before);
  },
);
