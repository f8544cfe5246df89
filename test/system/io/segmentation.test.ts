import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { parseAddress } from '../../../src/base/address.ts';
import { Netlink } from '../../../src/io/netlink.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import { isChecksumPartial, writeVnetHeader } from '../../../src/packet/vnet.ts';
import { sealHeader } from '../../sim/oracle/wire.ts';
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

systemTest('the kernel makes of a merged packet exactly the segments that it was merged from', async () => {
  const tun = openDevice({ vnetHeader: true });
  tun.setOffload(0);
  // The packets leave by a second device, which takes over no work: the kernel does all of it before.
  const beyond = openDevice();
  const netlink = new Netlink(native);
  netlink.setLink(native.deviceIndex(tun.name), { mtuBytes: MTU_BYTES });
  const index = native.deviceIndex(beyond.name);
  for (const entry of netlink.addresses()) {
    if (entry.deviceIndex === index) netlink.removeAddress(index, entry);
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
    put(batch, 0, packet);
    const at = batch.at[0]!;
    const partial = isChecksumPartial(batch.bytes, at);
    assert.equal(writeVnetHeader(batch.bytes, at, MTU_BYTES, partial), VERDICT.FORWARD);
    assert.equal(tun.send(batch, 0, 1), 1);
    assert.deepEqual(receiveAll(beyond, batch, expected.length), expected.map(forwarded));
  }
  netlink.close();
  tun.close();
  beyond.close();
});
