import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clampReceivedMss, isChecksumPartial, VNET, writeEmptyVnetHeader } from '../../../src/packet/vnet.ts';
import { Guarded, transportChecksum } from './oracle.ts';
import { makePartial, tcpPacket, udpPacket } from './segments.ts';

const MTU = 1480;

test('a checksum that was left undone is told from a right one and from a wrong one, TCP and UDP', () => {
  for (const packet of [tcpPacket({ payloadBytes: 700 }), udpPacket(701)]) {
    assert.equal(isChecksumPartial(packet, 0), 0);
    assert.equal(isChecksumPartial(makePartial(packet), 0), 1);
    packet[packet.length - 1]! ^= 1;
    assert.equal(isChecksumPartial(packet, 0), 0);
  }
});

test('what has no checksum to complete is never taken for partial: fragments, cut headers, UDP without one, other protocols', () => {
  const without = udpPacket(100);
  without.fill(0, 26, 28);
  const other = udpPacket(100);
  other[9] = 1;
  const fragments = [0x2000, 1].map((fragment) => makePartial(tcpPacket({ payloadBytes: 100, fragment })));
  for (const packet of [without, other, ...fragments]) assert.equal(isChecksumPartial(packet, 0), 0);
});

test('a packet of which nothing is left to do gets an empty vnet header; any other, none', () => {
  const cases: [Uint8Array, number][] = [
    [tcpPacket({ payloadBytes: MTU - 40 }), 1],
    [udpPacket(100), 1],
    [tcpPacket({ payloadBytes: 100, fragment: 0x2000 }), 1],
    [tcpPacket({ payloadBytes: MTU - 39 }), 0],
    [makePartial(udpPacket(100)), 0],
    [makePartial(tcpPacket({ payloadBytes: 0 })), 0],
  ];
  for (const [packet, expected] of cases) {
    const guarded = new Guarded(packet);
    assert.equal(writeEmptyVnetHeader(guarded.bytes, guarded.at, MTU), expected);
    guarded.assertOnlyWritten(-VNET.BYTES, 0);
    assert.deepEqual(guarded.packet, packet);
    const header = guarded.bytes.subarray(guarded.at - VNET.BYTES, guarded.at);
    assert.ok(header.every((byte) => byte === (expected === 1 ? 0 : 0xa5)));
  }
});

test('the segment size of a SYN is lowered whether its checksum is whole or left undone', () => {
  const syn = tcpPacket({ payloadBytes: 0, flags: 0x02, tcpOptionBytes: 4, optionBytes: [2, 4, 5, 180] });
  const whole = syn.slice();
  assert.equal(clampReceivedMss(whole, 0, 1000), 1);
  assert.deepEqual([...whole.subarray(40, 44)], [2, 4, 3, 232]);
  assert.equal(transportChecksum(whole), 0);
  const partial = makePartial(syn);
  assert.equal(clampReceivedMss(partial, 0, 1000), 1);
  assert.deepEqual(partial, makePartial(whole));
  assert.equal(clampReceivedMss(partial, 0, 1000), 0);
  const data = tcpPacket({ payloadBytes: 10 });
  assert.equal(clampReceivedMss(data, 0, 1000), 0);
});
