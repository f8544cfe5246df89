import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { COALESCE } from '../../../src/io/native.ts';
import { coalesce } from './coalesce-rig.ts';
import {
  checkAt,
  damaged,
  Flow,
  type FlowPacket,
  leftPartial,
  protocolOf,
  transportAt,
} from './flow-packets.ts';
import { cutByKernel } from './kernel-cut.ts';

const SEED = 2003;
const MTU = 1480;

/** What happens to one packet of a flow: mostly nothing. */
interface Step {
  readonly flow: number;
  readonly payloadBytes: number;
  readonly change: Partial<FlowPacket>;
  readonly fate: 'whole' | 'partial' | 'damaged' | 'late';
}

const rare = <T>(usual: T, ...others: T[]): fc.Arbitrary<T> =>
  fc.oneof(
    { weight: 10 * others.length, arbitrary: fc.constant(usual) },
    ...others.map((other) => ({ weight: 1, arbitrary: fc.constant(other) })),
  );

const step: fc.Arbitrary<Step> = fc.record({
  flow: fc.integer({ min: 0, max: 19 }).map((number) => (number < 16 ? number % 3 : number)),
  payloadBytes: rare(400, 0, 1, 399, 401, 1000),
  change: rare<Partial<FlowPacket>>(
    {},
    ...[1, 2, 4, 8, 32, 64, 128].map((flag) => ({ flags: 16 + flag })),
    ...[
      { tos: 3 },
      { tos: 184 },
      { ttl: 9 },
      { dontFragment: false },
      { id: 9, dontFragment: false },
      { window: 9 },
      { urgent: 9 },
    ],
    ...[
      { acknowledgement: 9 },
      { reserved: 1 },
      { moreFragments: true },
      { offsetUnits: 9 },
      { flowLabel: 9 },
    ],
    ...[{ tcpOptions: Uint8Array.of(1, 1, 1, 0) }, { ipOptions: Uint8Array.of(1, 1, 1, 0) }],
  ),
  fate: rare<Step['fate']>('whole', 'partial', 'damaged', 'late'),
});

/** Flows of both versions and protocols between two pairs of hosts: every third one is UDP. */
function flowOf(number: number): Flow {
  return new Flow({
    ...{ version: number % 2 === 0 ? 4 : 6, protocol: number % 3 === 2 ? 17 : 6 },
    ...{ port: number, host: number % 5, sequence: number * 0x0fff_ff00, id: number * 4369 },
  });
}

interface Made {
  /** As it is handed to the addon. */
  readonly sent: Uint8Array[];
  /** As the receiver must see it. */
  readonly expected: Uint8Array[];
}

function make(steps: readonly Step[]): Made {
  const flows = new Map<number, Flow>();
  const made: Made = { sent: [], expected: [] };
  for (const { flow: number, payloadBytes, change, fate } of steps) {
    const flow = flows.get(number) ?? flowOf(number);
    flows.set(number, flow);
    const packet = flow.next(payloadBytes, change);
    const isWhole = change.moreFragments !== true && change.offsetUnits === undefined;
    const sent =
      fate === 'partial' && isWhole ? leftPartial(packet) : fate === 'damaged' ? damaged(packet) : packet;
    const expected = sent === packet || (fate === 'partial' && isWhole) ? packet : sent;
    const at = fate === 'late' ? Math.max(0, made.sent.length - 1) : made.sent.length;
    made.sent.splice(at, 0, sent);
    made.expected.splice(at, 0, expected);
  }
  return made;
}

/** Packets of one flow have one key; a fragment has that of its hosts. */
function hostsOf(packet: Uint8Array): string {
  return Buffer.from(packet[0]! >= 0x60 ? packet.subarray(8, 40) : packet.subarray(12, 20)).toString('hex');
}

function flowKey(packet: Uint8Array): string | undefined {
  if (packet[0]! < 0x60 && (packet[6]! & 0x3f) + packet[7]! !== 0) return undefined;
  const at = transportAt(packet);
  return `${hostsOf(packet)} ${protocolOf(packet)} ${Buffer.from(packet.subarray(at, at + 4)).toString('hex')}`;
}

/** The packets of each flow in their order, with the fragments between its hosts among them. */
function sequences(packets: readonly Uint8Array[]): Map<string, string[]> {
  const keys = new Set(packets.map(flowKey).filter((key) => key !== undefined));
  const of = (key: string): string[] =>
    packets
      .filter((packet) => (flowKey(packet) ?? key) === key && key.startsWith(hostsOf(packet)))
      .map((packet) => Buffer.from(packet).toString('hex'));
  return new Map([...keys].sort().map((key) => [key, of(key)]));
}

test('what the kernel cuts merged packets into are the packets that came, byte for byte and in the order of each flow', () => {
  let mergedPackets = 0;
  const property = fc.property(
    fc.array(step, { minLength: 2, maxLength: 64, size: 'max' }),
    fc.boolean(),
    (steps, hasUdp) => {
      const { sent, expected } = make(steps);
      const { entries, dropped } = coalesce(sent, { mtu: MTU, features: hasUdp ? COALESCE.UDP : 0 });
      assert.deepEqual(dropped, []);
      const cut = entries.flatMap(({ vnet, packet }) => cutByKernel(vnet, packet));
      assert.deepEqual(sequences(cut), sequences(expected));
      assert.equal(cut.length, expected.length);
      assert.deepEqual(
        entries.map((entry) => entry.packets),
        entries.map(({ vnet, packet }) => cutByKernel(vnet, packet).length),
      );
      mergedPackets += sent.length - entries.length;
    },
  );
  fc.assert(property, { seed: SEED, numRuns: 300 });
  assert.ok(mergedPackets > 1000, `only ${mergedPackets} packets were merged: the property shows nothing`);
});

test('whatever packets hold, nothing outside them and their vnet headers is written, and none is lost', () => {
  const hostile = fc
    .tuple(step, fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 4 }), fc.option(fc.nat(80)))
    .map(([shape, changes, cutAt]) => {
      const packet = make([shape]).sent[0]!;
      for (const [at, value] of changes) if (at < packet.length) packet[at] = value;
      return cutAt === null ? packet : packet.slice(0, cutAt);
    });
  const property = fc.property(
    fc.array(hostile, { maxLength: 64 }),
    fc.integer({ min: 68, max: 2000 }),
    (packets, mtu) => {
      const { entries, dropped } = coalesce(packets, { mtu, features: COALESCE.UDP });
      const counted = entries.reduce((sum, entry) => sum + entry.packets, dropped.length);
      assert.equal(counted, packets.length);
      const bytes = entries.reduce((sum, entry) => sum + entry.innerBytes, 0);
      const lost = dropped.reduce((sum, entry) => sum + entry.innerBytes, 0);
      assert.equal(
        bytes + lost,
        packets.reduce((sum, packet) => sum + packet.length, 0),
      );
    },
  );
  fc.assert(property, { seed: SEED, numRuns: 500 });
});

test('a checksum that happens to be the pseudo-header sum is told from one that was left undone', () => {
  // The payload is changed until the whole checksum has that value: the packet is whole, and must stay so.
  const packet = new Flow().next(100);
  const partial = leftPartial(packet);
  const wanted = partial[checkAt(partial)]! * 256 + partial[checkAt(partial) + 1]!;
  const whole = packet[checkAt(packet)]! * 256 + packet[checkAt(packet) + 1]!;
  const last = packet.length - 2;
  const word = packet[last]! * 256 + packet[last + 1]! + whole - wanted;
  const fitted = ((word % 0xffff) + 0xffff) % 0xffff;
  partial[last] = Math.floor(fitted / 256);
  partial[last + 1] = fitted % 256;
  const { entries } = coalesce([partial]);
  assert.equal(entries[0]!.vnet.flags, 0);
  assert.deepEqual(entries[0]!.packet, partial);
});
