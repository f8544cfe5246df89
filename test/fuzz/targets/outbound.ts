import assert from 'node:assert/strict';
import type { Prng } from '../../../src/base/prng.ts';
import { counterBytes, DROPS_OUTBOUND, TOTAL } from '../../../src/dataplane/counters.ts';
import { ICMP_QUEUE_BYTES, IcmpQueue } from '../../../src/dataplane/icmp-queue.ts';
import { Outbound } from '../../../src/dataplane/outbound.ts';
import { plainOutbound } from '../../../src/dataplane/plain-outbound.ts';
import { segmentRequest } from '../../../src/dataplane/segmenter.ts';
import { Slab } from '../../../src/dataplane/slab.ts';
import { batchLookup } from '../../../src/fib/batch-lookup.ts';
import { BATCH_MAX } from '../../../src/io/batch.ts';
import { loadNative } from '../../../src/io/load.ts';
import { VERDICT, VERDICT_COUNT } from '../../../src/packet/verdict.ts';
import { VNET } from '../../../src/packet/vnet.ts';
import { judgeInner } from '../../sim/oracle/inner-packet.ts';
import { type IcmpWish, type OutboundFate, predictOutbound } from '../../sim/oracle/outbound.ts';
import { SendsCheck } from '../../sim/oracle/pieces.ts';
import { get16, get32, hex, onesSum, put32, sameBytes } from '../../sim/oracle/wire.ts';
import { HandClock, packet } from '../../unit/dataplane/rig.ts';
import { malformedPacket } from '../malformed-packets.ts';
import { joined } from '../mutate.ts';
import {
  fitted,
  type ListedPacket,
  packetList,
  readPacketList,
  resealed,
  transportSealed,
} from '../packet-list.ts';
import type { Target } from '../target.ts';
import { ADDRESSES, type Variant, variants } from '../world.ts';
import { fill } from './fill.ts';

/** Flag of a listed packet: its first bytes are the vnet header that the device gives with it. */
const WITH_VNET = 1;

/** One that later fragments repeat, and one that they leave out. RFC 791 §3.1. */
const OPTIONS = Uint8Array.of(0x07, 3, 4, 0x82, 5, 1, 2, 3);

interface Sent {
  readonly bytes: Uint8Array;
  readonly address: number;
  readonly packets: number;
}

class Side {
  readonly clock = new HandClock();
  readonly slab = new Slab();
  readonly counters = new Float64Array(counterBytes(64));
  readonly icmp = new IcmpQueue(new SharedArrayBuffer(ICMP_QUEUE_BYTES), this.clock);
  readonly variant: Variant;
  readonly #outbound: Outbound;

  constructor(variant: Variant) {
    const { slab, counters, icmp } = this;
    const { words } = variant.fib;
    this.variant = variant;
    const request = segmentRequest(0, 1);
    const plain = plainOutbound(words, slab, batchLookup(words, 2 * BATCH_MAX), request);
    this.#outbound = new Outbound(words, counters, slab, request, plain, loadNative(), icmp);
  }

  /** All that leaves for these packets, flush by flush. */
  send(packets: readonly Uint8Array[], vnets: readonly Uint8Array[]): Sent[] {
    const { fromDevice, toUnderlay, spare } = this.slab;
    this.counters.fill(0);
    // Errors are limited by the time; each input finds the bucket full.
    this.clock.ms += 10_000;
    this.icmp.beginTurn();
    fill(fromDevice, packets, vnets);
    const sent: Sent[] = [];
    for (let next = 0; next < packets.length || toUnderlay.count > 0; ) {
      if (next < packets.length) next = this.#outbound.step(next);
      assert.ok(next >= packets.length || toUnderlay.count > 0, 'a flush that flushes nothing never ends');
      for (let i = 0; i < toUnderlay.count; i++) {
        const bytes = new Uint8Array(toUnderlay.length[i]!);
        toUnderlay.gather(i, toUnderlay.pairOf(i), bytes, 0);
        sent.push({ bytes, address: toUnderlay.address[i]!, packets: toUnderlay.packets[i]! });
      }
      toUnderlay.count = 0;
      spare.reset();
    }
    return sent;
  }

  drops(): number[] {
    return [...this.counters.subarray(DROPS_OUTBOUND, DROPS_OUTBOUND + VERDICT_COUNT)];
  }
}

/**
 * What encapsulation makes of packets from the tunnel device. Whole packets are held against the oracle. Of those that come uncut, which
 * it does not know, the form is checked, and that the counters add up.
 */
export function outboundTarget(): Target {
  const sides = variants().map((variant) => new Side(variant));
  return {
    name: 'outbound',
    bytesMax: 8000,
    run: (input) => {
      const { choice, packets } = readPacketList(input);
      const side = sides[choice % sides.length]!;
      const vnets = packets.map(vnetOf);
      const bytes = packets.map(packetOf);
      const sent = side.send(bytes, vnets);
      const isUncut = vnets.some((vnet) => vnet[VNET.GSO_TYPE] !== 0);
      return isUncut ? checkForm(side, bytes, sent) : checkFates(side, bytes, sent);
    },
    repair,
    seeds,
  };
}

function seeds(): Uint8Array[] {
  const ends = { sources: ADDRESSES.slice(0, 2), destinations: ADDRESSES.slice(2, 5), strange: ADDRESSES };
  return [0, 1, 2, 3, 4].flatMap((choice) => [
    packetList(choice, [{ flags: 0, bytes: packet({}, 100 + 700 * choice) }]),
    packetList(choice, [{ flags: 0, bytes: packet({ dontFragment: false }, 1480) }]),
    packetList(choice, [{ flags: 0, bytes: packet({ dontFragment: false, options: OPTIONS }, 1480) }]),
    packetList(choice, [uncut(6, VNET.GSO_TCPV4), uncut(17, VNET.GSO_UDP_L4)]),
    ...Array.from({ length: 24 }, (_, i) =>
      packetList(choice, [{ flags: 0, bytes: malformedPacket(2, i, { ...ends, bytesMax: 1480 }) }]),
    ),
  ]);
}

function uncut(protocol: number, type: number): ListedPacket {
  const payload = new Uint8Array(3000);
  if (protocol === 6) payload.set([0x50, 0x18], 12);
  else payload.set([payload.length >> 8, payload.length & 255], 4);
  const header = protocol === 6 ? 20 : 8;
  const vnet = Uint8Array.of(
    VNET.NEEDS_CHECKSUM,
    type,
    20 + header,
    0,
    232,
    3,
    20,
    0,
    protocol === 6 ? 16 : 6,
    0,
  );
  return { flags: WITH_VNET, bytes: joined(vnet, packet({ protocol, payload, dontFragment: false })) };
}

function vnetOf({ flags, bytes }: ListedPacket): Uint8Array {
  const vnet = new Uint8Array(VNET.BYTES);
  if ((flags & WITH_VNET) !== 0) vnet.set(bytes.subarray(0, VNET.BYTES));
  return vnet;
}

function packetOf({ flags, bytes }: ListedPacket): Uint8Array {
  return (flags & WITH_VNET) === 0 ? bytes : bytes.subarray(VNET.BYTES);
}

function checkFates(side: Side, packets: readonly Uint8Array[], sent: readonly Sent[]): number[] {
  const drops = new Array<number>(VERDICT_COUNT).fill(0);
  const wishes: IcmpWish[] = [];
  const outcomes: number[] = [];
  let next = 0;
  let before = 0;
  for (const received of packets) {
    const fate = predictOutbound(side.variant.model, received);
    const { verdict, sends, icmp } = fate;
    outcomes.push(outcomeOf(fate, before));
    before = verdict;
    if (icmp !== undefined) wishes.push(icmp);
    if (verdict !== VERDICT.FORWARD) drops[verdict]! += 1;
    if (sends === undefined) continue;
    const check = new SendsCheck(sends);
    while (!check.isComplete) {
      assert.ok(next < sent.length, `not sent, or not all of it: ${hex(received)}`);
      assert.equal(check.take(sent[next]!.bytes, sent[next]!.address), undefined);
      next += 1;
    }
  }
  assert.equal(sent.length, next, 'sent more than it should have');
  assert.deepEqual(side.drops(), drops);
  assert.equal(side.counters[TOTAL.OUTBOUND_RECEIVED], packets.length);
  checkErrors(side, wishes);
  return outcomes;
}

function outcomeOf({ verdict, sends, clamped, softStateExceeded }: OutboundFate, before: number): number {
  const how = ['whole', 'inner', 'outer'].indexOf(sends?.pieces ?? 'whole') + (clamped === true ? 3 : 0);
  return ((before * VERDICT_COUNT + verdict) * 6 + how) * 2 + (softStateExceeded === true ? 1 : 0);
}

function checkErrors({ icmp }: Side, wishes: readonly IcmpWish[]): void {
  const messages: { destination: number; message: Uint8Array }[] = [];
  icmp.drain((destination, message) => messages.push({ destination, message: message.slice() }));
  assert.deepEqual(
    messages.map(({ destination, message }) => [destination, message[1], get16(message, 6)]),
    wishes.map(({ destination, code, nextHopMtu }) => [destination, code, nextHopMtu]),
  );
  messages.forEach(({ message }, i) => {
    assert.equal(onesSum(message), 0xffff, 'the checksum of an ICMP error');
    assert.ok(sameBytes(message.subarray(8), wishes[i]!.about.subarray(0, message.length - 8)), 'the quote');
  });
}

function checkForm(side: Side, packets: readonly Uint8Array[], sent: readonly Sent[]): number[] {
  const { counters, variant } = side;
  const { source } = variant.model.settings;
  let forwarded = 0;
  for (const { bytes, address, packets: count } of sent) {
    forwarded += count;
    const isFragment = get16(bytes, 6) % 0x4000 !== 0;
    assert.ok(bytes[0] === 0x45 && bytes[9] === 4 && get16(bytes, 2) === bytes.length, 'an outer header');
    assert.equal(onesSum(bytes, 0, 20), 0xffff);
    assert.ok(get32(bytes, 12) === source && get32(bytes, 16) === address, 'its addresses');
    if (!isFragment) assert.equal(judgeInner(bytes.subarray(20)), VERDICT.FORWARD);
  }
  const dropped = side.drops().reduce((sum, count) => sum + count, 0);
  const made = counters[TOTAL.FRAGMENTS]! - counters[TOTAL.FRAGMENTED]!;
  assert.equal(
    counters[TOTAL.OUTBOUND_RECEIVED],
    forwarded - made + dropped,
    'received = forwarded + dropped',
  );
  assert.ok(counters[TOTAL.OUTBOUND_RECEIVED]! >= packets.length, 'each packet counts');
  side.icmp.drain(() => {});
  return side.drops().map((count, verdict) => 100_000 + verdict * 8 + Math.min(7, count));
}

function repair(input: Uint8Array, prng: Prng): void {
  for (const listed of readPacketList(input).packets) {
    const bytes = packetOf(listed);
    fitted(bytes, prng);
    if (bytes.length >= 20 && prng.chance(0.3)) put32(bytes, prng.pick([12, 16]), prng.pick(ADDRESSES));
    const transport = resealed(bytes);
    transportSealed(bytes, prng);
    // The length of a datagram, which an uncut one must have right.
    if (bytes[9] === 17 && transport.length >= 8 && prng.chance(0.7)) {
      transport.set([transport.length >> 8, transport.length & 255], 4);
    }
  }
}
