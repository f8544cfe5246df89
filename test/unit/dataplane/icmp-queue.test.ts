import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  ICMP_BURST,
  ICMP_MESSAGE_BYTES,
  ICMP_PER_SECOND,
  ICMP_QUEUE_BYTES,
  ICMP_SLOTS,
  IcmpQueue,
  SOURCE_ICMP_BURST,
  SOURCE_ICMP_PER_SECOND,
} from '../../../src/dataplane/icmp-queue.ts';
import { get16, onesSum } from '../../sim/oracle/wire.ts';
import { HandClock, POD, packet } from './rig.ts';

const UNREACHABLE = 3;

function queues(): { buffer: SharedArrayBuffer; clock: HandClock; engine: IcmpQueue; control: IcmpQueue } {
  const buffer = new SharedArrayBuffer(ICMP_QUEUE_BYTES);
  const clock = new HandClock();
  return { buffer, clock, engine: new IcmpQueue(buffer, clock), control: new IcmpQueue(buffer, clock) };
}

function push(queue: IcmpQueue, id: number, length = 100): number {
  const bytes = packet({ id }, length);
  queue.beginTurn();
  return queue.push(UNREACHABLE, 4, 1480, bytes, 0, bytes.length);
}

function drained(queue: IcmpQueue): Uint8Array[] {
  const messages: Uint8Array[] = [];
  queue.drain((destination, message) => {
    assert.equal(destination, POD);
    messages.push(message);
  });
  return messages;
}

const idOf = (message: Uint8Array): number => get16(message, 8 + 4);

describe('the queue of ICMP errors', () => {
  test('hands over through shared memory what the engine wrote: to the sender, with type, code, MTU and the packet', () => {
    const { engine, control } = queues();
    assert.equal(control.isEmpty, true);
    assert.equal(push(engine, 7), 1);
    assert.equal(control.isEmpty, false);
    const [message, ...rest] = drained(control);
    assert.equal(rest.length, 0);
    assert.deepEqual([message![0], message![1], get16(message!, 6)], [UNREACHABLE, 4, 1480]);
    assert.equal(onesSum(message!), 0xffff);
    assert.deepEqual(message!.slice(8), packet({ id: 7 }));
    assert.equal(control.isEmpty, true);
  });

  test('quotes as much of a long packet as 576 bytes with an IPv4 header hold', () => {
    const { engine, control } = queues();
    push(engine, 1, 1500);
    assert.equal(drained(control)[0]!.length, ICMP_MESSAGE_BYTES);
  });

  test('keeps the order over many rounds of its ring', () => {
    const { clock, engine, control } = queues();
    let next = 0;
    for (let round = 0; round < 20; round++) {
      const ids = Array.from({ length: 40 }, () => next++);
      for (const id of ids) {
        clock.ms += 5;
        assert.equal(push(engine, id), 1);
      }
      assert.deepEqual(drained(control).map(idOf), ids);
    }
  });

  test('keeps the order where its counters wrap around 2^32', () => {
    const { buffer, clock, engine, control } = queues();
    // Head and tail, each in a cache line of its own.
    for (const word of [16, 32]) new Uint32Array(buffer)[word] = 0xffff_fff0;
    for (let id = 0; id < 40; id++) {
      clock.ms += 5;
      assert.equal(push(engine, id), 1);
    }
    assert.deepEqual(
      drained(control).map(idOf),
      Array.from({ length: 40 }, (_, id) => id),
    );
    assert.equal(control.isEmpty, true);
  });

  test(`takes ${ICMP_SLOTS} errors and not one more while nobody drains it`, () => {
    const { clock, engine, control } = queues();
    for (let id = 0; id < ICMP_SLOTS; id++) {
      clock.ms += 10;
      assert.equal(push(engine, id), 1);
    }
    clock.ms += 1000;
    assert.equal(push(engine, 999), -1);
    assert.equal(drained(control).length, ICMP_SLOTS);
    assert.equal(push(engine, 1000), 1);
    assert.deepEqual(drained(control).map(idOf), [1000]);
  });

  test('gives the reader a copy that later errors do not overwrite', () => {
    const { clock, engine, control } = queues();
    push(engine, 1);
    const [message] = drained(control);
    for (let id = 2; id < 2 + ICMP_SLOTS; id++) {
      clock.ms += 10;
      push(engine, id);
    }
    assert.equal(idOf(message!), 1);
  });

  test('never answers a packet that RFC 1812 §4.3.2.7 leaves unanswered, and spends nothing on it', () => {
    const { engine, control } = queues();
    const error = packet({ protocol: 1, payload: Uint8Array.of(3, 1, 0, 0, 0, 0, 0, 0) });
    for (let i = 0; i < 2 * ICMP_BURST; i++) {
      engine.beginTurn();
      assert.equal(engine.push(UNREACHABLE, 0, 0, error, 0, error.length), 0);
    }
    assert.equal(control.isEmpty, true);
    assert.equal(push(engine, 1), 1);
  });
});

describe('the rate of ICMP errors', () => {
  const pushed = (queue: IcmpQueue, wanted: number, control: IcmpQueue): number => {
    let count = 0;
    for (let id = 0; id < wanted; id++) {
      if (push(queue, id) === 1) count += 1;
      drained(control);
    }
    return count;
  };

  /** Errors to many sources, a few to each. */
  let next = 0;
  const spread = (queue: IcmpQueue, wanted: number, control: IcmpQueue): number => {
    let count = 0;
    for (let id = 0; id < wanted; id++) {
      queue.beginTurn();
      const bytes = packet({ source: POD + (next++ % 500) });
      if (queue.push(UNREACHABLE, 0, 0, bytes, 0, bytes.length) === 1) count += 1;
      control.drain(() => {});
    }
    return count;
  };

  test(`is ${ICMP_BURST} at once after a pause, however long the pause was`, () => {
    const { clock, engine, control } = queues();
    assert.equal(spread(engine, 1000, control), ICMP_BURST);
    clock.ms += 3_600_000;
    assert.equal(spread(engine, 1000, control), ICMP_BURST);
  });

  test(`is ${ICMP_PER_SECOND} a second where errors are always wanted`, () => {
    const { clock, engine, control } = queues();
    spread(engine, 1000, control);
    let count = 0;
    for (let ms = 0; ms < 2000; ms++) {
      clock.ms += 1;
      count += spread(engine, 5, control);
    }
    assert.equal(count, 2 * ICMP_PER_SECOND);
  });

  test(`is ${SOURCE_ICMP_BURST} at once and ${SOURCE_ICMP_PER_SECOND} a second for one source, and others are still answered`, () => {
    const { clock, engine, control } = queues();
    assert.equal(pushed(engine, 1000, control), SOURCE_ICMP_BURST);
    assert.equal(spread(engine, 1000, control), ICMP_BURST - SOURCE_ICMP_BURST);
    let count = 0;
    for (let ms = 0; ms < 2000; ms++) {
      clock.ms += 1;
      count += pushed(engine, 5, control);
    }
    assert.ok(Math.abs(count - 2 * SOURCE_ICMP_PER_SECOND) <= 1, `${count} in 2 s`);
  });

  test('looks at the clock once in a turn, because each look makes garbage', () => {
    let looks = 0;
    const clock = new HandClock();
    clock.nowMs = () => {
      looks += 1;
      return 0;
    };
    const queue = new IcmpQueue(new SharedArrayBuffer(ICMP_QUEUE_BYTES), clock);
    const before = looks;
    queue.beginTurn();
    const bytes = packet();
    for (let i = 0; i < 60; i++) queue.push(UNREACHABLE, 0, 0, bytes, 0, bytes.length);
    assert.equal(looks - before, 1);
  });
});
