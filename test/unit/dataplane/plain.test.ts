import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, parseCidr } from '../../../src/base/address.ts';
import { Prng } from '../../../src/base/prng.ts';
import { counterBytes } from '../../../src/dataplane/counters.ts';
import { ICMP_QUEUE_BYTES, IcmpQueue } from '../../../src/dataplane/icmp-queue.ts';
import { Inbound } from '../../../src/dataplane/inbound.ts';
import { Outbound } from '../../../src/dataplane/outbound.ts';
import { plainInbound } from '../../../src/dataplane/plain-inbound.ts';
import { plainOutbound } from '../../../src/dataplane/plain-outbound.ts';
import { segmentRequest } from '../../../src/dataplane/segmenter.ts';
import { Slab } from '../../../src/dataplane/slab.ts';
import { batchLookup } from '../../../src/fib/batch-lookup.ts';
import { Fib, type FibSettings } from '../../../src/fib/fib.ts';
import { BATCH_MAX, type Batch } from '../../../src/io/batch.ts';
import { buildIpv4, checksumOf, onesSum, put16 } from '../../sim/oracle/wire.ts';
import { HandClock, NORTH, OURS, SETTINGS, STRANGER, WEST_1, WEST_2 } from './rig.ts';

const SEED = 2003;
const ROUNDS = 150;
const NOTHING = { look: (from: number) => from, forward: (from: number) => from };
const OFFLOAD = { segment: () => 0, coalesce: (...[, , , , , , , count]: unknown[]) => count as number };

/** One side of the comparison: with the plain path, or with rules for every packet, which are what it is held against. */
class Side {
  readonly slab = new Slab();
  readonly counters = new Float64Array(counterBytes(64));
  readonly icmp = new IcmpQueue(new SharedArrayBuffer(ICMP_QUEUE_BYTES), new HandClock());
  readonly outbound: Outbound;
  readonly inbound: Inbound;

  constructor(words: Uint32Array, isPlain: boolean) {
    const { slab, counters, icmp } = this;
    const routes = batchLookup(words, 2 * BATCH_MAX);
    const request = segmentRequest(3, 4096);
    const out = isPlain ? plainOutbound(words, slab, routes, request) : NOTHING;
    this.outbound = new Outbound(words, counters, slab, request, out, OFFLOAD, icmp);
    this.inbound = new Inbound(
      words,
      counters,
      slab,
      isPlain ? plainInbound(words, slab, routes) : NOTHING,
      OFFLOAD,
      0,
    );
  }

  fill(batch: Batch, packets: readonly Uint8Array[]): void {
    for (const [i, packet] of packets.entries()) {
      const at = batch.roomFor(i, packet.length);
      batch.bytes.fill(0, at - 64, at);
      batch.bytes.set(packet, at);
      batch.at[i] = at;
      batch.length[i] = packet.length;
    }
    batch.count = packets.length;
  }

  /** All that has been made of them, flush by flush. */
  send(packets: readonly Uint8Array[]): unknown {
    const { fromDevice, toUnderlay, spare } = this.slab;
    this.fill(fromDevice, packets);
    this.icmp.beginTurn();
    const flushes: unknown[] = [];
    for (let next = 0; next < packets.length || toUnderlay.count > 0; ) {
      if (next < packets.length) next = this.outbound.step(next);
      flushes.push(contentsOf(toUnderlay));
      toUnderlay.count = 0;
      spare.reset();
    }
    const answers: unknown[] = [];
    this.icmp.drain((destination, message) => answers.push([destination, ...message]));
    return { flushes, answers, counters: [...this.counters] };
  }

  receive(packets: readonly Uint8Array[]): unknown {
    const { fromUnderlay, toDevice } = this.slab;
    this.fill(fromUnderlay, packets);
    this.inbound.step();
    const delivered = contentsOf(toDevice);
    toDevice.count = 0;
    return { delivered, counters: [...this.counters] };
  }
}

function contentsOf(batch: Batch): unknown[] {
  return Array.from({ length: batch.count }, (_, i) => ({
    packet: Buffer.from(batch.bytes.subarray(batch.at[i]!, batch.at[i]! + batch.length[i]!)).toString('hex'),
    numbers: [
      batch.at,
      batch.length,
      batch.address,
      batch.peer,
      batch.packets,
      batch.innerBytes,
      batch.pieces,
    ].map((column) => column[i]),
  }));
}

const GATEWAYS = [WEST_1, WEST_2, NORTH].map((address) => ({ address, weight: 1 }));

function makeFib(): Fib {
  const fib = new Fib({ capacityBytes: 1 << 20 });
  fib.setLocal([parseCidr('10.1.0.0/16')]);
  const route = (cidr: string, cluster: string, ...gateways: number[]) => ({
    ...{ cidr: parseCidr(cidr), cluster },
    gateways: gateways.map((i) => GATEWAYS[i]!),
  });
  fib.replace([
    route('10.2.0.0/16', 'west', 0),
    route('10.2.200.0/24', 'west', 0, 1),
    route('10.2.200.128/26', 'west', 1),
    route('10.3.0.0/16', 'north', 2),
    // An overlay that contains the underlay, by which a packet may be on its way to a gateway.
    route('172.31.0.0/24', 'west', 0),
  ]);
  return fib;
}

function someSettings(prng: Prng): FibSettings {
  return {
    ...SETTINGS,
    tunnelAddress: prng.pick([0, parseAddress('10.1.0.1')]),
    ttl: prng.pick([64, 255, 'inherit']),
    dscp: prng.pick([0, 46, 'inherit', 'inherit']),
    ecn: prng.pick(['normal', 'compatibility']),
    fragment: prng.pick(['inner', 'outer']),
    clampMss: prng.chance(0.7),
    innerSource: prng.pick(['strict', 'loose', 'off']),
    allowedSources: prng.chance(0.5) ? [] : [parseCidr('198.51.100.0/24')],
    transit: prng.chance(0.7) ? [] : ['north'],
  };
}

const ADDRESSES = [
  ...['10.1.0.5', '10.1.7.9', '10.2.0.5', '10.2.9.9', '10.2.200.5', '10.2.200.130', '10.3.0.5', '192.0.2.1'],
  ...['0.0.0.0', '10.1.0.1', '127.0.0.1', '224.0.0.1', '255.255.255.255'],
].map(parseAddress);

function someAddress(prng: Prng, usual: readonly number[]): number {
  if (prng.chance(0.8)) return prng.pick(usual);
  return prng.pick([...ADDRESSES, OURS, WEST_1, WEST_2, NORTH, STRANGER]);
}

function somePacket(prng: Prng, sources: readonly number[], destinations: readonly number[]): Uint8Array {
  // Also such as just fit the path MTUs below, and such as do not by a byte.
  const length = prng.pick([0, 3, 20, 44, 200, 536, 537, 1360, 1361, 1440, 1460, 1461]);
  const payload = Uint8Array.from({ length }, () => prng.u32());
  // A TCP header that has an MSS option, so that a SYN is clamped.
  if (payload.length >= 24) payload.set([prng.chance(0.8) ? 0x60 : 0x50, prng.pick([0x02, 0x10, 0x18])], 12);
  if (payload.length >= 24) payload.set([2, 4, 5, 0xb4], 20);
  const bytes = buildIpv4({
    tos: prng.chance(0.5) ? 0 : prng.below(256),
    id: prng.below(65_536),
    dontFragment: prng.chance(0.6),
    moreFragments: prng.chance(0.05),
    offsetUnits: prng.chance(0.05) ? prng.below(100) : 0,
    ttl: prng.chance(0.95) ? 63 : prng.below(3),
    protocol: prng.pick([6, 6, 17, 17, 1, 4, 132]),
    source: someAddress(prng, sources),
    destination: someAddress(prng, destinations),
    options: prng.chance(0.05) ? Uint8Array.of(1, 1, 1, 0) : new Uint8Array(0),
    payload,
  });
  if (prng.chance(0.1)) bytes[prng.below(20)]! ^= 1 << prng.below(8);
  if (prng.chance(0.5)) return bytes;
  put16(bytes, 10, 0);
  put16(bytes, 10, checksumOf(bytes, 0, 20));
  return bytes;
}

const LOCAL = ADDRESSES.slice(0, 2);
const REMOTE = ADDRESSES.slice(2, 7);

/** As GRO leaves datagrams that it has merged: longer than the link carries, with the sum of the pseudo-header for a checksum. */
function mergedDatagrams(prng: Prng): Uint8Array {
  const payload = Uint8Array.from({ length: 1470 + prng.below(100) }, () => prng.u32());
  const bytes = buildIpv4({ protocol: 17, source: REMOTE[0]!, destination: LOCAL[0]!, payload });
  const pseudo = Uint8Array.of(...bytes.subarray(12, 20), 0, 17, payload.length >> 8, payload.length & 255);
  put16(bytes, 26, onesSum(pseudo));
  return bytes;
}

function tunnelled(prng: Prng): Uint8Array {
  const payload = prng.chance(0.03) ? mergedDatagrams(prng) : somePacket(prng, REMOTE, LOCAL);
  const bytes = buildIpv4({
    ...{ protocol: prng.chance(0.97) ? 4 : 17, dontFragment: true, payload },
    tos: prng.chance(0.7) ? payload[1]! : prng.below(256),
    moreFragments: prng.chance(0.02),
    ttl: prng.chance(0.95) ? 64 : 0,
    source: prng.pick([WEST_1, WEST_1, WEST_2, NORTH, STRANGER]),
    destination: OURS,
    options: prng.chance(0.05) ? Uint8Array.of(1, 1, 1, 0) : new Uint8Array(0),
  });
  if (prng.chance(0.05)) bytes[prng.below(20)]! ^= 1 << prng.below(8);
  // Bytes behind the inner packet, as padding on a short frame leaves them, and packets that were cut off.
  if (prng.chance(0.05)) return bytes.slice(0, prng.below(bytes.length));
  return prng.chance(0.05) ? Uint8Array.of(...bytes, 1, 2, 3) : bytes;
}

/** The same rounds for both sides; `make` gives the packets. */
function compare(
  make: (prng: Prng) => Uint8Array,
  run: (side: Side, packets: Uint8Array[]) => unknown,
): void {
  const prng = new Prng(SEED);
  const fib = makeFib();
  const plain = new Side(fib.words, true);
  const full = new Side(fib.words, false);
  for (let round = 0; round < ROUNDS; round++) {
    fib.configure(someSettings(prng));
    const { address } = prng.pick(GATEWAYS);
    fib.setPeer(address, { alive: prng.chance(0.8), pathMtuBytes: prng.pick([0, 0, 576, 1400, 9000]) });
    const packets = Array.from({ length: 1 + prng.below(BATCH_MAX) }, () => make(prng));
    assert.deepEqual(run(plain, packets), run(full, packets), `seed ${SEED}, round ${round}`);
  }
}

test('to the underlay, the plain path does with every packet what the rules do', () => {
  compare(
    (prng) => somePacket(prng, LOCAL, REMOTE),
    (side, packets) => side.send(packets),
  );
});

test('to the device, the plain path does with every packet what the rules do', () => {
  compare(tunnelled, (side, packets) => side.receive(packets));
});

test('packets that need nothing but an outer header are all handled by the plain path, and so are those without it', () => {
  const prng = new Prng(SEED);
  const fib = makeFib();
  fib.configure(SETTINGS);
  const { slab } = new Side(fib.words, true);
  const routes = batchLookup(fib.words, 2 * BATCH_MAX);
  const filled = new Side(fib.words, true);
  const inner = (source: number, destination: number): Uint8Array =>
    buildIpv4({ ttl: 63, source, destination, payload: Uint8Array.from({ length: 40 }, () => prng.u32()) });
  const outgoing = Array.from({ length: BATCH_MAX }, () => inner(prng.pick(LOCAL), prng.pick(REMOTE)));
  filled.fill(slab.fromDevice, outgoing);
  const out = plainOutbound(fib.words, slab, routes, segmentRequest(0, 1));
  assert.equal(out.look(0), BATCH_MAX);
  assert.equal(out.forward(0, BATCH_MAX), BATCH_MAX);
  const incoming = Array.from({ length: BATCH_MAX }, () =>
    buildIpv4({ protocol: 4, source: WEST_1, destination: OURS, payload: inner(REMOTE[0]!, LOCAL[0]!) }),
  );
  filled.fill(slab.fromUnderlay, incoming);
  const into = plainInbound(fib.words, slab, routes);
  assert.equal(into.look(0), BATCH_MAX);
  assert.equal(into.forward(0, BATCH_MAX), BATCH_MAX);
});

test('the plain path stops where the output is full, and goes on from there', () => {
  const fib = makeFib();
  fib.configure(SETTINGS);
  const side = new Side(fib.words, true);
  const { fromDevice, toUnderlay } = side.slab;
  const packet = buildIpv4({
    ttl: 63,
    source: LOCAL[0]!,
    destination: REMOTE[0]!,
    payload: new Uint8Array(40),
  });
  side.fill(
    fromDevice,
    Array.from({ length: 10 }, () => packet),
  );
  toUnderlay.count = toUnderlay.capacity - 3;
  assert.equal(side.outbound.step(0), 3);
  assert.equal(toUnderlay.count, toUnderlay.capacity);
  toUnderlay.count = 0;
  assert.equal(side.outbound.step(3), 10);
  assert.equal(toUnderlay.count, 7);
});
