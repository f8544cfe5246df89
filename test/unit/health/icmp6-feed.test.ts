import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../../src/base/address.ts';
import { parseAddress6 } from '../../../src/base/address6.ts';
import type { Clock } from '../../../src/base/clock.ts';
import { PEER_RELAYS_BURST } from '../../../src/health/icmp-relay.ts';
import { Icmp6Feed } from '../../../src/health/icmp6-feed.ts';
import { type PathMtuChange, PathMtuTable } from '../../../src/health/path-mtu.ts';
import { buildIpv4, get16, get32, put32 } from '../../sim/oracle/wire.ts';
import { buildIpv6 } from '../../sim/oracle/wire6.ts';

const OURS = parseAddress6('2001:db8::1');
const PEER = parseAddress6('2001:db8::2');
const POD = parseAddress('10.1.0.5');
const POD6 = parseAddress6('fd00:1::5');
const ROUTER = '2001:db8::ff';

const [UNREACHABLE, TOO_BIG, TIME_EXCEEDED, PARAMETER_PROBLEM] = [1, 2, 3, 4];

let changes: PathMtuChange[] = [];
let errors: string[] = [];
let sent: { to: number | undefined; message: Uint8Array }[] = [];
let isDistrusting = false;
let feed: Icmp6Feed;

beforeEach(() => {
  [changes, errors, sent, isDistrusting] = [[], [], [], false];
  const clock: Clock = { nowMs: () => 0, wallMs: () => 0, after: () => ({ cancel() {} }) };
  feed = new Icmp6Feed({
    ...{ pathMtu: new PathMtuTable(), clock, source: () => OURS, isPeer: (address) => address === PEER },
    isLocal: (address) => address === POD || address === POD6,
    onPathMtu: (change) => changes.push(change),
    distrustsReports: () => isDistrusting,
    onError: (_peer, text) => errors.push(text),
    send: (to, message) => sent.push({ to, message }),
    send6: (message) => sent.push({ to: undefined, message }),
  });
});

const four = (length = 1460, fields: object = {}): Uint8Array =>
  buildIpv4({
    ...{ source: POD, destination: parseAddress('10.2.0.5'), protocol: 17, dontFragment: true },
    ...{ payload: new Uint8Array(length - 20), ...fields },
  });
const six = (length = 1460, fields: object = {}): Uint8Array =>
  buildIpv6({
    ...{ source: POD6, destination: parseAddress6('fd00:2::5'), nextHeader: 17 },
    ...{ payload: new Uint8Array(length - 40), ...fields },
  });

/** An error that quotes as much of our packet around `inner` as RFC 4443 §2.4 (c) lets it. */
function about(inner: Uint8Array, type: number, code = 0, rest = 0, outer: object = {}): Uint8Array {
  const nextHeader = inner[0]! >> 4 === 6 ? 41 : 4;
  const packet = buildIpv6({ source: OURS, destination: PEER, nextHeader, payload: inner, ...outer });
  const message = new Uint8Array(8 + Math.min(packet.length, 1232));
  message.set([type, code]);
  put32(message, 4, rest);
  message.set(packet.subarray(0, 1232), 8);
  return message;
}

describe('ICMPv6 errors of the underlay (RFC 2473 §8)', () => {
  test('W10 packet too big becomes the path MTU of the peer, and an error of the size that is left for the sender', () => {
    feed.receive(about(four(), TOO_BIG, 0, 1400), ROUTER);
    assert.deepEqual(changes, [{ peer: PEER, pathMtuBytes: 1400 }]);
    assert.match(errors[0]!, /path MTU 1400 bytes, said 2001:db8::ff/);
    assert.equal(sent[0]!.to, POD);
    assert.deepEqual([sent[0]!.message[0], sent[0]!.message[1], get16(sent[0]!.message, 6)], [3, 4, 1360]);
    feed.receive(about(six(), TOO_BIG, 0, 1350), ROUTER);
    const [, { message }] = sent as [unknown, { message: Uint8Array }];
    assert.deepEqual([message[0], message[1], get32(message, 4)], [2, 0, 1310]);
    feed.receive(about(six(1300), TOO_BIG, 0, 1280), ROUTER);
    assert.equal(get32(sent[2]!.message, 4), 1280, 'never less than every link carries');
    assert.deepEqual(message.subarray(8, 48), six().subarray(0, 40));
  });

  test('W10 senders that can do nothing about the size hear nothing: without DF, and up to 1280 bytes of IPv6', () => {
    feed.receive(about(four(1460, { dontFragment: false }), TOO_BIG, 0, 1400), ROUTER);
    feed.receive(about(six(1280), TOO_BIG, 0, 1300), ROUTER);
    assert.equal(changes.length, 2);
    assert.deepEqual([sent, feed.counts.notForSender], [[], 2]);
  });

  test('W10 less than 1280 bytes, or no less than was sent, is believed by nobody', () => {
    for (const mtu of [0, 600, 1279, 1500, 9000]) feed.receive(about(four(), TOO_BIG, 0, mtu), ROUTER);
    isDistrusting = true;
    feed.receive(about(four(), TOO_BIG, 0, 1400), ROUTER);
    assert.deepEqual([changes, sent, feed.accepted, feed.ignored], [[], [], 5, 1]);
  });

  test('W11 what keeps packets from the end of the tunnel is a host unreachable to their senders', () => {
    const cases: [number, number, RegExp][] = [
      ...[0, 1, 2, 3, 4, 5, 6].map((code): [number, number, RegExp] => [UNREACHABLE, code, /, said/]),
      [UNREACHABLE, 9, /unreachable, code 9/],
      [TIME_EXCEEDED, 0, /time exceeded on the way/],
      [PARAMETER_PROBLEM, 1, /nothing there decapsulates/],
      [PARAMETER_PROBLEM, 0, /parameter problem, code 0/],
    ];
    for (const [type, code, text] of cases) {
      sent = [];
      feed.receive(about(four(), type, code), ROUTER);
      assert.match(errors.at(-1)!, text);
      assert.deepEqual([...sent[0]!.message.subarray(0, 2)], [3, 1], `type ${type} code ${code}`);
    }
    sent = [];
    feed.receive(about(six(), UNREACHABLE, 0), ROUTER);
    assert.deepEqual([sent[0]!.to, ...sent[0]!.message.subarray(0, 2)], [undefined, 1, 3]);
    assert.equal(changes.length, 0);
  });

  test('W12 an error counts only about a packet of ours to a gateway, behind no header but that of a first fragment', () => {
    const stranger = parseAddress6('2001:db8::77');
    const fragment = (offset: number): object => ({
      nextHeader: 44,
      payload: Uint8Array.of(4, 0, offset >> 5, ((offset << 3) & 0xff) | 1, 0, 0, 0, 1, ...four(1232)),
    });
    const wrong = [
      about(four(), UNREACHABLE, 0, 0, { source: stranger }),
      about(four(), UNREACHABLE, 0, 0, { destination: stranger }),
      about(four(), UNREACHABLE, 0, 0, { nextHeader: 17 }),
      about(four(), UNREACHABLE, 0, 0, fragment(5)),
      about(four(), 0),
      about(four(), 5),
      about(four(), 129),
      about(four(), UNREACHABLE).subarray(0, 47),
      new Uint8Array(0),
    ];
    for (const message of wrong) feed.receive(message, ROUTER);
    assert.deepEqual([feed.ignored, feed.accepted, sent, errors], [wrong.length, 0, [], []]);
    feed.receive(about(four(), UNREACHABLE, 0, 0, fragment(0)), ROUTER);
    assert.equal(sent.length, 1, 'a first fragment has the head of the inner packet');
  });

  test('W12 nobody but a host of ours is written to, and about no ICMP error', () => {
    feed.receive(about(four(1460, { source: parseAddress('10.9.0.1') }), UNREACHABLE), ROUTER);
    feed.receive(about(four(), UNREACHABLE, 0, 0, { nextHeader: 41 }), ROUTER);
    feed.receive(about(four(), UNREACHABLE).subarray(0, 60), ROUTER);
    assert.equal(feed.counts.unknownSender, 3);
    const error = new Uint8Array(1440);
    error[0] = 3;
    feed.receive(about(four(1460, { protocol: 1, payload: error }), UNREACHABLE), ROUTER);
    const error6 = new Uint8Array(1420);
    error6[0] = 1;
    feed.receive(about(six(1460, { nextHeader: 58, payload: error6 }), UNREACHABLE), ROUTER);
    assert.deepEqual([feed.counts.unanswerable, sent], [2, []]);
  });

  test('a peer whose path is broken has a rate of its own', () => {
    for (let i = 0; i < PEER_RELAYS_BURST + 5; i++) feed.receive(about(four(), UNREACHABLE), ROUTER);
    const { relayed, overLimit } = feed.counts;
    assert.deepEqual([relayed, overLimit], [PEER_RELAYS_BURST, 5]);
  });

  test('whatever somebody sends, nothing is thrown, and each message is accepted or ignored', () => {
    let received = 0;
    const good = about(six(), TOO_BIG, 0, 1400);
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.array(fc.tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 })), { maxLength: 6 }),
        fc.nat({ max: good.length }),
        (bytes, flips, length) => {
          const changed = good.slice(0, length);
          for (const [at, value] of flips) if (at < length) changed[at] = value;
          feed.receive(bytes, ROUTER);
          feed.receive(changed, ROUTER);
          received += 2;
          assert.equal(feed.accepted + feed.ignored, received);
        },
      ),
      { seed: 2473, numRuns: 500 },
    );
    for (const { message } of sent) assert.ok(message.length <= 1240);
    assert.ok(changes.every(({ pathMtuBytes }) => pathMtuBytes >= 1280));
  });
});
