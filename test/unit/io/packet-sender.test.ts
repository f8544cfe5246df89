import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Batch } from '../../../src/io/batch.ts';
import { NEGATED } from '../../../src/io/errno.ts';
import { loadNative } from '../../../src/io/load.ts';
import type { Native } from '../../../src/io/native.ts';
import { NextHopTable } from '../../../src/io/next-hop-table.ts';
import type { PacketIo } from '../../../src/io/packet-io.ts';
import { openPacketSocket, PacketSender, SENT } from '../../../src/io/packet-sender.ts';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const ADDRESS = 0xac1f_0000;
const DEVICE = 7;
/** Not open in any process. */
const CLOSED = 0x7fff_0000;

/** Packets to peers 0, 1, 2, … of which those in `known` have a next hop; `answer` is what the packet socket says. */
function sender(count: number, known: readonly number[], answer: (from: number, to: number) => number) {
  const table = new NextHopTable(8);
  const batch = new Batch(new Uint8Array(new SharedArrayBuffer(1024)), 8);
  batch.count = count;
  for (let i = 0; i < count; i++) {
    batch.peer[i] = i;
    batch.address[i] = ADDRESS + i;
    batch.length[i] = 40;
  }
  for (const peer of known) table.set(peer, ADDRESS + peer, DEVICE, MAC);
  const rawCalls: [number, number][] = [];
  const script = { raw: (from: number, to: number) => to - from };
  const raw: PacketIo = {
    calls: new Float64Array(1),
    receive: () => 5,
    send: (_batch, from, to) => {
      rawCalls.push([from, to]);
      return script.raw(from, to);
    },
    close: () => assert.fail('the raw socket belongs to the caller'),
  };
  const native = { linkSend: (...values: number[]) => answer(values.at(-2)!, values.at(-1)!) };
  const sent = new Float64Array(SENT.CELLS);
  const io = new PacketSender({
    native: native as unknown as Native,
    fd: 3,
    raw,
    hops: new Uint32Array(table.buffer),
    sent,
  });
  return { io, batch, rawCalls, sent, script, table };
}

describe('the packet sender', () => {
  test('takes what the packet socket takes, and counts it', () => {
    const { io, batch, rawCalls, sent } = sender(4, [0, 1, 2, 3], (from, to) => to - from - 1);
    assert.equal(io.send(batch, 0, 4), 3);
    assert.deepEqual(rawCalls, []);
    assert.deepEqual([...sent], [3, 0]);
    assert.equal(io.calls[0], 1);
  });

  test('sends packets without a known next hop by the raw socket, up to the next that has one', () => {
    const { io, batch, rawCalls, sent } = sender(5, [0, 3], () => NEGATED.EDESTADDRREQ);
    assert.equal(io.send(batch, 1, 5), 2);
    assert.deepEqual(rawCalls, [[1, 3]]);
    assert.equal(io.calls[0], 0, 'looking into the table is no system call');
    assert.deepEqual([...sent], [0, 2]);
  });

  test('sends one packet by the raw socket even where the table has learned its next hop meanwhile', () => {
    const { io, batch, rawCalls } = sender(2, [0, 1], () => NEGATED.EDESTADDRREQ);
    assert.equal(io.send(batch, 0, 2), 1);
    assert.deepEqual(rawCalls, [[0, 1]]);
  });

  for (const errno of ['ENETDOWN', 'EMSGSIZE', 'ENODEV', 'EINVAL', 'EPERM'] as const) {
    test(`leaves a packet that the device refuses with ${errno} to the raw socket, whose word is the last`, () => {
      const { io, batch, rawCalls, sent, script } = sender(3, [0, 1, 2], () => NEGATED[errno]);
      assert.equal(io.send(batch, 1, 3), 1);
      script.raw = () => NEGATED.EMSGSIZE;
      assert.equal(io.send(batch, 2, 3), NEGATED.EMSGSIZE);
      assert.deepEqual(rawCalls, [
        [1, 2],
        [2, 3],
      ]);
      assert.deepEqual([...sent], [0, 1]);
    });
  }

  test('hands a full send buffer on as 0, without trying the raw socket', () => {
    const { io, batch, rawCalls, sent } = sender(2, [0, 1], () => 0);
    assert.equal(io.send(batch, 0, 2), 0);
    assert.deepEqual([rawCalls, [...sent]], [[], [0, 0]]);
  });

  test('receives by the raw socket, and leaves it open', () => {
    const { io, batch } = sender(0, [], () => 0);
    assert.equal(io.receive(batch), 5);
    io.close();
  });

  test('the addon sends nothing towards a peer whose record is unknown, someone else’s, or being written', () => {
    const native = loadNative();
    const { batch, table } = sender(1, [], () => 0);
    const words = new Uint32Array(table.buffer);
    const send = (): number =>
      native.linkSend(
        CLOSED,
        batch.bytes,
        batch.at,
        batch.length,
        batch.pieces,
        ...([batch.address, batch.peer, words, 0, 1] as const),
      );
    assert.equal(send(), NEGATED.EDESTADDRREQ, 'unknown');
    table.set(0, ADDRESS, DEVICE, MAC);
    assert.equal(send(), NEGATED.EBADF, 'known: the kernel was asked');
    Atomics.add(words, 0, 1);
    assert.equal(send(), NEGATED.EDESTADDRREQ, 'being written');
    Atomics.add(words, 0, 1);
    table.set(0, ADDRESS + 1, DEVICE, MAC);
    assert.equal(send(), NEGATED.EDESTADDRREQ, 'of another peer');
    batch.peer[0] = -1;
    assert.equal(send(), NEGATED.EDESTADDRREQ, 'no peer');
    batch.peer[0] = 8;
    assert.equal(send(), NEGATED.EDESTADDRREQ, 'beyond the table');
  });

  test('says which capability is missing, or that raw does without a packet socket', () => {
    const refusing = (errno: number) => ({ linkOpen: () => errno }) as unknown as Native;
    assert.throws(() => openPacketSocket(refusing(NEGATED.EPERM), 0), {
      code: 'ISTHMUS_ERR_PRIVILEGE',
      message: /tunnel\.transmit.*CAP_NET_RAW/,
    });
    assert.throws(() => openPacketSocket(refusing(-97), 0), {
      code: 'ISTHMUS_ERR_IO',
      message: /EAFNOSUPPORT.*tunnel\.transmit: raw/,
    });
    assert.equal(openPacketSocket({ linkOpen: () => 9 } as unknown as Native, 0), 9);
  });
});
