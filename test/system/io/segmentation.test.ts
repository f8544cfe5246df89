import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { parseAddress } from '../../../src/base/address.ts';
import type { Batch } from '../../../src/io/batch.ts';
import { COALESCE } from '../../../src/io/native.ts';
import { Netlink } from '../../../src/io/netlink.ts';
import { sealHeader } from '../../sim/oracle/wire.ts';
import { Flow } from '../../unit/io/flow-packets.ts';
import { makePartial, segmentsOf, tcpPacket, udpPacket } from '../../unit/packet/segments.ts';
import { systemTest } from '../topology/scene.ts';
import { batchOf, native, openDevice, put, receiveAll } from './end-to-end.ts';

const MTU_BYTES = 1480;
const BEYOND = parseAddress('10.88.0.1');

/** As a router's next device sends it. */
function forwarded(packet: Uint8Array): Buffer {
  const later = packet.slice();
  later[8]! -= 1;
  sealHeader(later);
  return Buffer.from(later);
}

function coalesced(batch: Batch, packets: readonly Uint8Array[]): number {
  for (const [index, packet] of packets.entries()) {
    put(batch, index, packet);
    batch.packets[index] = 1;
    batch.innerBytes[index] = packet.length;
  }
  const { bytes, at, length, peer, packets: counts, innerBytes, pieces } = batch;
  const columns = [bytes, at, length, peer, counts, innerBytes, pieces] as const;
  return native.coalesce(...columns, packets.length, MTU_BYTES, COALESCE.UDP);
}

systemTest('the kernel makes of a merged packet exactly the segments that it was merged from', async () => {
  const tun = openDevice({ vnetHeader: true });
  tun.setOffload(0);
  // The packets leave by a second device, which takes over no work: the kernel does all of it before.
  const beyond = openDevice();
  const netlink = new Netlink(native);
  netlink.setLink(native.deviceIndex(tun.name), { mtuBytes: MTU_BYTES });
  const index = native.deviceIndex(beyond.name);
  for (const entry of netlink.addresses()) {
    const { address, prefixLength } = entry;
    if (entry.deviceIndex === index && typeof address === 'number')
      netlink.removeAddress(index, { address, prefixLength });
  }
  netlink.addAddress(index, { address: BEYOND, prefixLength: 24 });
  netlink.setLink(index, { mtuBytes: MTU_BYTES });
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');

  const batch = batchOf(64);
  const flags = [0x10, 0x18, 0x19, 0x90, 0x98];
  const merged = flags.flatMap((flag, index) => [
    tcpPacket({ payloadBytes: 1441 + index * 3000, flags: flag }),
    tcpPacket({ payloadBytes: 1428 * (index + 2), flags: flag, tcpOptionBytes: 12 }),
  ]);
  const cases = [...merged, ...merged.map(makePartial), tcpPacket({ payloadBytes: 65_495 })].map((packet) => {
    const size = MTU_BYTES - 20 - (packet[32]! >>> 4) * 4;
    return { packet, expected: segmentsOf(packet, size) };
  });
  // Those that fit: only the checksum is completed.
  for (const packet of [tcpPacket({ payloadBytes: 900 }), udpPacket(900)]) {
    cases.push({ packet, expected: [packet] }, { packet: makePartial(packet), expected: [packet] });
  }
  for (const { packet, expected } of cases) {
    assert.equal(coalesced(batch, [packet]), 1);
    assert.equal(tun.send(batch, 0, 1), 1);
    assert.deepEqual(receiveAll(beyond, batch, expected.length), expected.map(forwarded));
  }
  for (const protocol of [6, 17] as const) {
    for (const sizes of [[1428, 1428, 1428, 700], new Array<number>(45).fill(1428), [1, 1], [1452, 1451]]) {
      const flow = new Flow({ protocol, destination: [10, 88, 0, 2] });
      const packets = sizes.map((size) => flow.next(protocol === 6 ? Math.min(size, 1440) : size));
      assert.equal(coalesced(batch, packets), 1);
      assert.equal(tun.send(batch, 0, 1), 1);
      assert.deepEqual(receiveAll(beyond, batch, packets.length), packets.map(forwarded));
    }
  }
  netlink.close();
  tun.close();
  beyond.close();
});
