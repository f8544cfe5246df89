import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Batch } from '../../../src/io/batch.ts';
import { loadNative } from '../../../src/io/load.ts';
import { SEGMENT } from '../../../src/io/native.ts';
import { writeFouHeader } from '../../../src/packet/fou.ts';
import { encapsulate } from '../../../src/packet/ipip.ts';
import { PROTOCOL } from '../../../src/packet/ipv4.ts';
import { headersOf, outerFields, PLAIN, type SuperShape, segmentsOf, superPacket } from './super-packets.ts';

const SEED = 11;
const native = loadNative();
const CAPACITY = 256;
const ARENA_STRIDE = 192;
const [OURS, GATEWAY] = [0xac1f_0001, 0xac1f_0002];

interface Cut {
  readonly batch: Batch;
  readonly request: Int32Array;
}

/** A slab with the arena, a band of canaries, and the packet behind its outer header. */
function prepare(shape: SuperShape, segmentBytes: number, at = 60_000, isFou = false): Cut {
  const packet = superPacket(shape);
  const bytes = new Uint8Array(new SharedArrayBuffer(at + packet.length + 64));
  const batch = new Batch(bytes, CAPACITY);
  bytes.set(packet, at);
  const view = new DataView(bytes.buffer);
  if (isFou) writeFouHeader(view, at, 0, 50_000, 5555);
  const outerAt = isFou ? at - 8 : at;
  encapsulate(view, outerAt, 0, OURS, GATEWAY, 3, 64, 0, 0x4000, isFou ? PROTOCOL.UDP : PROTOCOL.IPIP);
  const request = new Int32Array(SEGMENT.CELLS);
  request.set([at, packet.length, segmentBytes, 64, ARENA_STRIDE, 1, 100, 98, 0, isFou ? 28 : 20]);
  return { batch, request };
}

function cut({ batch, request }: Cut, from: number, to: number): number {
  return native.segment(batch.bytes, request, batch.at, batch.length, batch.pieces, from, to);
}

function entry(batch: Batch, index: number): Uint8Array {
  const whole = new Uint8Array(batch.length[index]!);
  batch.gather(index, batch.pairOf(index), whole, 0);
  return whole;
}

const shapes = fc.record({
  isIpv6: fc.boolean(),
  isTcp: fc.boolean(),
  ipOptionWords: fc.integer({ min: 0, max: 10 }),
  tcpOptionWords: fc.integer({ min: 0, max: 10 }),
  payloadBytes: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 20_000 })),
  tcpFlags: fc.integer({ min: 0, max: 255 }),
  id: fc.integer({ min: 0, max: 0xffff }),
  sequence: fc.integer({ min: 0, max: 0xffff_ffff }),
  dontFragment: fc.boolean(),
  tos: fc.integer({ min: 0, max: 255 }),
  source: fc.integer({ min: 0, max: 0xffff_ffff }),
  destination: fc.integer({ min: 0, max: 0xffff_ffff }),
});

describe('cutting a packet into segments', () => {
  test('gives what the kernel gives, byte by byte, each behind its outer header, for any headers, sizes and flags', () => {
    const sizes = fc.oneof(fc.integer({ min: 90, max: 1500 }), fc.integer({ min: 1, max: 65_535 }));
    fc.assert(
      fc.property(shapes, sizes, fc.integer({ min: 0, max: 200 }), (shape, wanted, from) => {
        // As many as one call can take.
        const size = Math.max(wanted, Math.ceil(shape.payloadBytes / (CAPACITY - from)));
        const expected = segmentsOf(shape, size);
        const prepared = prepare(shape, size);
        const before = prepared.batch.bytes.slice(60_000 - 20);
        assert.equal(cut(prepared, from, CAPACITY), expected.length);
        assert.equal(prepared.request[SEGMENT.NEXT], expected.length);
        assert.deepEqual(prepared.batch.bytes.slice(60_000 - 20), before, 'the packet itself is left alone');
        for (const [index, segment] of expected.entries()) {
          const outer = entry(prepared.batch, from + index);
          assert.deepEqual(Buffer.from(outer.subarray(20)), Buffer.from(segment), `segment ${index}`);
          assert.deepEqual(outerFields(outer), {
            bytes: outer.length,
            id: 1 + ((98 + 1 + index) % 100),
            sum: 0xffff,
            addresses: [OURS, GATEWAY],
          });
        }
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  test('behind a UDP header too, whose length is that of the segment', () => {
    fc.assert(
      fc.property(shapes, fc.integer({ min: 90, max: 1500 }), (shape, wanted) => {
        const size = Math.max(wanted, Math.ceil(shape.payloadBytes / CAPACITY));
        const expected = segmentsOf(shape, size);
        const prepared = prepare(shape, size, 60_000, true);
        assert.equal(cut(prepared, 0, CAPACITY), expected.length);
        for (const [index, segment] of expected.entries()) {
          const outer = entry(prepared.batch, index);
          assert.deepEqual(Buffer.from(outer.subarray(28)), Buffer.from(segment), `segment ${index}`);
          const { bytes, sum, addresses } = outerFields(outer);
          assert.deepEqual([bytes, sum, addresses], [outer.length, 0xffff, [OURS, GATEWAY]]);
          const udp = new DataView(outer.buffer, outer.byteOffset + 20, 8);
          assert.deepEqual([udp.getUint16(0), udp.getUint16(2)], [50_000, 5555]);
          assert.deepEqual([udp.getUint16(4), udp.getUint16(6)], [outer.length - 20, 0]);
        }
      }),
      { seed: SEED, numRuns: 200 },
    );
  });

  test('goes on where the room ended, and ends with the packet', () => {
    const prepared = prepare(PLAIN, 100);
    const expected = segmentsOf(PLAIN, 100);
    const got: Uint8Array[] = [];
    for (const room of [1, 7, 0, 20, 256]) {
      const count = cut(prepared, 0, room);
      for (let i = 0; i < count; i++) got.push(entry(prepared.batch, i));
    }
    assert.equal(cut(prepared, 0, 10), 0);
    assert.deepEqual(
      got.map((outer) => Buffer.from(outer.subarray(20))),
      expected.map((segment) => Buffer.from(segment)),
    );
    assert.deepEqual(
      got.map((outer) => outerFields(outer).id),
      expected.map((_, index) => 1 + ((99 + index) % 100)),
    );
  });

  test('puts its pieces behind those of the entries before', () => {
    const prepared = prepare({ ...PLAIN, payloadBytes: 300 }, 100);
    const { batch } = prepared;
    batch.pieces.set([2, 0, 1]);
    batch.pieces.fill(-7, CAPACITY, CAPACITY + 6);
    assert.equal(cut(prepared, 3, 10), 3);
    assert.deepEqual([...batch.pieces.subarray(0, 8)], [2, 0, 1, 1, 1, 1, 0, 0]);
    assert.deepEqual([...batch.pieces.subarray(CAPACITY, CAPACITY + 6)], new Array(6).fill(-7));
    assert.equal(batch.pieces[CAPACITY + 6], 60_000 + headersOf(PLAIN));
    assert.equal(batch.pieces[CAPACITY + 7], 100);
  });

  test('writes nothing but the headers of its own slots', () => {
    const prepared = prepare(PLAIN, 1000);
    const { bytes } = prepared.batch;
    bytes.fill(0xee, 0, 59_980);
    assert.equal(cut(prepared, 2, 10), 5);
    const written = 20 + headersOf(PLAIN);
    for (let at = 0; at < 59_980; at++) {
      const inSlot = at - 64 - 2 * ARENA_STRIDE;
      const isSlot = inSlot >= 0 && inSlot < 5 * ARENA_STRIDE && inSlot % ARENA_STRIDE < written;
      if (!isSlot) assert.equal(bytes[at], 0xee, `byte ${at}`);
    }
  });

  test('refuses headers that are not those of TCP or UDP with payload', () => {
    const refusals: [string, (packet: Uint8Array, request: Int32Array) => void][] = [
      ['another version', (packet) => (packet[0] = 0x55)],
      ['a short IPv4 header', (packet) => (packet[0] = 0x44)],
      ['another protocol', (packet) => (packet[9] = 1)],
      ['a short TCP header', (packet) => (packet[32] = 0x40)],
      ['a TCP header with nothing behind it', (_, request) => (request[SEGMENT.PACKET_BYTES] = 40)],
      ['an IPv4 header that is cut off', (_, request) => (request[SEGMENT.PACKET_BYTES] = 19)],
      ['a TCP header that is cut off', (_, request) => (request[SEGMENT.PACKET_BYTES] = 39)],
    ];
    for (const [what, spoil] of refusals) {
      const prepared = prepare(PLAIN, 1000);
      spoil(prepared.batch.bytes.subarray(60_000), prepared.request);
      assert.throws(() => cut(prepared, 0, 10), { code: 'ERR_OUT_OF_RANGE' }, what);
    }
  });
});
