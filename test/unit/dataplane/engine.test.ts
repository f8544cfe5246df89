import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BATCH_MAX, type Batch } from '../../../src/io/batch.ts';
import type { PacketIo } from '../../../src/io/packet-io.ts';
import { get16, parseIpv4 } from '../../sim/oracle/wire.ts';
import { packet, Rig, SETTINGS, tunnelled, WEST_1 } from './rig.ts';

const EIO = 5;
const EMSGSIZE = 90;
const ENOBUFS = 105;

type Side = 'device' | 'underlay';

/** A kernel whose answers a test sets: how many packets it takes before it is full, which it refuses, whether it can be read. */
class MoodyIo implements PacketIo {
  readonly calls = new Float64Array(1);
  room = Number.POSITIVE_INFINITY;
  refuse: (packetBytes: number) => number = () => 0;
  readError = 0;
  reads = 0;
  readonly #io: PacketIo;

  constructor(io: PacketIo) {
    this.#io = io;
  }

  receive(batch: Batch): number {
    this.reads += 1;
    return this.readError > 0 ? -this.readError : this.#io.receive(batch);
  }

  send(batch: Batch, from: number, to: number): number {
    let i = from;
    for (; i < to && this.room > 0; i++) {
      const errno = this.refuse(batch.length[i]!);
      if (errno > 0) return i > from ? i - from : -errno;
      this.#io.send(batch, i, i + 1);
      this.room -= 1;
    }
    return i - from;
  }

  close(): void {
    this.#io.close();
  }
}

function moodyRig(): { rig: Rig; device: MoodyIo; underlay: MoodyIo } {
  const made = new Map<Side, MoodyIo>();
  const rig = new Rig({
    wrap: (io, side) => {
      const moody = new MoodyIo(io);
      made.set(side, moody);
      return moody;
    },
  });
  return { rig, device: made.get('device')!, underlay: made.get('underlay')! };
}

const numbered = (count: number): Uint8Array[] => Array.from({ length: count }, (_, id) => packet({ id }));
const innerIds = (outers: readonly Uint8Array[]): number[] => outers.map((outer) => get16(outer, 24));
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe('a turn of the engine', () => {
  test('moves at most one batch in each direction and says how much moved', () => {
    const { rig } = moodyRig();
    rig.hostSends(...numbered(BATCH_MAX + 1));
    assert.equal(rig.engine.turn(), 2 * BATCH_MAX, 'read and sent');
    assert.equal(rig.engine.turn(), 2);
    assert.equal(rig.engine.turn(), 0);
    assert.deepEqual(innerIds(rig.sent()), range(BATCH_MAX + 1));
    assert.equal(rig.total('TURNS'), 3);
  });

  test('carries both directions', () => {
    const rig = new Rig();
    rig.hostSends(packet());
    assert.equal(rig.inbound(tunnelled()).length, 1);
    assert.equal(rig.sent().length, 1);
  });

  test('counts a failed read and goes on', () => {
    const { rig, device, underlay } = moodyRig();
    device.readError = EIO;
    assert.equal(rig.inbound(tunnelled()).length, 1);
    underlay.readError = EIO;
    rig.hostSends(packet());
    const errors = rig.total('RECEIVE_ERRORS');
    assert.ok(errors >= 1);
    device.readError = 0;
    assert.equal(rig.outbound().length, 1);
    assert.ok(rig.total('RECEIVE_ERRORS') > errors);
  });
});

describe('while the underlay takes no more packets, the engine', () => {
  test('keeps those that wait in order, reads nothing more from the device, and loses none', () => {
    const { rig, device, underlay } = moodyRig();
    underlay.room = 10;
    rig.hostSends(...numbered(BATCH_MAX + 20));
    rig.run();
    assert.equal(rig.engine.isBlocked, true);
    assert.equal(rig.total('OUTBOUND_PACKETS'), 10, 'forwarded is what the kernel has taken');
    const reads = device.reads;
    rig.engine.turn();
    assert.equal(device.reads, reads);
    assert.equal(rig.waitingFromHost, 20);
    for (let turn = 0; turn < 100; turn++) {
      underlay.room = 1;
      rig.engine.turn();
    }
    assert.equal(rig.engine.isBlocked, false);
    assert.deepEqual(innerIds(rig.sent()), range(BATCH_MAX + 20));
    assert.equal(rig.total('OUTBOUND_PACKETS'), BATCH_MAX + 20);
    assert.deepEqual(rig.drops(), {});
  });

  test('goes on with what comes from the underlay', () => {
    const { rig, underlay } = moodyRig();
    underlay.room = 0;
    rig.hostSends(packet());
    assert.equal(rig.inbound(tunnelled()).length, 1);
    assert.equal(rig.engine.isBlocked, true);
  });
});

test('while the device takes no more packets, those that wait stay in order and nothing is read from the underlay', () => {
  const { rig, device, underlay } = moodyRig();
  device.room = 1;
  const inner = range(5).map((id) => tunnelled({ id }));
  assert.equal(rig.inbound(...inner).length, 1);
  assert.equal(rig.engine.isBlocked, true);
  const reads = underlay.reads;
  rig.engine.turn();
  assert.equal(underlay.reads, reads);
  device.room = Number.POSITIVE_INFINITY;
  rig.run();
  assert.deepEqual(
    rig.delivered().map((one) => get16(one, 4)),
    [1, 2, 3, 4],
  );
  assert.equal(rig.total('INBOUND_PACKETS'), 5);
});

describe('a packet that the kernel refuses is counted, and those behind it go out:', () => {
  test('too-big where the underlay device is smaller than was thought', () => {
    const { rig, underlay } = moodyRig();
    underlay.refuse = (bytes) => (bytes > 1000 ? EMSGSIZE : 0);
    assert.deepEqual(
      innerIds(rig.outbound(packet({ id: 1 }), packet({ id: 2 }, 1200), packet({ id: 3 }))),
      [1, 3],
    );
    assert.deepEqual(rig.drops(), { 'outbound too-big': 1 });
    assert.equal(rig.peer(WEST_1, 'OUTBOUND_DROPS'), 1);
    assert.equal(rig.total('OUTBOUND_PACKETS'), 2);
  });

  test('send-failed for every other reason on the underlay', () => {
    const { rig, underlay } = moodyRig();
    underlay.refuse = (bytes) => (bytes === 220 ? ENOBUFS : 0);
    assert.deepEqual(innerIds(rig.outbound(packet({ id: 1 }, 200), packet({ id: 2 }))), [2]);
    assert.deepEqual(rig.drops(), { 'outbound send-failed': 1 });
    assert.equal(rig.peer(WEST_1, 'OUTBOUND_DROPS'), 1);
  });

  test('device-failed on the device', () => {
    const { rig, device } = moodyRig();
    device.refuse = (bytes) => (bytes === 100 ? EIO : 0);
    assert.equal(rig.inbound(tunnelled(), tunnelled({ payload: new Uint8Array(30) })).length, 1);
    assert.deepEqual(rig.drops(), { 'inbound device-failed': 1 });
    assert.equal(rig.peer(WEST_1, 'INBOUND_DROPS'), 1);
    assert.equal(rig.peer(WEST_1, 'INBOUND_PACKETS'), 1);
  });
});

test('more fragments than the send batch and the spare memory hold at once are sent in rounds, none lost or out of order', () => {
  const { rig, underlay } = moodyRig();
  const large = range(40).map((id) => packet({ id, dontFragment: false }, 40_000));
  const outers: Uint8Array[] = [];
  rig.hostSends(...large);
  for (let turn = 0; turn < 3000 && outers.length < 40 * 28; turn++) {
    // Less room than one packet needs: rounds begin and end in the middle of packets.
    underlay.room = 17;
    rig.engine.turn();
    outers.push(...rig.sent());
  }
  const payloads = new Map<number, Uint8Array[]>();
  for (const outer of outers) {
    const piece = parseIpv4(outer.slice(20));
    const pieces = payloads.get(piece.id) ?? [];
    assert.equal(
      piece.offsetUnits * 8,
      pieces.reduce((sum, { length }) => sum + length, 0),
    );
    payloads.set(piece.id, [...pieces, piece.payload]);
  }
  assert.equal(payloads.size, 40);
  for (const [id, pieces] of payloads) {
    assert.deepEqual(new Uint8Array(Buffer.concat(pieces)), parseIpv4(large[id]!).payload);
  }
  assert.equal(rig.total('FRAGMENTED'), 40);
  assert.equal(rig.total('FRAGMENTS'), outers.length);
  assert.equal(rig.total('OUTBOUND_PACKETS'), outers.length);
  assert.deepEqual(rig.drops(), {});
});

test('a SYN that has to wait for a flush is clamped by the settings of the time when it goes out', () => {
  const { rig, underlay } = moodyRig();
  underlay.room = 0;
  const segment = new Uint8Array(40_000);
  segment.set([0x60, 2], 12);
  segment.set([2, 4, 0x05, 0xb4], 20);
  const before = range(3).map((id) => packet({ id, dontFragment: false }, 40_000));
  rig.hostSends(...before, packet({ id: 3, dontFragment: false, protocol: 6, payload: segment }));
  rig.run();
  assert.equal(rig.total('OUTBOUND_RECEIVED'), 3, 'there is no room for the fragments of the fourth');
  rig.fib.configure({ ...SETTINGS, clampMss: false });
  underlay.room = Number.POSITIVE_INFINITY;
  rig.run();
  const first = rig.sent().find((outer) => get16(outer, 24) === 3);
  assert.equal(get16(first!, 20 + 20 + 22), 0x05b4);
  assert.equal(rig.total('MSS_CLAMPED'), 0);
});
