import assert from 'node:assert/strict';
import type { Prng } from '../../../src/base/prng.ts';
import { counterBytes, DROPS_INBOUND, TOTAL } from '../../../src/dataplane/counters.ts';
import { ICMP_QUEUE_BYTES, IcmpQueue } from '../../../src/dataplane/icmp-queue.ts';
import { Inbound } from '../../../src/dataplane/inbound.ts';
import { plainInbound } from '../../../src/dataplane/plain-inbound.ts';
import { Slab } from '../../../src/dataplane/slab.ts';
import { batchLookup } from '../../../src/fib/batch-lookup.ts';
import { BATCH_MAX } from '../../../src/io/batch.ts';
import { PROTOCOL } from '../../../src/packet/ipv4.ts';
import { VERDICT, VERDICT_COUNT } from '../../../src/packet/verdict.ts';
import { type InboundFate, predictInbound } from '../../sim/oracle/inbound.ts';
import { buildIpv4, get16, get32, headerLength, hex, put32, sameBytes } from '../../sim/oracle/wire.ts';
import { HandClock, OURS, STRANGER, tunnelled, WEST_1, WEST_2 } from '../../unit/dataplane/rig.ts';
import { malformedPacket } from '../malformed-packets.ts';
import { fitted, packetList, readPacketList, resealed, transportSealed } from '../packet-list.ts';
import type { Target } from '../target.ts';
import { ADDRESSES, type Variant, variants } from '../world.ts';
import { fill } from './fill.ts';

const PROBE_PORT = 49_461;
const PROBE_MARK = 0x4973_746d;
/** A datagram with both, and room for the rest. */
const PROBE = Uint8Array.of(
  193,
  53,
  193,
  53,
  0,
  28,
  0,
  0,
  0x49,
  0x73,
  0x74,
  0x6d,
  1,
  1,
  ...new Uint8Array(14),
);

/** Offers segments of 4,000 bytes. */
const SYN = Uint8Array.of(...new Array<number>(12).fill(9), 0x60, 2, 0, 9, 0, 0, 0, 0, 2, 4, 15, 160);

/** The addon's part is fuzzed by itself: here it leaves every packet as it is. */
const KEEPS_ALL = { coalesce: (...columns: unknown[]) => columns[7] as number };

class Side {
  readonly slab = new Slab();
  readonly counters = new Float64Array(counterBytes(64));
  readonly slowPath = new IcmpQueue(new SharedArrayBuffer(ICMP_QUEUE_BYTES), new HandClock());
  readonly inbound: Inbound;
  readonly variant: Variant;

  constructor(variant: Variant) {
    const { words } = variant.fib;
    this.variant = variant;
    const plain = plainInbound(words, this.slab, batchLookup(words, 2 * BATCH_MAX));
    this.inbound = new Inbound(words, this.counters, this.slab, plain, KEEPS_ALL, 0, this.slowPath);
  }
}

/** What decapsulation makes of packets from the underlay, held against the oracle packet by packet. */
export function inboundTarget(): Target {
  const sides = variants().map((variant) => new Side(variant));
  return {
    name: 'inbound',
    bytesMax: 6000,
    run: (input) => {
      const { choice, packets } = readPacketList(input);
      const side = sides[choice % sides.length]!;
      return check(
        side,
        packets.map(({ bytes }) => bytes),
      );
    },
    repair,
    seeds: () =>
      [0, 1, 2, 3, 4].flatMap((choice) => [
        packetList(choice, [{ flags: 0, bytes: tunnelled() }]),
        packetList(choice, [
          {
            flags: 0,
            bytes: tunnelled({ source: WEST_1, destination: OURS, protocol: PROTOCOL.UDP, payload: PROBE }),
          },
        ]),
        packetList(choice, [
          { flags: 0, bytes: tunnelled({ protocol: PROTOCOL.UDP, payload: new Uint8Array(2000) }) },
        ]),
        packetList(choice, [{ flags: 0, bytes: tunnelled({ protocol: PROTOCOL.TCP, payload: SYN }) }]),
        ...Array.from({ length: 24 }, (_, i) => packetList(choice, [{ flags: 0, bytes: someTunnelled(i) }])),
      ]),
  };
}

function someTunnelled(index: number): Uint8Array {
  const ends = { sources: ADDRESSES.slice(2, 5), destinations: ADDRESSES.slice(0, 2), strange: ADDRESSES };
  const payload = malformedPacket(1, index, { ...ends, bytesMax: 1480 });
  const source = [WEST_1, WEST_2, STRANGER][index % 3]!;
  return buildIpv4({ protocol: 4, source, destination: OURS, payload, tos: index % 4 });
}

function check(
  { slab, counters, inbound, variant, slowPath }: Side,
  packets: readonly Uint8Array[],
): number[] {
  const { fromUnderlay, toDevice } = slab;
  counters.fill(0);
  fill(fromUnderlay, packets);
  inbound.step();
  const deviceMtuBytes = variant.model.settings.linkMtuBytes - 20;
  const drops = new Array<number>(VERDICT_COUNT).fill(0);
  const outcomes: number[] = [];
  const probes: number[] = [];
  let ecnUnused = 0;
  let out = 0;
  let before = 0;
  for (const received of packets) {
    const fate = predictInbound(variant.model, received);
    const verdict = isLeftToAddon(fate) ? VERDICT.FORWARD : fate.verdict;
    outcomes.push(before * VERDICT_COUNT + verdict);
    before = verdict;
    if (fate.ecnUnused === true) ecnUnused += 1;
    if (isProbe(fate, received)) {
      probes.push(get32(received, 12));
      continue;
    }
    if (verdict !== VERDICT.FORWARD) {
      drops[verdict]! += 1;
      continue;
    }
    assert.ok(out < toDevice.count, `not forwarded: ${hex(received)}`);
    const at = toDevice.at[out]!;
    compare(toDevice.bytes.slice(at, at + toDevice.length[out]!), fate, deviceMtuBytes);
    out += 1;
  }
  assert.equal(toDevice.count, out, 'forwarded more than it should have');
  toDevice.count = 0;
  assert.deepEqual([...counters.subarray(DROPS_INBOUND, DROPS_INBOUND + VERDICT_COUNT)], drops);
  assert.equal(counters[TOTAL.INBOUND_RECEIVED], packets.length);
  assert.equal(counters[TOTAL.INBOUND_PROBES], probes.length);
  assert.equal(counters[TOTAL.ECN_UNUSED], ecnUnused);
  const taken: number[] = [];
  slowPath.drain(assert.fail, (gateway) => taken.push(Number(gateway)));
  assert.deepEqual(taken, probes);
  return outcomes;
}

/** docs/health.md: UDP from a gateway to us, ends of the tunnel inside as outside, with the port and the mark of a probe. */
function isProbe({ verdict, peer }: InboundFate, received: Uint8Array): boolean {
  if (verdict !== VERDICT.MARTIAN || peer === undefined) return false;
  const inner = received.subarray(headerLength(received));
  if (get32(inner, 12) !== peer || get32(inner, 16) !== OURS || inner[9] !== PROTOCOL.UDP) return false;
  if (headerLength(inner) !== 20 || get16(inner, 2) < 48 || get16(inner, 6) % 0x4000 !== 0) return false;
  return get16(inner, 22) === PROBE_PORT && get32(inner, 28) === PROBE_MARK;
}

/** The checksum of TCP that has to be cut is the addon's to verify; the fate then says `clamped`, as of all that got so far. */
function isLeftToAddon({ verdict, clamped }: InboundFate): boolean {
  return verdict === VERDICT.INNER_CHECKSUM && clamped !== undefined;
}

function compare(actual: Uint8Array, fate: InboundFate, deviceMtuBytes: number): void {
  if (fate.packet === undefined) return;
  const expected = fate.packet.slice();
  if (expected.length > deviceMtuBytes && expected[9] === PROTOCOL.TCP) {
    // What the addon would write there says nothing about the rest.
    const check = headerLength(expected) + 16;
    expected.set(actual.subarray(check, check + 2), check);
  }
  if (!sameBytes(actual, expected)) assert.equal(hex(actual, 70_000), hex(expected, 70_000));
}

function repair(input: Uint8Array, prng: Prng): void {
  for (const { bytes } of readPacketList(input).packets) {
    fitted(bytes, prng);
    if (bytes.length >= 20 && prng.chance(0.5)) put32(bytes, 12, prng.pick([WEST_1, WEST_2, STRANGER]));
    const inner = resealed(bytes);
    fitted(inner, prng);
    if (inner.length >= 20 && prng.chance(0.3)) put32(inner, prng.pick([12, 16]), prng.pick(ADDRESSES));
    if (prng.chance(0.9)) resealed(inner);
    transportSealed(inner, prng);
  }
}
