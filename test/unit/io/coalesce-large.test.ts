import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkInner } from '../../../src/packet/ipv4.ts';
import { makePartial, segmentsOf, tcpPacket, udpPacket } from '../packet/segments.ts';
import { coalesce, MTU } from './coalesce-rig.ts';
import { cutByKernel, NO_WORK, type Vnet } from './kernel-cut.ts';

/** What is written of a packet that comes alone; undefined when it is dropped for its checksum. */
interface Written {
  readonly vnet: Vnet;
  readonly packet: Uint8Array;
}

function write(packet: Uint8Array, mtu = MTU): Written | undefined {
  const { entries, dropped } = coalesce([packet], { mtu });
  assert.equal(entries.length + dropped.length, 1);
  return entries[0];
}

function assertUntouched(packet: Uint8Array): void {
  const written = write(packet);
  assert.deepEqual(written?.vnet, NO_WORK);
  assert.deepEqual(written?.packet, packet);
}

test('a packet that fits and has a whole checksum gets an empty header and keeps its bytes', () => {
  for (const packet of [tcpPacket({ payloadBytes: 1440 }), udpPacket(100), tcpPacket({ payloadBytes: 0 })]) {
    assertUntouched(packet);
  }
});

test('a TCP packet one byte above the MTU is marked for segmentation, with the pseudo-header sum as checksum', () => {
  const packet = tcpPacket({ payloadBytes: MTU - 39 });
  const written = write(packet);
  assert.deepEqual(written?.vnet, gso({ headerLength: 40, gsoSize: MTU - 40 }));
  assert.deepEqual(written?.packet, makePartial(packet));
});

test('options of both headers count against the segment size, and CWR sets the ECN bit', () => {
  const packet = tcpPacket({ payloadBytes: 9000, ipOptionBytes: 8, tcpOptionBytes: 12, flags: 0x90 });
  const expected = { gsoType: 0x81, headerLength: 60, gsoSize: MTU - 60, checksumStart: 28 };
  assert.deepEqual(write(packet)?.vnet, gso(expected));
});

function gso(fields: Partial<Vnet>): Vnet {
  return { ...NO_WORK, flags: 1, gsoType: 1, checksumStart: 20, checksumOffset: 16, ...fields };
}

test('a merged packet is taken with the pseudo-header sum that GRO left, and dropped with any other wrong sum', () => {
  const packet = tcpPacket({ payloadBytes: 60_000 });
  const partial = makePartial(packet);
  const written = write(partial);
  assert.deepEqual(written?.vnet, gso({ headerLength: 40, gsoSize: MTU - 40 }));
  assert.deepEqual(written?.packet, partial);
  for (const at of [36, 40, 4711, packet.length - 1]) {
    const damaged = packet.slice();
    damaged[at]! ^= 0x10;
    assert.equal(write(damaged), undefined, `byte ${at}`);
  }
});

test('dropped packets stand behind the others with their peers', () => {
  const damaged = tcpPacket({ payloadBytes: 3000 });
  damaged[50]! ^= 1;
  const packets = [damaged, udpPacket(100), damaged, udpPacket(200)];
  const { entries, dropped } = coalesce(packets, { peers: [5, 6, -1, 7] });
  assert.deepEqual(
    entries.map(({ peer, innerBytes }) => [peer, innerBytes]),
    [
      [6, 128],
      [7, 228],
    ],
  );
  assert.deepEqual(dropped, [
    { peer: 5, innerBytes: 3040 },
    { peer: -1, innerBytes: 3040 },
  ]);
});

test('a packet that fits but has only the pseudo-header sum is marked for its checksum, TCP and UDP', () => {
  for (const packet of [tcpPacket({ payloadBytes: 700 }), udpPacket(700)]) {
    const written = write(makePartial(packet));
    const checksumOffset = packet[9] === 6 ? 16 : 6;
    assert.deepEqual(written?.vnet, { ...NO_WORK, flags: 1, checksumStart: 20, checksumOffset });
    assert.deepEqual(cutByKernel(written!.vnet, written!.packet), [packet]);
  }
});

test('a merged packet ends the group of its flow, and is member of none', () => {
  const [merged, after] = [tcpPacket({ payloadBytes: 4320 }), tcpPacket({ payloadBytes: 100 })];
  const { entries } = coalesce([after, merged, after]);
  assert.deepEqual(
    entries.map(({ packets }) => packets),
    [1, 1, 1],
  );
});

test('what the kernel cannot segment rightly goes on as it is: no TCP, fragments, SYN, RST, urgent data, a broken header', () => {
  const brokenOffset = tcpPacket({ payloadBytes: 3000 });
  brokenOffset[32] = 0x40;
  for (const packet of [
    udpPacket(3000),
    tcpPacket({ payloadBytes: 3000, fragment: 0x2000 }),
    tcpPacket({ payloadBytes: 3000, fragment: 1 }),
    ...[0x02, 0x04, 0x20].map((flags) => tcpPacket({ payloadBytes: 3000, flags })),
    brokenOffset,
  ]) {
    assertUntouched(packet);
  }
});

test('the segment size never makes a segment larger than the MTU, and the naive segmenter agrees with the fields', () => {
  const shape = fc.record({
    payloadBytes: fc.integer({ min: 0, max: 20_000 }),
    tcpOptionBytes: fc.integer({ min: 0, max: 10 }).map((words) => words * 4),
    ipOptionBytes: fc.integer({ min: 0, max: 10 }).map((words) => words * 4),
    flags: fc.constantFrom(0x10, 0x18, 0x11, 0x90),
  });
  const property = fc.property(shape, fc.integer({ min: 576, max: 9000 }), (fields, mtu) => {
    const packet = tcpPacket(fields);
    const { vnet, packet: written } = write(packet, mtu)!;
    if (packet.length <= mtu) return assert.equal(vnet.gsoType, 0);
    assert.equal(vnet.headerLength + vnet.gsoSize, mtu);
    const segments = segmentsOf(packet, vnet.gsoSize);
    assert.ok(segments.every((segment) => segment.length <= mtu && checkInner(segment, 0, mtu) === 0));
    assert.deepEqual(cutByKernel(vnet, written), segments);
  });
  fc.assert(property, { seed: 2003, numRuns: 200 });
});
