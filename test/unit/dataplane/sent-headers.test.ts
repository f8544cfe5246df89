import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  SENT_HEAD_BYTES,
  SENT_HEADERS_BYTES,
  SENT_ROWS,
  SentHeaders,
} from '../../../src/dataplane/sent-headers.ts';
import { Batch } from '../../../src/io/batch.ts';
import { buildIpv4, get16, get32 } from '../../sim/oracle/wire.ts';
import { PLAIN, superPacket, vnetOf } from '../io/super-packets.ts';
import { OURS, POD, packet, Rig, WEST_1, WEST_2, WEST_POD } from './rig.ts';

interface Packet {
  readonly id: number;
  readonly gateway: number;
  readonly payload: Uint8Array;
  readonly offsetUnits: number;
}

const packets = fc.array(
  fc.record({
    id: fc.integer({ min: 0, max: 65_535 }),
    gateway: fc.constantFrom(WEST_1, WEST_2),
    payload: fc.uint8Array({ minLength: 8, maxLength: 60 }),
    offsetUnits: fc.constantFrom(0, 0, 0, 100),
  }),
  { minLength: 1, maxLength: 16 },
);

/** As they lie in the batch that goes to the underlay, wherever that is in memory. */
function batchOf(sent: readonly Packet[]): Batch {
  const batch = new Batch(new Uint8Array(200 * sent.length), sent.length);
  for (const [i, { id, gateway, payload, offsetUnits }] of sent.entries()) {
    const inner = buildIpv4({
      source: 0x0a01_0005,
      destination: 0x0a02_0005,
      ttl: 63,
      id: id ^ 0x5555,
      payload,
    });
    const outer = buildIpv4({
      ...{ protocol: 4, source: OURS, destination: gateway, id, offsetUnits, payload: inner },
    });
    const at = 200 * i + (i % 4);
    batch.bytes.set(outer, at);
    batch.at[i] = at;
    batch.length[i] = outer.length;
    batch.address[i] = gateway;
  }
  batch.count = sent.length;
  return batch;
}

test('the last packet of an ID is known by what a router quotes of it, and no other one', () => {
  fc.assert(
    fc.property(packets, (sent) => {
      const batch = batchOf(sent);
      const memory = new SentHeaders(new SharedArrayBuffer(SENT_HEADERS_BYTES));
      memory.remember(batch, 0, sent.length);
      const out = new Uint8Array(SENT_HEAD_BYTES);
      for (const [i, { id, gateway, offsetUnits }] of sent.entries()) {
        const head = batch.bytes.slice(batch.at[i]! + 20, batch.at[i]! + 20 + SENT_HEAD_BYTES);
        const later = sent.slice(i + 1).some((other) => {
          return other.offsetUnits === 0 && other.id % SENT_ROWS === id % SENT_ROWS;
        });
        const known = offsetUnits === 0 && !later;
        if (!known) continue;
        assert.ok(memory.recall(gateway, id, head, 0, out));
        assert.deepEqual(out, head);
        assert.ok(!memory.recall(gateway ^ 1, id, head, 0, out), 'of another gateway');
        assert.ok(!memory.recall(gateway, id + 1, head, 0, out), 'of another ID');
        head[5]! ^= 1;
        assert.ok(!memory.recall(gateway, id, head, 0, out), 'of another packet');
      }
    }),
    { seed: 9 },
  );
});

test('a packet that is shorter than what an error has to quote is not kept', () => {
  const batch = batchOf([{ id: 7, gateway: WEST_1, payload: new Uint8Array(8), offsetUnits: 0 }]);
  batch.length[0]! -= 1;
  const memory = new SentHeaders(new SharedArrayBuffer(SENT_HEADERS_BYTES));
  memory.remember(batch, 0, 1);
  assert.ok(!memory.recall(WEST_1, 7, batch.bytes, 20, new Uint8Array(SENT_HEAD_BYTES)));
});

test('all that an engine sends is known by its outer header, also segments and fragments', () => {
  const rig = new Rig();
  const large = { ...PLAIN, source: POD, destination: WEST_POD, payloadBytes: 10_000 };
  rig.hostSends(packet({}, 48), packet({ dontFragment: false }, 3000), packet({}, 1480));
  rig.hostSendsUncut(superPacket(large), vnetOf(large, 1000));
  rig.run();
  const sent = rig.sent();
  assert.equal(sent.length, 1 + 3 + 1 + 10);
  const out = new Uint8Array(SENT_HEAD_BYTES);
  for (const outer of sent) {
    assert.ok(rig.sentHeaders.recall(get32(outer, 16), get16(outer, 4), outer, 20, out));
    assert.deepEqual([...out], [...outer.subarray(20, 20 + SENT_HEAD_BYTES)]);
  }
});

test('with fou, all that an engine sends is known by its UDP header, and by no other', () => {
  const sentHeaders = new SentHeaders(new SharedArrayBuffer(SENT_HEADERS_BYTES), 'fou');
  const rig = new Rig({ settings: { udp: { port: 5555, peerPorts: new Map() } }, sentHeaders });
  const large = { ...PLAIN, source: POD, destination: WEST_POD, payloadBytes: 10_000 };
  rig.hostSends(packet({}, 48), packet({ dontFragment: false }, 3000), packet({ protocol: 17 }, 1472));
  rig.hostSendsUncut(superPacket(large), vnetOf(large, 1000));
  rig.run();
  const sent = rig.sent();
  assert.equal(sent.length, 1 + 3 + 1 + 10);
  const out = new Uint8Array(SENT_HEAD_BYTES);
  for (const outer of sent) {
    const [gateway, id] = [get32(outer, 16), get16(outer, 4)];
    assert.ok(sentHeaders.recall(gateway, id, outer, 20, out));
    assert.deepEqual([...out], [...outer.subarray(28, 28 + SENT_HEAD_BYTES)]);
    assert.ok(!sentHeaders.recall(gateway ^ 1, id, outer, 20, out), 'of another gateway');
    for (const at of [21, 25]) {
      outer[at]! ^= 1;
      assert.ok(!sentHeaders.recall(gateway, id, outer, 20, out), 'of another port or length');
      outer[at]! ^= 1;
    }
  }
});

test('of many packets at once a third is known', () => {
  const sent = Array.from({ length: 60 }, (_, id) => ({
    ...{ id, gateway: WEST_1, payload: new Uint8Array(8), offsetUnits: 0 },
  }));
  const batch = batchOf(sent);
  const memory = new SentHeaders(new SharedArrayBuffer(SENT_HEADERS_BYTES));
  memory.remember(batch, 0, sent.length);
  const known = sent.filter((_, i) => {
    return memory.recall(WEST_1, i, batch.bytes, batch.at[i]! + 20, new Uint8Array(SENT_HEAD_BYTES));
  });
  assert.equal(known.length, 20);
});
