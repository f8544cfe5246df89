import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FRAGMENTS_MAX, Slab, SPARE_BYTES, Spare } from '../../../src/dataplane/slab.ts';
import {
  BATCH_MAX,
  HEADROOM_BYTES,
  LARGE_SLOT_BYTES,
  PACKET_BYTES_MAX,
  SMALL_BYTES,
  SMALL_SLOT_BYTES,
} from '../../../src/io/batch.ts';
import { CALL_PACKETS_MAX } from '../../../src/io/native.ts';
import { fragmentCount } from '../../../src/packet/fragment.ts';

describe('the slab of an engine', () => {
  test('gives every received packet a small and a large room, with headroom before each, and leaves the spare memory alone', () => {
    const { bytes, fromDevice, fromUnderlay, spare } = new Slab();
    const rooms = [fromDevice, fromUnderlay]
      .flatMap((batch) =>
        Array.from({ length: BATCH_MAX }, (_, i) =>
          [SMALL_BYTES, PACKET_BYTES_MAX].map((room) => ({ at: batch.roomFor(i, room), room })),
        ).flat(),
      )
      .map(({ at, room }) => ({ from: at - HEADROOM_BYTES, to: at + room, at }))
      .sort((a, b) => a.from - b.from);
    assert.equal(rooms.length, 4 * BATCH_MAX);
    assert.equal(rooms[0]!.from, 0);
    for (const { at } of rooms) assert.equal(at % 64, 0, 'packets begin with a cache line');
    assert.equal((SMALL_SLOT_BYTES / 64) % 2, 1);
    assert.equal((LARGE_SLOT_BYTES / 64) % 2, 1);
    for (const [index, room] of rooms.slice(1).entries()) assert.ok(room.from >= rooms[index]!.to);
    const firstSpare = spare.take(1) - HEADROOM_BYTES;
    assert.ok(firstSpare >= rooms.at(-1)!.to);
    assert.ok(firstSpare + SPARE_BYTES <= bytes.length);
    assert.ok(bytes.buffer instanceof SharedArrayBuffer, 'the packet path is built for one kind of memory');
  });

  test('has send batches that hold a whole received batch, and all fragments of one more packet', () => {
    const { toUnderlay, toDevice } = new Slab();
    assert.ok(toUnderlay.capacity >= BATCH_MAX + FRAGMENTS_MAX);
    assert.equal(toUnderlay.capacity, CALL_PACKETS_MAX, 'one system call');
    assert.equal(toDevice.capacity, BATCH_MAX);
  });
});

describe('spare memory', () => {
  test('is handed out in pieces that do not overlap, each with headroom, until it is full, and all of it again after a reset', () => {
    const spare = new Spare(1000, 1000);
    let end = 1000;
    let taken = 0;
    for (let at = spare.take(100); at >= 0; at = spare.take(100)) {
      assert.ok(at - HEADROOM_BYTES >= end);
      end = at + 100;
      assert.ok(end <= 2000);
      taken += 1;
    }
    assert.equal(taken, 5);
    spare.reset();
    assert.equal(spare.freeBytes(), 1000);
    assert.ok(spare.take(100) >= 1000);
  });

  test('gives exactly what is there and not one byte more', () => {
    assert.ok(new Spare(0, HEADROOM_BYTES + 160).take(160) >= 0);
    assert.equal(new Spare(0, HEADROOM_BYTES + 160).take(161), -1);
  });

  test('holds the fragments of the largest packet for every header length and every MTU that makes no more than FRAGMENTS_MAX', () => {
    for (let header = 20; header <= 60; header += 4) {
      for (let mtu = header + 8; mtu <= 65_535; mtu += mtu < 2000 ? 1 : 97) {
        const count = fragmentCount(65_535, header, mtu);
        if (count > FRAGMENTS_MAX) continue;
        const spare = new Spare(0, SPARE_BYTES);
        for (let index = 1; index < count; index++) {
          assert.ok(spare.take(mtu) >= 0, `fragment ${index} of ${count}, header ${header}, MTU ${mtu}`);
        }
      }
    }
  });
});
