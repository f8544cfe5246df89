import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, parseCidr4 } from '../../../src/base/address.ts';
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
import type { FibSettings } from '../../../src/fib/fib.ts';
import { BATCH_MAX, type Batch } from '../../../src/io/batch.ts';
import { buildIpv4 } from '../../sim/oracle/wire.ts';
import { GATEWAYS, LOCAL, mixedFib, REMOTE, somePacket, someTunnelled } from './mixed-packets.ts';
import { HandClock, OURS, SETTINGS, WEST_1, WEST_2 } from './rig.ts';

const SEED = 2003;
const ROUNDS = 250;
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
      this.icmp,
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
    allowedSources: prng.chance(0.5) ? [] : [parseCidr4('198.51.100.0/24')],
    transit: prng.chance(0.7) ? [] : ['north'],
    udp: prng.chance(0.5) ? undefined : { port: 5555, peerPorts: new Map([[WEST_2, 5556]]) },
  };
}

/** The same rounds for both sides; `make` gives the packets. */
function compare(
  make: (prng: Prng, settings: FibSettings) => Uint8Array,
  run: (side: Side, packets: Uint8Array[]) => unknown,
): void {
  const prng = new Prng(SEED);
  const fib = mixedFib();
  const plain = new Side(fib.words, true);
  const full = new Side(fib.words, false);
  for (let round = 0; round < ROUNDS; round++) {
    const settings = someSettings(prng);
    fib.configure(settings);
    const { address } = prng.pick(GATEWAYS);
    fib.setPeer(address, { alive: prng.chance(0.8), pathMtuBytes: prng.pick([0, 0, 576, 1400, 9000]) });
    const packets = Array.from({ length: 1 + prng.below(BATCH_MAX) }, () => make(prng, settings));
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
  compare(
    (prng, { udp }) => someTunnelled(prng, udp?.port),
    (side, packets) => side.receive(packets),
  );
});

test('packets that need nothing but an outer header are all handled by the plain path, and so are those without it', () => {
  const prng = new Prng(SEED);
  const fib = mixedFib();
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
  const fib = mixedFib();
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
