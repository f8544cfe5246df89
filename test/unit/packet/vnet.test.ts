import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkInner } from '../../../src/packet/ipv4.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import { isChecksumPartial, VNET, writeVnetHeader } from '../../../src/packet/vnet.ts';
import { hostilePacket, SEED } from './oracle.ts';
import { makePartial, segmentsOf, tcpPacket, udpPacket } from './segments.ts';

const MTU = 1480;
const ROOM = 64;

interface Written {
  readonly verdict: number;
  readonly partial: number;
  readonly header: DataView;
  readonly packet: Uint8Array;
}

/** Writes the vnet header of a copy between canaries. */
function write(packet: Uint8Array, mtu = MTU): Written {
  const bytes = new Uint8Array(ROOM + packet.length + ROOM).fill(0xa5);
  bytes.set(packet, ROOM);
  const partial = isChecksumPartial(bytes, ROOM);
  const verdict = writeVnetHeader(bytes, ROOM, mtu, partial);
  const outside = [...bytes.subarray(0, ROOM - VNET.BYTES), ...bytes.subarray(ROOM + packet.length)];
  assert.ok(
    outside.every((byte) => byte === 0xa5),
    'only the header and the packet are written',
  );
  return {
    verdict,
    partial,
    header: new DataView(bytes.buffer, ROOM - VNET.BYTES, VNET.BYTES),
    packet: bytes.slice(ROOM, ROOM + packet.length),
  };
}

const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
const fields = ({ header }: Written): number[] => [
  header.getUint8(VNET.FLAGS),
  header.getUint8(VNET.GSO_TYPE),
  ...[2, 4, 6, 8].map((at) => header.getUint16(at, LITTLE_ENDIAN)),
];
const NOTHING = [0, 0, 0, 0, 0, 0];

test('a packet that fits and has a whole checksum gets an empty header and keeps its bytes', () => {
  for (const packet of [tcpPacket({ payloadBytes: 1440 }), udpPacket(100), tcpPacket({ payloadBytes: 0 })]) {
    const written = write(packet);
    assert.deepEqual([written.verdict, ...fields(written)], [VERDICT.FORWARD, ...NOTHING]);
    assert.deepEqual(written.packet, packet);
  }
});

test('a TCP packet one byte above the MTU is marked for segmentation, with the pseudo-header sum as checksum', () => {
  const packet = tcpPacket({ payloadBytes: MTU - 39 });
  const written = write(packet);
  assert.equal(written.verdict, VERDICT.FORWARD);
  assert.deepEqual(fields(written), [1, 1, 40, MTU - 40, 20, 16]);
  assert.deepEqual(written.packet, makePartial(packet));
});

test('options of both headers count against the segment size, and CWR sets the ECN bit', () => {
  const packet = tcpPacket({ payloadBytes: 9000, ipOptionBytes: 8, tcpOptionBytes: 12, flags: 0x90 });
  assert.deepEqual(fields(write(packet)), [1, 0x81, 60, MTU - 60, 28, 16]);
});

test('a merged packet is taken with the pseudo-header sum that GRO left, and dropped with any other wrong sum', () => {
  const packet = tcpPacket({ payloadBytes: 60_000 });
  const partial = makePartial(packet);
  const written = write(partial);
  assert.deepEqual([written.verdict, written.partial], [VERDICT.FORWARD, 1]);
  assert.deepEqual(fields(written), [1, 1, 40, MTU - 40, 20, 16]);
  assert.deepEqual(written.packet, partial);
  for (const at of [36, 40, 4711, packet.length - 1]) {
    const damaged = packet.slice();
    damaged[at]! ^= 0x10;
    assert.equal(write(damaged).verdict, VERDICT.INNER_CHECKSUM, `byte ${at}`);
  }
});

test('a packet that fits but has only the pseudo-header sum is marked for its checksum, TCP and UDP', () => {
  const tcp = makePartial(tcpPacket({ payloadBytes: 700 }));
  assert.deepEqual(fields(write(tcp)), [1, 0, 0, 0, 20, 16]);
  const udp = makePartial(udpPacket(700));
  assert.deepEqual(fields(write(udp)), [1, 0, 0, 0, 20, 6]);
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
    const written = write(packet);
    assert.deepEqual([written.verdict, ...fields(written)], [VERDICT.FORWARD, ...NOTHING]);
    assert.deepEqual(written.packet, packet);
  }
});

test('the segment size never makes a segment larger than the MTU, and the naive segmenter agrees with the fields', () => {
  const shape = fc.record({
    payloadBytes: fc.integer({ min: 0, max: 20_000 }),
    tcpOptionBytes: fc.integer({ min: 0, max: 10 }).map((words) => words * 4),
    ipOptionBytes: fc.integer({ min: 0, max: 10 }).map((words) => words * 4),
    flags: fc.constantFrom(0x10, 0x18, 0x11, 0x90),
  });
  const property = fc.property(shape, fc.integer({ min: 576, max: 9000 }), (fieldsOfPacket, mtu) => {
    const packet = tcpPacket(fieldsOfPacket);
    const written = write(packet, mtu);
    assert.equal(written.verdict, VERDICT.FORWARD);
    const [, gso, headers, size] = fields(written);
    if (packet.length <= mtu) return assert.equal(gso, 0);
    assert.equal(headers! + size!, mtu);
    const segments = segmentsOf(packet, size!);
    assert.ok(segments.every((segment) => segment.length <= mtu && checkInner(segment, 0, mtu) === 0));
  });
  fc.assert(property, { seed: SEED, numRuns: 200 });
});

test('whatever a packet holds, nothing outside it and its header is written', () => {
  const property = fc.property(hostilePacket, fc.integer({ min: 68, max: 2000 }), (packet, mtu) => {
    if (checkInner(packet, 0, packet.length) !== VERDICT.FORWARD) return;
    const { verdict } = write(packet, mtu);
    assert.ok(verdict === VERDICT.FORWARD || verdict === VERDICT.INNER_CHECKSUM);
  });
  fc.assert(property, { seed: SEED, numRuns: 1000 });
});
