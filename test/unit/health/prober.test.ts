import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { Prng } from '../../../src/base/prng.ts';
import type { PeerHealthState } from '../../../src/health/peer-probes.ts';
import { type Probe, probePayload, writeProbe } from '../../../src/health/probe-packet.ts';
import { PEER_ANSWERS_BURST, Prober, type ProbeSettings } from '../../../src/health/prober.ts';
import { PROBE_BYTES_MIN, PROBE_KIND } from '../../../src/packet/probe.ts';
import { SimClock } from '../../sim/sim-clock.ts';

const OURS = parseAddress('172.31.0.1');
const PEER = parseAddress('172.31.0.2');
const OTHER = parseAddress('172.31.0.3');
const ROUND_TRIP_MS = 4;
const INNER_AT = 20;

const SETTINGS: ProbeSettings = {
  mode: 'auto',
  intervalMs: 500,
  deadAfterMs: 2000,
  holdMs: 5000,
  searchesPath: true,
};

interface Sent {
  readonly atMs: number;
  readonly peer: number;
  readonly probe: Probe;
  readonly bytes: number;
}

let clock: SimClock;
let settings: ProbeSettings;
let linkMtu: number;
let isNeeded: boolean;
let sent: Sent[];
let plainSent: { readonly peer: number; readonly probe: Probe }[];
let uses: [peer: number, isUsed: boolean][];
let paths: [peer: number, bytes: number][];
let gone: number[];
/** What becomes of a probe: a peer answers it, reflects it, or nothing comes back. */
let behave: (sent: Sent) => 'answer' | 'reflect' | 'lose';
let prober: Prober;

beforeEach(() => {
  clock = new SimClock();
  settings = SETTINGS;
  linkMtu = 1500;
  isNeeded = false;
  [sent, plainSent, uses, paths, gone] = [[], [], [], [], []];
  behave = () => 'lose';
  const random = new Prng(3);
  prober = new Prober({
    clock,
    random: () => random.u32(),
    settings: () => settings,
    linkMtuBytes: () => linkMtu,
    canReflect: () => true,
    send: (peer, probe, bytes) => transmit({ atMs: clock.nowMs(), peer: Number(peer), probe, bytes }),
    sendPlain: (peer, probe) => plainSent.push({ peer: Number(peer), probe }),
    isNeeded: () => isNeeded,
    onUse: (peer, isUsed) => uses.push([Number(peer), isUsed]),
    onPathMtu: (peer, bytes) => paths.push([Number(peer), bytes]),
    onGone: (peer) => gone.push(Number(peer)),
  });
});

function innerOf(probe: Probe): Uint8Array {
  const bytes = new Uint8Array(PROBE_BYTES_MIN);
  writeProbe(new DataView(bytes.buffer), bytes, PEER, OURS, probe, PROBE_BYTES_MIN);
  return bytes.subarray(INNER_AT);
}

function transmit(packet: Sent): void {
  sent.push(packet);
  const { peer, probe } = packet;
  const what = behave(packet);
  if (what === 'answer' && probe.kind === PROBE_KIND.REQUEST) later(() => reply(peer, probe));
  if (what === 'reflect' && probe.kind === PROBE_KIND.REFLECTED)
    later(() => prober.reflected(innerOf(probe)));
}

function later(action: () => void): void {
  clock.after(ROUND_TRIP_MS, action);
}

function reply(peer: number, probe: Probe): void {
  prober.received(peer, PROBE_BYTES_MIN, innerOf({ ...probe, kind: PROBE_KIND.REPLY }));
}

function health(peer = PEER): PeerHealthState {
  const found = prober.health(peer);
  assert.ok(found !== undefined);
  return found;
}

test('a peer that answers by itself is alive, and its round-trip time and path are known', () => {
  behave = ({ bytes }) => (bytes <= 1400 ? 'answer' : 'lose');
  prober.setPeers([PEER]);
  clock.advance(10_000);
  const { state, answers, roundTripMs, loss } = health();
  assert.deepEqual([state, answers, loss], ['alive', 'isthmus', 0]);
  assert.ok(Math.abs(roundTripMs! - ROUND_TRIP_MS) < 0.01);
  assert.deepEqual(paths, [[PEER, 1400]]);
  assert.deepEqual(uses, []);
  assert.ok(!sent.some(({ probe }) => probe.kind === PROBE_KIND.REFLECTED), 'nothing had to be reflected');
});

test('a peer that only forwards is found out by what it reflects', () => {
  behave = ({ bytes }) => (bytes <= 1450 ? 'reflect' : 'lose');
  prober.setPeers([PEER]);
  clock.advance(10_000);
  assert.deepEqual([health().state, health().answers], ['alive', 'reflected']);
  assert.deepEqual(paths, [[PEER, 1450]]);
});

test('a peer that becomes an Isthmus is asked as one, and one that was one and is replaced is found again', () => {
  behave = () => 'reflect';
  prober.setPeers([PEER]);
  clock.advance(5000);
  behave = () => 'lose';
  clock.advance(5000);
  behave = () => 'answer';
  clock.advance(10_000);
  assert.deepEqual([health().state, health().answers], ['alive', 'isthmus']);
});

test('a peer that falls silent is not used any more, and used again after the hold; the others are not touched', () => {
  behave = () => 'answer';
  prober.setPeers([PEER, OTHER]);
  clock.advance(5000);
  behave = ({ peer }) => (peer === OTHER ? 'answer' : 'lose');
  clock.advance(3000);
  assert.deepEqual(uses, [[PEER, false]]);
  behave = () => 'answer';
  clock.advance(4000);
  assert.equal(health().state, 'recovering');
  clock.advance(3000);
  assert.deepEqual(uses, [
    [PEER, false],
    [PEER, true],
  ]);
});

test('the only gateway is used again with its first answer, and stays so when another one comes back', () => {
  behave = () => 'answer';
  prober.setPeers([PEER]);
  clock.advance(5000);
  behave = () => 'lose';
  clock.advance(5000);
  isNeeded = true;
  behave = () => 'answer';
  clock.advance(600);
  assert.equal(health().state, 'recovering');
  assert.deepEqual(uses, [
    [PEER, false],
    [PEER, true],
  ]);
  isNeeded = false;
  clock.advance(10_000);
  assert.equal(uses.length, 2);
});

test('auto uses a peer that never answered, and asks it less often after a while; required does not use it', () => {
  prober.setPeers([PEER]);
  clock.advance(60_000);
  assert.deepEqual(uses, []);
  const before = sent.length;
  clock.advance(60_000);
  assert.equal(sent.length - before, 60, 'a request and a reflected probe every two seconds');
  settings = { ...SETTINGS, mode: 'required' };
  prober.configure();
  assert.deepEqual(uses, [[PEER, false]]);
  behave = () => 'answer';
  clock.advance(3000);
  assert.deepEqual(uses.at(-1), [PEER, true]);
});

test('off probes nobody and uses all, also one that was dead', () => {
  behave = () => 'answer';
  prober.setPeers([PEER]);
  clock.advance(5000);
  behave = () => 'lose';
  clock.advance(5000);
  settings = { ...SETTINGS, mode: 'off' };
  prober.configure();
  assert.deepEqual(uses, [
    [PEER, false],
    [PEER, true],
  ]);
  const before = sent.length;
  clock.advance(30_000);
  assert.equal(sent.length, before);
});

test('answers that are forged do not count: another key, another peer, twice, or another size', () => {
  prober.setPeers([PEER, OTHER]);
  clock.advance(2000);
  const { probe } = sent.find(({ peer }) => peer === PEER)!;
  reply(PEER, { ...probe, keyHigh: probe.keyHigh ^ 1 });
  reply(PEER, { ...probe, keyLow: probe.keyLow ^ 1 });
  reply(OTHER, probe);
  reply(parseAddress('198.51.100.1'), probe);
  reply(PEER, { ...probe, sequence: 9999 });
  reply(PEER, { ...probe, outerBytes: 1500 });
  prober.reflected(innerOf({ ...probe, kind: PROBE_KIND.REFLECTED }));
  prober.reflected(innerOf(probe));
  assert.equal(prober.counts.unexpected, 8);
  assert.equal(health().state, 'unknown');
  reply(PEER, probe);
  assert.equal(health().state, 'alive');
  reply(PEER, probe);
  assert.equal(prober.counts.unexpected, 9);
});

test('requests are answered small, to their sender, and not more than the limit', () => {
  const request = { kind: PROBE_KIND.REQUEST, outerBytes: 1500, keyHigh: 1, keyLow: 2, sequence: 3 };
  prober.received(PEER, 1500, innerOf(request));
  assert.deepEqual(
    sent.map(({ peer, probe, bytes }) => ({ peer, probe, bytes })),
    [{ peer: PEER, probe: { ...request, kind: PROBE_KIND.REPLY }, bytes: PROBE_BYTES_MIN }],
  );
  // One that says another size than it has was cut, or put together, on its way.
  prober.received(PEER, 1499, innerOf(request));
  assert.equal(prober.counts.unexpected, 1);
  for (let i = 0; i < 2 * PEER_ANSWERS_BURST; i++) prober.received(PEER, 1500, innerOf(request));
  assert.equal(prober.counts.answeredRequests, PEER_ANSWERS_BURST);
  assert.equal(prober.counts.refusedRequests, PEER_ANSWERS_BURST + 1);
  prober.received(OTHER, 1500, innerOf(request));
  assert.equal(prober.counts.answeredRequests, PEER_ANSWERS_BURST + 1);
});

test('a gateway that goes is not probed any more, and forgotten', () => {
  behave = () => 'answer';
  prober.setPeers([PEER, OTHER]);
  clock.advance(3000);
  prober.setPeers([OTHER]);
  assert.deepEqual(gone, [PEER]);
  const before = sent.length;
  clock.advance(3000);
  assert.ok(sent.slice(before).every(({ peer }) => peer === OTHER));
  assert.equal(prober.health(PEER), undefined);
});

test('two thousand peers are each probed less often, and none dies of it', () => {
  behave = () => 'answer';
  const peers = Array.from({ length: 2000 }, (_, i) => PEER + 1 + i);
  settings = { ...SETTINGS, searchesPath: false };
  prober.setPeers(peers);
  clock.advance(30_000);
  const before = sent.length;
  clock.advance(20_000);
  assert.ok(sent.length - before <= 11_000, `${sent.length - before} probes in 20 s`);
  assert.deepEqual(uses, []);
});

test('a peer that answers plain UDP and nothing in the tunnel is told apart, for as long as that is so', () => {
  prober.setPeers([PEER]);
  clock.advance(5000);
  assert.equal(health().answersPlainOnly, false);
  const { probe } = plainSent[0]!;
  assert.equal(probe.kind, PROBE_KIND.PLAIN_REQUEST);
  const answer = { ...probe, kind: PROBE_KIND.PLAIN_REPLY };
  prober.receivedPlain(PEER, probePayload({ ...answer, keyLow: 0 }));
  prober.receivedPlain(OTHER, probePayload(answer));
  prober.receivedPlain(PEER, new Uint8Array(20));
  assert.equal(health().answersPlainOnly, false);
  assert.equal(prober.counts.unexpected, 3);
  prober.receivedPlain(PEER, probePayload(answer));
  assert.equal(health().answersPlainOnly, true);
  assert.equal(health().state, 'unknown');
  clock.advance(15_000);
  assert.equal(health().answersPlainOnly, false, 'the last answer is too long ago');
  prober.receivedPlain(PEER, probePayload(answer));
  behave = () => 'answer';
  clock.advance(3000);
  assert.equal(health().answersPlainOnly, false);
  const before = plainSent.length;
  clock.advance(5000);
  assert.equal(plainSent.length, before, 'nobody asks a peer that answers in the tunnel');
});

test('plain requests are answered to peers only', () => {
  const request = { kind: PROBE_KIND.PLAIN_REQUEST, outerBytes: 0, keyHigh: 1, keyLow: 2, sequence: 3 };
  prober.receivedPlain(PEER, probePayload(request));
  assert.deepEqual(plainSent, []);
  prober.setPeers([PEER]);
  prober.receivedPlain(PEER, probePayload(request));
  assert.deepEqual(plainSent, [{ peer: PEER, probe: { ...request, kind: PROBE_KIND.PLAIN_REPLY } }]);
});

test('without path probing routers are believed as before, and what was probed is not said again', () => {
  behave = ({ bytes }) => (bytes <= 1400 ? 'answer' : 'lose');
  prober.setPeers([PEER]);
  clock.advance(5000);
  assert.deepEqual(paths, [[PEER, 1400]]);
  settings = { ...SETTINGS, searchesPath: false };
  prober.configure();
  clock.advance(5000);
  prober.pathReported(PEER, 1300);
  clock.advance(5000);
  assert.deepEqual(paths, [[PEER, 1400]]);
  assert.equal(prober.distrustsReports(PEER), false);
  settings = SETTINGS;
  prober.configure();
  clock.advance(5000);
  assert.deepEqual(paths, [
    [PEER, 1400],
    [PEER, 1400],
  ]);
});
