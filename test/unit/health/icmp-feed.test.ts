import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import type { Clock } from '../../../src/base/clock.ts';
import { IcmpFeed } from '../../../src/health/icmp-feed.ts';
import { IcmpRelay } from '../../../src/health/icmp-relay.ts';
import { type PathMtuChange, PathMtuTable } from '../../../src/health/path-mtu.ts';
import { readU16, writeU16, writeU32 } from '../../../src/packet/bytes.ts';
import { internetChecksum } from '../../../src/packet/checksum.ts';
import { writeIcmpPacket } from '../../../src/packet/icmp.ts';
import { encapsulate } from '../../../src/packet/ipip.ts';
import { IPV4, PROTOCOL } from '../../../src/packet/ipv4.ts';

const OURS = parseAddress('172.31.1.2');
const PEER = parseAddress('172.31.2.2');
const ROUTER = parseAddress('172.31.1.1');

let changes: PathMtuChange[] = [];
let errors: string[] = [];
let relayed: Uint8Array[] = [];
let feed: IcmpFeed;
let isDistrusting = false;

let udpPort = 0;

beforeEach(() => {
  udpPort = 0;
  changes = [];
  errors = [];
  relayed = [];
  isDistrusting = false;
  const clock: Clock = { nowMs: () => 0, wallMs: () => 0, after: () => ({ cancel() {} }) };
  feed = new IcmpFeed({
    pathMtu: new PathMtuTable(),
    clock,
    source: () => OURS,
    isPeer: (address) => address === PEER,
    udpPortOf: () => udpPort,
    relay: new IcmpRelay(
      { isLocal: () => true, recall: () => false, send: (_to, message) => relayed.push(message) },
      0,
    ),
    onPathMtu: (change) => changes.push(change),
    distrustsReports: () => isDistrusting,
    onError: (_peer, text) => errors.push(text),
  });
});

/** What a router sends back about an IPIP packet of ours: quotes `protocol` from `source` to `destination`. */
function icmpAbout(
  type: number,
  code: number,
  rest: number,
  source = OURS,
  destination = PEER,
  protocol = 4,
): Uint8Array {
  const sent = new Uint8Array(20 + 1480);
  sent[20] = 0x45;
  writeU16(sent, 20 + IPV4.TOTAL_LENGTH, 1480);
  writeU32(sent, 20 + IPV4.SOURCE, parseAddress('10.1.0.5'));
  writeU32(sent, 20 + IPV4.DESTINATION, parseAddress('10.2.0.5'));
  encapsulate(new DataView(sent.buffer), 20, 1480, source, destination, 0, 64, 1, IPV4.DF, PROTOCOL.IPIP);
  sent[IPV4.PROTOCOL] = protocol;
  writeU16(sent, IPV4.CHECKSUM, 0);
  writeU16(sent, IPV4.CHECKSUM, internetChecksum(sent, 0, 20));
  const out = new Uint8Array(600);
  const length = writeIcmpPacket(out, 0, ROUTER, OURS, 64, type, code, rest, sent, 0, 1500);
  return out.slice(0, length);
}

test('fragmentation needed about our own packet to a peer sets its path MTU', () => {
  feed.receive(icmpAbout(3, 4, 1400));
  assert.deepEqual(changes, [{ peer: PEER, pathMtuBytes: 1400 }]);
  assert.match(errors[0] ?? '', /path MTU 1400 bytes, said 172\.31\.1\.1/);
  assert.equal(feed.accepted, 1);
});

test('an error about a packet that is not ours, not to a peer, or not IPIP changes nothing', () => {
  feed.receive(icmpAbout(3, 4, 1400, parseAddress('198.51.100.7')));
  feed.receive(icmpAbout(3, 4, 1400, OURS, parseAddress('198.51.100.8')));
  feed.receive(icmpAbout(3, 4, 1400, OURS, PEER, 17));
  assert.deepEqual(changes, []);
  assert.deepEqual(errors, []);
  assert.deepEqual(relayed, []);
  assert.equal(feed.ignored, 3);
});

test('with fou an error counts that quotes a datagram to the port of the peer, and no other UDP or IPIP', () => {
  udpPort = 5555;
  const about = (port: number, protocol = 17): Uint8Array => {
    const bytes = icmpAbout(3, 4, 1400, OURS, PEER, protocol);
    // The quote: outer header, then UDP, then the inner packet where the next 8 bytes were.
    const quote = 28;
    bytes.copyWithin(quote + 28, quote + 20, bytes.length - 8);
    writeU16(bytes, quote + 20, 50_000);
    writeU16(bytes, quote + 22, port);
    writeU16(bytes, 22, 0);
    writeU16(bytes, 22, internetChecksum(bytes, 20, bytes.length - 20));
    return bytes;
  };
  feed.receive(about(5555, 4));
  feed.receive(about(5556));
  assert.deepEqual(changes, []);
  assert.equal(feed.ignored, 2);
  feed.receive(about(5555));
  assert.deepEqual(changes, [{ peer: PEER, pathMtuBytes: 1400 }]);
  assert.deepEqual(
    relayed.map((message) => [message[0], message[1], readU16(message, 6)]),
    [[3, 4, 1372]],
  );
});

test('a path MTU that is believed goes to the sender of the inner packet, less the outer header; another does not', () => {
  feed.receive(icmpAbout(3, 4, 1400));
  assert.deepEqual(
    relayed.map((message) => [message[0], message[1], readU16(message, 6)]),
    [[3, 4, 1380]],
  );
  feed.receive(icmpAbout(3, 4, 68));
  // What is known holds, however little the next one says.
  assert.deepEqual(
    relayed.map((message) => readU16(message, 6)),
    [1380, 1380],
  );
});

test('unreachable and time exceeded are kept as the last error of the peer', () => {
  feed.receive(icmpAbout(3, 2, 0));
  feed.receive(icmpAbout(11, 0, 0));
  assert.match(errors[0] ?? '', /protocol unreachable/);
  assert.match(errors[1] ?? '', /time exceeded/);
  assert.deepEqual(changes, []);
});

test('a packet cut at any byte is ignored without an exception', () => {
  const whole = icmpAbout(3, 4, 1400);
  for (let length = 0; length < whole.length; length++) feed.receive(whole.subarray(0, length));
  assert.deepEqual(changes, []);
});
