import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Batch, receiveBatch, slotBytes } from '../../../src/io/batch.ts';
import { type LinkFault, MemoryLink } from '../../../src/io/memory.ts';

function batchOf(capacity: number): Batch {
  const batch = receiveBatch(new Uint8Array(slotBytes(capacity)), 0, capacity);
  for (let i = 0; i < capacity; i++) batch.at[i] = batch.roomFor(i, 0);
  return batch;
}

/** Fills slots with packets `first`, `first + 1`, …: each all of its number, as long as its number. */
function load(batch: Batch, first: number, count: number): void {
  for (let i = 0; i < count; i++) {
    batch.bytes.fill(first + i, batch.at[i]!, batch.at[i]! + first + i);
    batch.length[i] = first + i;
    batch.address[i] = 1000 + first + i;
  }
}

describe('a link in memory', () => {
  test('carries packets both ways, in order, byte for byte, with the address that the sender gave', () => {
    const { left, right } = new MemoryLink();
    for (const [from, to] of [
      [left, right],
      [right, left],
    ] as const) {
      const sent = batchOf(8);
      const received = batchOf(8);
      load(sent, 20, 5);
      assert.equal(from.send(sent, 0, 5), 5);
      assert.equal(to.waiting, 5);
      assert.equal(to.receive(received), 5);
      for (let i = 0; i < 5; i++) {
        assert.equal(received.length[i], 20 + i);
        assert.equal(received.address[i], 1020 + i);
        const at = received.at[i]!;
        assert.deepEqual(received.bytes.slice(at, at + 20 + i), new Uint8Array(20 + i).fill(20 + i));
      }
      assert.equal(to.receive(received), 0);
    }
  });

  test('hands over at most a batch, and the rest the next time', () => {
    const { left, right } = new MemoryLink();
    const sent = batchOf(8);
    load(sent, 20, 8);
    left.send(sent, 0, 8);
    const received = batchOf(5);
    assert.deepEqual([right.receive(received), right.receive(received), right.receive(received)], [5, 3, 0]);
    assert.equal(received.length[0], 25);
  });

  test('drops what comes to a full queue and counts it, also when the ring has wrapped', () => {
    const { left, right } = new MemoryLink({ capacity: 4 });
    const sent = batchOf(8);
    const received = batchOf(3);
    load(sent, 20, 8);
    assert.equal(left.send(sent, 0, 3), 3);
    assert.equal(right.receive(received), 3);
    assert.equal(left.send(sent, 0, 8), 8);
    assert.equal(right.waiting, 4);
    assert.equal(right.dropped, 4);
    assert.equal(right.receive(received), 3);
    assert.equal(right.read()![0], 23);
    assert.equal(right.read(), undefined);
  });

  test('refuses a packet above its MTU with EMSGSIZE, after taking those before it', () => {
    const { left } = new MemoryLink({ mtuBytes: 22 });
    const sent = batchOf(4);
    load(sent, 21, 4);
    assert.equal(left.send(sent, 0, 4), 2);
    assert.equal(left.send(sent, 2, 4), -90);
  });

  test('a fault decides how often, when and with what bytes a packet arrives', () => {
    const held: Uint8Array[] = [];
    const fault: LinkFault = {
      pass(packet, address, deliver) {
        if (packet.length === 21) return;
        if (packet.length === 22) held.push(packet.slice());
        else {
          deliver(packet, address);
          for (const late of held.splice(0)) deliver(late.fill(9), 7);
        }
      },
    };
    const { left, right } = new MemoryLink({ fault });
    const sent = batchOf(4);
    load(sent, 20, 4);
    assert.equal(left.send(sent, 0, 4), 4);
    assert.deepEqual(
      [right.read()!.length, right.read()!.length, right.read()!, right.read()],
      [20, 23, new Uint8Array(22).fill(9), undefined],
    );
  });

  test('write and read play the far side, past the fault', () => {
    const { left, right } = new MemoryLink({ capacity: 1, fault: { pass() {} } });
    assert.equal(left.write(Uint8Array.of(1, 2, 3), 5), true);
    assert.equal(left.write(Uint8Array.of(4)), false);
    const received = batchOf(1);
    assert.equal(right.receive(received), 1);
    assert.equal(received.address[0], 5);
  });

  test('what is sent in pieces arrives as one packet, whatever entry the call begins with', () => {
    const { left, right } = new MemoryLink();
    const batch = batchOf(3);
    batch.bytes.set(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9), batch.at[0]!);
    const start = batch.at[0]!;
    batch.at.fill(start);
    batch.length.set([6, 2, 5]);
    batch.pieces.set([2, 0, 1]);
    batch.pieces.set([start + 6, 1, start + 4, 2, start + 8, 1], batch.capacity);
    const whole = [
      [1, 2, 3, 7, 5, 6],
      [1, 2],
      [1, 2, 3, 4, 9],
    ];
    for (const from of [0, 1, 2]) {
      assert.equal(left.send(batch, from, 3), 3 - from);
      for (const packet of whole.slice(from)) assert.deepEqual([...right.read()!], packet);
    }
  });

  test('a closed end neither sends nor receives', () => {
    const { left } = new MemoryLink();
    left.close();
    left.close();
    assert.equal(left.receive(batchOf(1)), -9);
    assert.equal(left.send(batchOf(1), 0, 1), -9);
  });
});
