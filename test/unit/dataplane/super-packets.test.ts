import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { BATCH_MAX, type Batch } from '../../../src/io/batch.ts';
import type { PacketIo } from '../../../src/io/packet-io.ts';
import { get16, onesSum, parseIpv4 } from '../../sim/oracle/wire.ts';
import {
  headersOf,
  outerFields,
  PLAIN,
  type SuperShape,
  segmentsOf,
  superPacket,
  vnetOf,
} from '../io/super-packets.ts';
import { OURS, POD, packet, Rig, type RigOptions, WEST_1, WEST_POD } from './rig.ts';

const SIZE = 1000;
const SHAPE: SuperShape = { ...PLAIN, source: POD, destination: WEST_POD, payloadBytes: 10 * SIZE + 1 };
const UDP: SuperShape = { ...SHAPE, isTcp: false };

const inner = (outers: readonly Uint8Array[]): Buffer[] =>
  outers.map((outer) => Buffer.from(outer.subarray(20)));
const buffers = (packets: readonly Uint8Array[]): Buffer[] => packets.map((one) => Buffer.from(one));

/** Takes as many packets as there is room for. */
class NarrowIo implements PacketIo {
  room = Number.POSITIVE_INFINITY;
  refused: readonly number[] = [];
  readonly calls = new Float64Array(1);
  readonly #io: PacketIo;

  constructor(io: PacketIo) {
    this.#io = io;
  }

  receive(batch: Batch): number {
    return this.#io.receive(batch);
  }

  send(batch: Batch, from: number, to: number): number {
    let i = from;
    for (; i < to && this.room > 0; i++) {
      if (this.refused.includes(batch.length[i]!)) return i > from ? i - from : -5;
      this.#io.send(batch, i, i + 1);
      this.room -= 1;
    }
    return i - from;
  }

  close(): void {}
}

function narrowRig(options: RigOptions = {}): { rig: Rig; underlay: NarrowIo } {
  let underlay: NarrowIo | undefined;
  const wrap = (io: PacketIo, side: string): PacketIo => {
    if (side === 'device') return io;
    underlay = new NarrowIo(io);
    return underlay;
  };
  const rig = new Rig({ ...options, wrap });
  return { rig, underlay: underlay! };
}

/** The whole datagram of each run of fragments. */
function reassemble(fragments: readonly Uint8Array[]): Buffer[] {
  const whole: Buffer[] = [];
  let pieces: Uint8Array[] = [];
  for (const fragment of fragments) {
    const parsed = parseIpv4(fragment);
    assert.equal(onesSum(fragment, 0, 20), 0xffff);
    assert.equal(parsed.offsetUnits * 8, Buffer.concat(pieces).length, 'fragments come in order');
    pieces.push(parsed.payload);
    if (parsed.moreFragments) continue;
    whole.push(Buffer.concat(pieces));
    pieces = [];
  }
  assert.equal(pieces.length, 0);
  return whole;
}

const payloads = (packets: readonly Uint8Array[]): Buffer[] =>
  packets.map((one) => Buffer.from(one.subarray(20)));

describe('a packet that the device hands over uncut', () => {
  for (const shape of [
    SHAPE,
    UDP,
    { ...SHAPE, tcpFlags: 0xd9, tcpOptionWords: 3, ipOptionWords: 2, tos: 0xba },
  ]) {
    test(`leaves as the segments that the kernel would make: ${shape.isTcp ? 'TCP' : 'UDP'}, ${headersOf(shape)} bytes of headers`, () => {
      const rig = new Rig();
      rig.hostSends(packet({ id: 1 }));
      rig.hostSendsUncut(superPacket(shape), vnetOf(shape, SIZE));
      rig.hostSends(packet({ id: 2 }));
      rig.run();
      const outers = rig.sent();
      assert.deepEqual(inner(outers.slice(1, -1)), buffers(segmentsOf(shape, SIZE)));
      assert.equal(get16(outers[0]!, 24), 1);
      assert.equal(get16(outers.at(-1)!, 24), 2);
      for (const outer of outers) {
        const { bytes, sum, addresses } = outerFields(outer);
        assert.deepEqual([bytes, sum, addresses], [outer.length, 0xffff, [OURS, WEST_1]]);
        assert.equal(outer[1], outer[21], 'DSCP and ECN are inherited');
      }
      const ids = outers.map((outer) => outerFields(outer).id);
      assert.deepEqual(
        ids,
        ids.map((_, index) => ids[0]! + index),
        'IDs do not repeat, cut or not',
      );
    });
  }

  test('counts as many packets as it has segments, and as many bytes', () => {
    const rig = new Rig();
    rig.hostSendsUncut(superPacket(SHAPE), vnetOf(SHAPE, SIZE));
    rig.run();
    const segments = segmentsOf(SHAPE, SIZE);
    const bytes = segments.reduce((sum, segment) => sum + segment.length, 0);
    assert.equal(segments.length, 11);
    assert.deepEqual(
      [rig.total('OUTBOUND_RECEIVED'), rig.total('OUTBOUND_PACKETS'), rig.total('OUTBOUND_BYTES')],
      [11, 11, bytes],
    );
    assert.deepEqual([rig.peer(WEST_1, 'OUTBOUND_PACKETS'), rig.peer(WEST_1, 'OUTBOUND_BYTES')], [11, bytes]);
    assert.deepEqual(rig.drops(), {});
  });

  test('may be a single segment, which gets its checksum', () => {
    const shape = { ...SHAPE, payloadBytes: 500 };
    const rig = new Rig();
    rig.hostSendsUncut(superPacket(shape), vnetOf(shape, SIZE));
    rig.run();
    assert.deepEqual(inner(rig.sent()), buffers(segmentsOf(shape, SIZE)));
  });

  test('may have more segments than a batch holds, and waits in the middle while the underlay is full', () => {
    const { rig, underlay } = narrowRig();
    const shape = { ...SHAPE, payloadBytes: 60_000 };
    underlay.room = 10;
    rig.hostSendsUncut(superPacket(shape), vnetOf(shape, 100));
    rig.hostSends(packet({ id: 7 }));
    rig.run();
    assert.equal(rig.engine.isBlocked, true);
    const got: Uint8Array[] = [];
    for (let turn = 0; turn < 100 && got.length < 601; turn++) {
      underlay.room = 17;
      rig.engine.turn();
      got.push(...rig.sent());
    }
    assert.equal(rig.engine.isBlocked, false);
    assert.deepEqual(inner(got.slice(0, 600)), buffers(segmentsOf(shape, 100)));
    assert.equal(get16(got[600]!, 24), 7, 'what came behind it leaves behind it');
    assert.deepEqual([rig.total('OUTBOUND_RECEIVED'), rig.total('OUTBOUND_PACKETS')], [601, 601]);
  });

  test('leaves room for no more than itself in a full batch of such', () => {
    const rig = new Rig();
    const shape = { ...SHAPE, payloadBytes: 5 * SIZE };
    for (let i = 0; i < BATCH_MAX; i++) rig.hostSendsUncut(superPacket(shape), vnetOf(shape, SIZE));
    rig.run();
    const expected = buffers(segmentsOf(shape, SIZE));
    assert.deepEqual(inner(rig.sent()), Array.from({ length: BATCH_MAX }, () => expected).flat());
  });

  test('is counted whole when it is dropped', () => {
    const rig = new Rig();
    const nowhere = { ...SHAPE, destination: parseAddress('198.51.100.1') };
    rig.hostSendsUncut(superPacket(nowhere), vnetOf(nowhere, SIZE));
    rig.run();
    assert.deepEqual(rig.drops(), { 'outbound no-route': 11 });
    assert.equal(rig.total('OUTBOUND_RECEIVED'), 11);
    assert.equal(rig.icmp().length, 1, 'one error for one packet of the sender');
  });

  test('loses those segments that the kernel refuses, and no others', () => {
    const { rig, underlay } = narrowRig();
    underlay.refused = [20 + headersOf(SHAPE) + 1];
    rig.hostSendsUncut(superPacket(SHAPE), vnetOf(SHAPE, SIZE));
    rig.run();
    assert.deepEqual(rig.drops(), { 'outbound send-failed': 1 });
    assert.deepEqual(inner(rig.sent()), buffers(segmentsOf(SHAPE, SIZE).slice(0, -1)));
    assert.equal(rig.total('OUTBOUND_RECEIVED'), rig.total('OUTBOUND_PACKETS') + 1);
  });
});

describe('segments that are too big for the path', () => {
  const large = 1460;
  const shape = { ...SHAPE, payloadBytes: 3 * large + 10 };

  test('are refused with one ICMP error when DF is set, all of them', () => {
    const rig = new Rig();
    rig.hostSendsUncut(superPacket(shape), vnetOf(shape, large));
    rig.run();
    assert.deepEqual(rig.drops(), { 'outbound too-big': 4 });
    const [error, ...others] = rig.icmp();
    assert.equal(others.length, 0);
    assert.deepEqual([error!.destination, [...error!.message.subarray(0, 2)]], [POD, [3, 4]]);
    assert.equal(get16(error!.message, 6), 1480);
    assert.deepEqual(rig.sent(), []);
  });

  test('go out all the same, with the error, when only what was learned about the path stands against it', () => {
    const rig = new Rig();
    rig.learn(WEST_1, 1000);
    rig.hostSendsUncut(superPacket(SHAPE), vnetOf(SHAPE, SIZE));
    rig.run();
    assert.deepEqual(inner(rig.sent()), buffers(segmentsOf(SHAPE, SIZE)));
    assert.equal(rig.total('SOFT_STATE_EXCEEDED'), 11);
    assert.equal(rig.icmp().length, 1);
  });

  for (const fragment of ['inner', 'outer'] as const) {
    test(`are fragmented one by one when DF is clear, before they are encapsulated or after: ${fragment}`, () => {
      const rig = new Rig({ settings: { fragment } });
      const clear = { ...shape, dontFragment: false, payloadBytes: 43 * large + 10 };
      rig.hostSendsUncut(superPacket(clear), vnetOf(clear, large));
      rig.run();
      const expected = segmentsOf(clear, large);
      const sent = rig.sent();
      for (const outer of sent) assert.ok(outer.length <= 1500);
      if (fragment === 'inner') {
        assert.deepEqual(reassemble(inner(sent)), payloads(expected));
      } else {
        assert.deepEqual(reassemble(sent), buffers(expected));
      }
      assert.deepEqual([rig.total('FRAGMENTED'), rig.total('FRAGMENTS')], [43, 86]);
      assert.equal(rig.total('OUTBOUND_RECEIVED'), 44);
      assert.deepEqual(rig.drops(), {});
      assert.deepEqual(rig.icmp(), []);
    });
  }

  test('are fragmented although the underlay is full again and again', () => {
    const { rig, underlay } = narrowRig();
    const clear = { ...shape, dontFragment: false, payloadBytes: 40 * large };
    underlay.room = 0;
    rig.hostSendsUncut(superPacket(clear), vnetOf(clear, large));
    rig.run();
    const got: Uint8Array[] = [];
    for (let turn = 0; turn < 40; turn++) {
      underlay.room = 5;
      rig.engine.turn();
      got.push(...rig.sent());
    }
    assert.deepEqual(reassemble(inner(got)), payloads(segmentsOf(clear, large)));
  });

  test('are dropped one by one where they make too many fragments, and what follows is fragmented', () => {
    const rig = new Rig();
    rig.learn(WEST_1, 576);
    const huge = { ...UDP, dontFragment: false, payloadBytes: 60_000 };
    for (let i = 0; i < 3; i++) rig.hostSendsUncut(superPacket(huge), vnetOf(huge, 50_000));
    rig.run();
    assert.deepEqual(
      reassemble(inner(rig.sent())),
      Array.from({ length: 3 }, () => payloads(segmentsOf(huge, 50_000))).flat(),
    );
  });
});

describe('a vnet header that does not fit its packet', () => {
  const tcp = vnetOf(SHAPE, SIZE);
  const bad: [string, Uint8Array, Uint8Array][] = [
    ['a segment size of 0', vnetOf(SHAPE, 0), superPacket(SHAPE)],
    ['a type that was not asked for', vnetOf(SHAPE, SIZE, { type: 3 }), superPacket(SHAPE)],
    ['IPv6 said, IPv4 there', vnetOf(SHAPE, SIZE, { type: 4 }), superPacket(SHAPE)],
    ['TCP said, UDP there', vnetOf(UDP, SIZE, { type: 1 }), superPacket(UDP)],
    ['UDP said, TCP there', vnetOf(SHAPE, SIZE, { type: 5 }), superPacket(SHAPE)],
    ['headers longer than the packet', vnetOf(SHAPE, SIZE, { headerBytes: 20_000 }), superPacket(SHAPE)],
    ['a checksum elsewhere', vnetOf(SHAPE, SIZE, { checksumStart: 24 }), superPacket(SHAPE)],
    ['another field as checksum', vnetOf(SHAPE, SIZE, { checksumOffset: 6 }), superPacket(SHAPE)],
    ['bytes behind the packet', tcp, Uint8Array.from([...superPacket(SHAPE), 0])],
    ['a short TCP header', tcp, superPacket(SHAPE).with(32, 0x40)],
    ['a TCP header and nothing behind', tcp, superPacket({ ...SHAPE, payloadBytes: 0 })],
    ['another UDP length', vnetOf(UDP, SIZE), superPacket(UDP).with(25, 0)],
  ];
  for (const [what, vnet, packetBytes] of bad) {
    test(`drops the packet as malformed: ${what}`, () => {
      const rig = new Rig();
      rig.hostSendsUncut(packetBytes, vnet);
      rig.run();
      assert.deepEqual(rig.drops(), { 'outbound inner-malformed': 1 });
      assert.equal(rig.total('OUTBOUND_RECEIVED'), 1);
      assert.deepEqual(rig.sent(), []);
    });
  }

  test('is none where no checksum is left to complete', () => {
    const rig = new Rig();
    rig.hostSendsUncut(
      superPacket(SHAPE),
      vnetOf(SHAPE, SIZE, { flags: 0, checksumStart: 0, checksumOffset: 0 }),
    );
    rig.run();
    assert.deepEqual(inner(rig.sent()), buffers(segmentsOf(SHAPE, SIZE)));
  });
});
