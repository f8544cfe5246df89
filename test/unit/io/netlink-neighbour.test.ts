import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../../src/base/address.ts';
import { IoError } from '../../../src/base/errors.ts';
import { Netlink } from '../../../src/io/netlink.ts';
import { NEIGHBOUR_STATE, readNeighbour, readWay } from '../../../src/io/netlink-neighbour.ts';
import { readNotice } from '../../../src/io/netlink-subscription.ts';
import { type Message, MessageReader, type MessageWriter } from '../../../src/io/netlink-wire.ts';
import { acknowledgement, message, scriptedKernel } from './kernel-script.ts';

const SEED = 17;
const DEVICE = 12;
const ROUTER = parseAddress('172.31.0.1');
const PEER = parseAddress('192.0.2.7');
const OURS = parseAddress('172.31.0.2');
const MAC = Uint8Array.of(0x82, 1, 2, 3, 4, 0xff);

function first(bytes: Uint8Array): Message {
  const [one] = new MessageReader(bytes, bytes.length).messages();
  assert.ok(one !== undefined);
  return one;
}

/** An attribute of any length. */
function attribute(writer: MessageWriter, type: number, value: Uint8Array): void {
  const header = writer.openNested(type);
  const at = writer.room(value.length);
  value.forEach((byte, i) => {
    writer.u8(at + i, byte);
  });
  writer.u16(header, 4 + value.length);
}

interface Entry {
  readonly type?: number;
  readonly family?: number;
  readonly state: number;
  readonly mac?: Uint8Array;
  readonly sequence?: number;
}

function neighbour({ type = 28, family = 2, state, mac = MAC, sequence = 7 }: Entry): Uint8Array {
  return message(type, 0, sequence, 12, (writer, fixed) => {
    writer.u8(fixed, family);
    writer.u32(fixed + 4, DEVICE);
    writer.u16(fixed + 8, state);
    writer.attributeAddress(1, ROUTER);
    attribute(writer, 2, mac);
    writer.attributeText(999, 'an attribute of a later kernel');
  });
}

function route(type: number, attributes: (writer: MessageWriter) => void, sequence = 7): Uint8Array {
  return message(24, 0, sequence, 12, (writer, fixed) => {
    writer.u8(fixed, 2);
    writer.u8(fixed + 1, 32);
    writer.u8(fixed + 7, type);
    attributes(writer);
  });
}

function viaRouter(writer: MessageWriter): void {
  writer.attributeU32(4, DEVICE);
  writer.attributeAddress(5, ROUTER);
}

describe('a neighbour of the kernel', () => {
  test('has device, address, state and link address', () => {
    assert.deepEqual(readNeighbour(first(neighbour({ state: NEIGHBOUR_STATE.STALE }))), {
      deviceIndex: DEVICE,
      address: ROUTER,
      state: NEIGHBOUR_STATE.STALE,
      mac: MAC,
    });
  });

  for (const [name, state] of Object.entries(NEIGHBOUR_STATE)) {
    const isValid = !['NONE', 'INCOMPLETE', 'FAILED'].includes(name);
    test(`that is ${name} ${isValid ? 'can be sent to' : 'has no link address to send to'}`, () => {
      const { mac } = readNeighbour(first(neighbour({ state })))!;
      assert.deepEqual(mac, isValid ? MAC : undefined);
    });
  }

  test('that was removed has no link address, whatever state it was in', () => {
    const notice = readNotice(first(neighbour({ type: 29, state: NEIGHBOUR_STATE.REACHABLE })));
    const gone = { deviceIndex: DEVICE, address: ROUTER, state: NEIGHBOUR_STATE.NONE, mac: undefined };
    assert.deepEqual(notice, { kind: 'neighbour', neighbour: gone });
  });

  test('whose link address is none of Ethernet’s, as InfiniBand’s, is not sent to', () => {
    const entry = neighbour({ state: NEIGHBOUR_STATE.REACHABLE, mac: new Uint8Array(20) });
    assert.equal(readNeighbour(first(entry))?.mac, undefined);
  });

  test('of IPv6 is none, nor is any other message', () => {
    assert.equal(readNeighbour(first(neighbour({ family: 10, state: 2 }))), undefined);
    assert.equal(readNeighbour(first(route(1, viaRouter))), undefined);
  });

  test('a rule or a nexthop object that came or went is told without what it says', () => {
    for (const type of [32, 33, 104, 105]) {
      const notice = readNotice(first(message(type, 0, 7, 12, () => {})));
      assert.deepEqual(notice, { kind: 'policy' });
    }
  });

  test('whatever bytes are changed or cut off, reading ends, with an IoError at most', () => {
    const whole = [neighbour({ state: 2 }), route(1, viaRouter)];
    fc.assert(
      fc.property(
        fc.constantFrom(...whole),
        fc.array(fc.tuple(fc.nat(95), fc.nat(255)), { maxLength: 8 }),
        fc.nat(96),
        (original, changes, cut) => {
          const bytes = original.slice(0, Math.max(16, original.length - cut));
          for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
          try {
            for (const one of new MessageReader(bytes, bytes.length).messages()) {
              readNeighbour(one);
              readWay(one, PEER);
            }
          } catch (error) {
            assert.ok(error instanceof IoError, String(error));
          }
        },
      ),
      { seed: SEED, numRuns: 500 },
    );
  });
});

describe('the way of a packet', () => {
  test('leads to the gateway of the route, or to the destination itself', () => {
    const direct = route(1, (writer) => writer.attributeU32(4, DEVICE));
    assert.deepEqual(readWay(first(route(1, viaRouter)), PEER), { deviceIndex: DEVICE, nextHop: ROUTER });
    assert.deepEqual(readWay(first(direct), PEER), { deviceIndex: DEVICE, nextHop: PEER });
  });

  test('is none where the kernel would do more than hand the packet to a device', () => {
    for (const type of [2, 3, 6, 7, 8]) assert.equal(readWay(first(route(type, viaRouter)), PEER), undefined);
    const withIpv6 = route(1, (writer) => {
      viaRouter(writer);
      attribute(writer, 18, new Uint8Array(18));
    });
    const withLabels = route(1, (writer) => {
      viaRouter(writer);
      attribute(writer, 21, Uint8Array.of(1, 0));
    });
    assert.equal(readWay(first(withIpv6), PEER), undefined);
    assert.equal(readWay(first(withLabels), PEER), undefined);
    assert.equal(readWay(first(route(1, () => {})), PEER), undefined, 'without a device');
  });

  test('is asked for with our own address as the source, and no route is no way', () => {
    const { native, sends } = scriptedKernel(([question]) => {
      const { sequence } = question!;
      return sends.length === 1
        ? [route(1, viaRouter, sequence), acknowledgement(sequence)]
        : [acknowledgement(sequence, 101)];
    });
    const netlink = new Netlink(native);
    assert.deepEqual(netlink.wayTo(PEER, OURS), { deviceIndex: DEVICE, nextHop: ROUTER });
    const { type, bytes } = sends[0]![0]!;
    assert.equal(type, 26);
    assert.deepEqual([...bytes.subarray(16, 20)], [2, 32, 32, 0], 'family, and whole addresses of both');
    assert.deepEqual([...bytes.subarray(-8)], [8, 0, 2, 0, 172, 31, 0, 2], 'RTA_SRC');
    assert.equal(netlink.wayTo(PEER, 0), undefined);
    assert.equal(sends[1]![0]!.bytes[18], 0, 'without a source');
  });
});

describe('the questions about a neighbour', () => {
  test('name it, and none is no error, as on kernels that answer no such question', () => {
    const errors = [0, 2, 95, 19];
    const { native, sends } = scriptedKernel(([question]) => {
      const { sequence } = question!;
      const error = errors[sends.length - 1]!;
      const found = error === 0 ? [neighbour({ state: 2, sequence })] : [];
      return [...found, acknowledgement(sequence, error)];
    });
    const netlink = new Netlink(native);
    assert.deepEqual(netlink.neighbour(DEVICE, ROUTER)?.mac, MAC);
    for (let i = 1; i < errors.length; i++) assert.equal(netlink.neighbour(DEVICE, ROUTER), undefined);
    const { type, bytes } = sends[0]![0]!;
    assert.equal(type, 30);
    assert.deepEqual([...bytes.subarray(16, 28)], [2, 0, 0, 0, DEVICE, 0, 0, 0, 0, 0, 0, 0]);
  });

  test('a use of it creates it, replaces nothing, and a refusal is told', () => {
    const { native, sends } = scriptedKernel(([question]) => [
      acknowledgement(question!.sequence, sends.length === 1 ? 0 : 1, 'no'),
    ]);
    const netlink = new Netlink(native);
    netlink.useNeighbour(DEVICE, ROUTER);
    const { type, flags, bytes } = sends[0]![0]!;
    assert.deepEqual([type, flags], [28, 0x405], 'REQUEST, ACK, CREATE');
    assert.deepEqual([...bytes.subarray(16, 28)], [2, 0, 0, 0, DEVICE, 0, 0, 0, 0, 0, 1, 0], 'NTF_USE');
    assert.throws(() => netlink.useNeighbour(DEVICE, ROUTER), { errno: 'EPERM', message: /172\.31\.0\.1/ });
  });
});
