import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import {
  IcmpRelay,
  type IcmpRelaySetup,
  PEER_RELAYS_BURST,
  PEER_RELAYS_PER_SECOND,
  RELAYS_BURST,
  relayedHeader,
} from '../../../src/health/icmp-relay.ts';
import { quotedAt } from '../../../src/packet/icmp.ts';
import { buildIpv4, checksumOf, get16, get32, put16, put32 } from '../../sim/oracle/wire.ts';

const OURS = parseAddress('172.31.1.2');
const PEER = parseAddress('172.31.2.2');
const ROUTER = parseAddress('172.31.1.1');
const POD = parseAddress('10.1.0.5');
const REMOTE_POD = parseAddress('10.2.0.5');
const STRANGER = parseAddress('198.51.100.7');
const PATH_MTU = 1400;
const OUTER_ID = 815;

/** RFC 2003 §4, row by row: section, what came, and what the sender hears of it; undefined: nothing. */
const ROWS: readonly [string, string, readonly number[], readonly number[] | undefined][] = [
  ['3/0', '4.1: network unreachable stays one', [3, 0, 0], [3, 0, 0]],
  ['3/1', '4.1: host unreachable stays one', [3, 1, 0], [3, 1, 0]],
  ['3/2', '4.1: protocol unreachable is not the protocol of the sender', [3, 2, 0], [3, 1, 0]],
  ['3/3', '4.1: port unreachable is not relayed', [3, 3, 0], undefined],
  ['3/4', '4.1, 5.1: fragmentation needed leaves room for the outer header', [3, 4, 1400], [3, 4, 1380]],
  ['3/5', '4.1: source route failed is not relayed', [3, 5, 0], undefined],
  [
    '3/13',
    '4.6: what RFC 2003 does not name is not relayed: administratively filtered',
    [3, 13, 0],
    undefined,
  ],
  ['4', '4.2: source quench is not relayed', [4, 0, 0], undefined],
  ['5', '4.3: redirect is not relayed', [5, 1, ROUTER], undefined],
  ['11/0', '4.4: time exceeded is an unreachable host', [11, 0, 0], [3, 1, 0]],
  ['11/1', '4.4: time exceeded in reassembly too', [11, 1, 0], [3, 1, 0]],
  ['12 TOS', '4.5: a problem with the TOS, which was copied, is relayed', [12, 0, 1 << 24], [12, 0, 1 << 24]],
  ['12', '4.5: a problem with the rest of the outer header is not relayed', [12, 0, 8 << 24], undefined],
];

for (const [row, name, [type, code, rest], expected] of ROWS) {
  test(`ICMP ${row}, RFC 2003 §${name}`, () => {
    const header = relayedHeader(type!, code!, rest!, {
      pathMtuBytes: type === 3 && code === 4 ? PATH_MTU : 0,
      outerBytes: 20,
    });
    assert.deepEqual(header && [header.type, header.code, header.rest], expected);
  });
}

test('a report of a path MTU that was not believed is not relayed', () => {
  assert.equal(relayedHeader(3, 4, 68, { pathMtuBytes: 0, outerBytes: 20 }), undefined);
});

interface Sent {
  readonly destination: number;
  readonly message: Uint8Array;
}

function scene(recall?: IcmpRelaySetup['recall']): { relay: IcmpRelay; sent: Sent[] } {
  const sent: Sent[] = [];
  const relay = new IcmpRelay(
    {
      isLocal: (address) => Number(address) >>> 16 === POD >>> 16,
      send: (destination, message) => sent.push({ destination, message }),
      recall: recall ?? (() => false),
    },
    0,
  );
  return { relay, sent };
}

const innerPacket = (change: Partial<Parameters<typeof buildIpv4>[0]> = {}): Uint8Array =>
  buildIpv4({
    ...{ protocol: 17, ttl: 61, source: POD, destination: REMOTE_POD },
    ...{ payload: Uint8Array.from({ length: 1000 }, (_, i) => i), ...change },
  });

/** A router's error about a packet of ours: quotes `quotedBytes` of it. */
function errorAbout(inner: Uint8Array, type: number, code: number, quotedBytes = 548): Uint8Array {
  const outer = buildIpv4({
    ...{ protocol: 4, ttl: 1, source: OURS, destination: PEER, payload: inner, dontFragment: true },
    id: OUTER_ID,
  });
  const quote = outer.slice(0, quotedBytes);
  const message = new Uint8Array(8 + quote.length);
  message.set([type, code]);
  if (type === 3 && code === 4) put32(message, 4, PATH_MTU);
  message.set(quote, 8);
  put16(message, 2, checksumOf(message));
  return buildIpv4({ protocol: 1, source: ROUTER, destination: OURS, payload: message });
}

function relayed(relay: IcmpRelay, packet: Uint8Array, nowMs = 0, peer = PEER): void {
  const quote = quotedAt(packet, 0, packet.length);
  assert.ok(quote > 0);
  relay.relay(packet, quote, peer, { pathMtuBytes: PATH_MTU, outerBytes: 20 }, nowMs);
}

test('the sender hears of it in words that fit its hop, with its own packet quoted', () => {
  const { relay, sent } = scene();
  const inner = innerPacket();
  relayed(relay, errorAbout(inner, 11, 0));
  relayed(relay, errorAbout(inner, 3, 4));
  assert.deepEqual(
    sent.map(({ destination }) => destination),
    [POD, POD],
  );
  const [unreachable, narrow] = sent.map(({ message }) => message);
  assert.deepEqual([...unreachable!.subarray(0, 2)], [3, 1]);
  assert.deepEqual([...narrow!.subarray(0, 2)], [3, 4]);
  assert.equal(get32(narrow!, 4), PATH_MTU - 20);
  for (const message of [unreachable!, narrow!]) {
    assert.equal(checksumOf(message), 0, 'its checksum is wrong');
    assert.deepEqual(message.subarray(8), inner.subarray(0, 528), 'it quotes something else');
    assert.equal(get16(message, 8 + 2), inner.length);
  }
  assert.equal(relay.counts.relayed, 2);
});

test('it is not relayed when it is too short, about a stranger, or must not be answered', () => {
  const { relay, sent } = scene();
  relayed(relay, errorAbout(innerPacket(), 11, 0, 20 + 8));
  relayed(relay, errorAbout(innerPacket({ source: STRANGER }), 11, 0));
  relayed(relay, errorAbout(innerPacket({ offsetUnits: 10 }), 11, 0));
  const icmpError = Uint8Array.of(3, 1, 0, 0, 0, 0, 0, 0, ...innerPacket().subarray(0, 28));
  relayed(relay, errorAbout(innerPacket({ protocol: 1, payload: icmpError }), 11, 0));
  relayed(relay, errorAbout(innerPacket(), 3, 3));
  assert.deepEqual(sent, []);
  assert.deepEqual(relay.counts, {
    ...{ relayed: 0, notForSender: 1, unknownSender: 2, unanswerable: 2, overLimit: 0 },
  });
});

test('of a packet that was sent lately a router need not quote more than 8 bytes', () => {
  const inner = innerPacket({ id: 4711 });
  const asked: unknown[] = [];
  const { relay, sent } = scene((gateway, id, bytes, at, out) => {
    asked.push([gateway, id, [...bytes.subarray(at, at + 8)]]);
    out.set(inner.subarray(0, 28));
    return true;
  });
  relayed(relay, errorAbout(inner, 3, 1, 20 + 8));
  assert.deepEqual(asked, [[PEER, OUTER_ID, [...inner.subarray(0, 8)]]]);
  assert.deepEqual(
    sent.map(({ destination }) => destination),
    [POD],
  );
  assert.deepEqual(sent[0]!.message.subarray(8), inner.subarray(0, 28));
});

test('no peer makes us send more than its share, and all of them no more than the whole', () => {
  const { relay, sent } = scene();
  const packet = errorAbout(innerPacket(), 11, 0);
  for (let i = 0; i < 1000; i++) relayed(relay, packet);
  assert.equal(sent.length, PEER_RELAYS_BURST);
  relayed(relay, packet, 1000 / PEER_RELAYS_PER_SECOND);
  assert.equal(sent.length, PEER_RELAYS_BURST + 1);
  for (let peer = 1; peer < 100; peer++) relayed(relay, packet, 1000 / PEER_RELAYS_PER_SECOND, PEER + peer);
  assert.ok(sent.length <= RELAYS_BURST + 1 + 10, `${sent.length} in 10 ms`);
  assert.equal(relay.counts.relayed + relay.counts.overLimit, 1000 + 1 + 99);
});

test('many peers with broken paths do not grow memory, and none of them is held up by that', () => {
  const { relay, sent } = scene();
  const packet = errorAbout(innerPacket(), 11, 0);
  for (let peer = 0; peer < 10_000; peer++) relayed(relay, packet, peer * 10, PEER + peer);
  assert.equal(sent.length, 10_000);
});
