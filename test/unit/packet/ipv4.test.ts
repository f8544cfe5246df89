import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  checkInner,
  checkOuter,
  headerBytes,
  IPV4,
  isFragment,
  isMartianDestination,
  isMartianSource,
  outerPayload,
  PROTOCOL,
  totalLength,
} from '../../../src/packet/ipv4.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import { TEXTBOOK_HEADER, WIKIPEDIA_HEADER } from '../../vectors/checksum-vectors.ts';
import { LINUX_SYN, LINUX_SYN_ACK } from '../../vectors/tcp-vectors.ts';
import {
  anyPacket,
  Guarded,
  headerChecksumHolds,
  hostilePacket,
  plainPacket,
  SEED,
  setHeaderChecksum,
} from './oracle.ts';

function check(packet: Uint8Array, available = packet.length): number {
  return checkInner(packet, 0, available);
}

/** A valid packet with bytes changed and the checksum made right again, so that only what the test means is wrong. */
function changed(
  changes: Record<number, number>,
  packet = plainPacket({ payload: new Uint8Array(8) }),
): Uint8Array {
  for (const [at, value] of Object.entries(changes)) packet[Number(at)] = value;
  setHeaderChecksum(packet);
  return packet;
}

test('takes packets as Linux sends them', () => {
  for (const { bytes } of [LINUX_SYN, LINUX_SYN_ACK]) {
    assert.equal(check(bytes), VERDICT.FORWARD);
    assert.equal(headerBytes(bytes, 0), 20);
    assert.equal(totalLength(bytes, 0), bytes.length);
    assert.equal(isFragment(bytes, 0), false);
  }
});

test('takes the textbook headers when their payload is there, and calls them truncated when it is not', () => {
  for (const [vector, total] of [
    [WIKIPEDIA_HEADER, 115],
    [TEXTBOOK_HEADER, 60],
  ] as const) {
    const packet = new Uint8Array(total);
    packet.set(vector.bytes);
    assert.equal(check(packet), VERDICT.FORWARD);
    assert.equal(check(packet, total - 1), VERDICT.INNER_TRUNCATED);
    assert.equal(check(vector.bytes), VERDICT.INNER_TRUNCATED);
  }
});

test('takes a packet of 20 bytes, one with 40 bytes of options, and bytes behind the total length', () => {
  assert.equal(check(plainPacket()), VERDICT.FORWARD);
  assert.equal(check(plainPacket({ options: new Uint8Array(40) })), VERDICT.FORWARD);
  const padded = new Uint8Array(46);
  padded.set(plainPacket());
  assert.equal(check(padded), VERDICT.FORWARD);
});

test('drops fewer than 20 bytes as truncated, whatever they are', () => {
  const packet = plainPacket();
  for (let available = -1; available < 20; available++) {
    assert.equal(check(packet, available), VERDICT.INNER_TRUNCATED);
  }
});

test('drops every version but 4', () => {
  for (let version = 0; version < 16; version++) {
    const packet = changed({ 0: (version << 4) | 5 });
    assert.equal(check(packet), version === 4 ? VERDICT.FORWARD : VERDICT.INNER_VERSION);
  }
});

test('drops a header length below 20 and a total length below the header length as malformed', () => {
  for (let ihl = 0; ihl < 5; ihl++) assert.equal(check(changed({ 0: 0x40 | ihl })), VERDICT.INNER_MALFORMED);
  for (const total of [0, 1, 19]) assert.equal(check(changed({ 3: total })), VERDICT.INNER_MALFORMED);
  const withOptions = changed({ 3: 23 }, plainPacket({ options: new Uint8Array(4) }));
  assert.equal(check(withOptions), VERDICT.INNER_MALFORMED);
});

test('drops an inner packet whose total length exceeds the outer payload as truncated', () => {
  const packet = changed({ 3: 29 });
  assert.equal(packet.length, 28);
  assert.equal(check(packet), VERDICT.INNER_TRUNCATED);
});

test('drops a header whose options lie outside what was received', () => {
  const packet = changed({ 0: 0x4f, 3: 60 });
  assert.equal(check(packet), VERDICT.INNER_TRUNCATED);
});

test('drops a TTL of 0, and a wrong checksum before it', () => {
  assert.equal(check(plainPacket({ ttl: 0 })), VERDICT.INNER_TTL);
  assert.equal(check(plainPacket({ ttl: 1 })), VERDICT.FORWARD);
  const packet = plainPacket({ ttl: 0 });
  packet[10]! ^= 1;
  assert.equal(check(packet), VERDICT.INNER_CHECKSUM);
});

test('no single flipped bit in a header passes, options included', () => {
  const packet = plainPacket({ options: Uint8Array.of(0x94, 4, 0, 0), payload: new Uint8Array(10) });
  for (let bit = 0; bit < 24 * 8; bit++) {
    packet[bit >> 3]! ^= 0x80 >> (bit & 7);
    assert.notEqual(check(packet), VERDICT.FORWARD, `bit ${bit}`);
    packet[bit >> 3]! ^= 0x80 >> (bit & 7);
  }
  assert.equal(check(packet), VERDICT.FORWARD);
});

test('takes every valid packet', () => {
  fc.assert(
    fc.property(anyPacket, (packet) => assert.equal(check(packet), VERDICT.FORWARD)),
    { seed: SEED },
  );
});

test('takes of any bytes only what lies within them, and what is behind them makes no difference', () => {
  fc.assert(
    fc.property(hostilePacket, (packet) => {
      const zeros = new Guarded(packet, 0);
      const ones = new Guarded(packet, 0xff);
      const verdict = checkInner(zeros.bytes, zeros.at, packet.length);
      assert.equal(checkInner(ones.bytes, ones.at, packet.length), verdict);
      assert.deepEqual(zeros.packet, packet);
      if (verdict !== VERDICT.FORWARD) return;
      const header = headerBytes(packet, 0);
      assert.ok(header >= 20);
      assert.ok(header <= totalLength(packet, 0));
      assert.ok(totalLength(packet, 0) <= packet.length);
      assert.ok(headerChecksumHolds(packet));
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

test('takes an outer header with protocol 4, with and without options', () => {
  const payload = plainPacket();
  for (const options of [new Uint8Array(0), new Uint8Array(40)]) {
    const packet = plainPacket({ protocol: 4, options, payload });
    assert.equal(checkOuter(packet, 0, packet.length, PROTOCOL.IPIP), VERDICT.FORWARD);
    assert.equal(outerPayload(packet, 0, packet.length), 20);
  }
});

test('drops an outer header that is short, of another version, malformed, or fails its checksum', () => {
  const outer = (): Uint8Array => plainPacket({ protocol: 4, payload: plainPacket() });
  const wrong = {
    'nothing at all': new Uint8Array(0),
    '19 bytes': outer().slice(0, 19),
    'version 6': changed({ 0: 0x65 }, outer()),
    'header length 16': changed({ 0: 0x44 }, outer()),
    'total length 19': changed({ 3: 19 }, outer()),
    'header longer than what is there': changed({ 0: 0x4f, 3: 60 }, outer()),
    'checksum off by one': changed({}, outer()).map((byte, i) => (i === 11 ? byte ^ 1 : byte)),
  };
  for (const [what, packet] of Object.entries(wrong)) {
    assert.equal(checkOuter(packet, 0, packet.length, PROTOCOL.IPIP), VERDICT.OUTER_MALFORMED, what);
  }
});

test('drops an outer header of any other protocol', () => {
  for (let protocol = 0; protocol < 256; protocol++) {
    const packet = plainPacket({ protocol, payload: plainPacket() });
    const expected = protocol === 4 ? VERDICT.FORWARD : VERDICT.OUTER_MALFORMED;
    assert.equal(checkOuter(packet, 0, packet.length, PROTOCOL.IPIP), expected, `protocol ${protocol}`);
  }
});

test('drops an outer fragment, be it the first, a middle or the last one, but not DF or the reserved bit', () => {
  for (const fragment of [IPV4.MF, IPV4.MF | 185, 185, 1, 0x1fff]) {
    const packet = plainPacket({ protocol: 4, fragment, payload: plainPacket() });
    assert.equal(checkOuter(packet, 0, packet.length, PROTOCOL.IPIP), VERDICT.OUTER_MALFORMED);
    assert.equal(isFragment(packet, 0), true);
  }
  for (const fragment of [0, IPV4.DF, 0x8000]) {
    const packet = plainPacket({ protocol: 4, fragment, payload: plainPacket() });
    assert.equal(checkOuter(packet, 0, packet.length, PROTOCOL.IPIP), VERDICT.FORWARD);
    assert.equal(isFragment(packet, 0), false);
  }
});

test('a cut or an empty outer payload is left to the inner check, which calls it truncated', () => {
  const whole = plainPacket({ protocol: 4, payload: plainPacket({ payload: new Uint8Array(20) }) });
  for (let available = 20; available < whole.length; available++) {
    assert.equal(checkOuter(whole, 0, available, PROTOCOL.IPIP), VERDICT.FORWARD);
    assert.equal(outerPayload(whole, 0, available), available - 20);
    assert.equal(checkInner(whole, 20, outerPayload(whole, 0, available)), VERDICT.INNER_TRUNCATED);
  }
  const empty = plainPacket({ protocol: 4 });
  assert.equal(checkOuter(empty, 0, 20, PROTOCOL.IPIP), VERDICT.FORWARD);
  assert.equal(checkInner(empty, 20, outerPayload(empty, 0, 20)), VERDICT.INNER_TRUNCATED);
});

test('an inner packet may not reach behind the outer total length into bytes that happen to follow', () => {
  const inner = plainPacket({ payload: new Uint8Array(20) });
  const packet = changed({ 3: 59 }, plainPacket({ protocol: 4, payload: inner }));
  assert.equal(packet.length, 60);
  assert.equal(checkOuter(packet, 0, packet.length, PROTOCOL.IPIP), VERDICT.FORWARD);
  assert.equal(outerPayload(packet, 0, packet.length), 39);
  assert.equal(checkInner(packet, 20, outerPayload(packet, 0, packet.length)), VERDICT.INNER_TRUNCATED);
});

test('the outer check takes of any bytes only headers within them', () => {
  fc.assert(
    fc.property(hostilePacket, (packet) => {
      const zeros = new Guarded(packet, 0);
      const ones = new Guarded(packet, 0xff);
      const verdict = checkOuter(zeros.bytes, zeros.at, packet.length, PROTOCOL.IPIP);
      assert.equal(checkOuter(ones.bytes, ones.at, packet.length, PROTOCOL.IPIP), verdict);
      if (verdict !== VERDICT.FORWARD) return;
      assert.ok(headerBytes(packet, 0) <= packet.length);
      const payload = outerPayload(packet, 0, packet.length);
      assert.ok(payload >= 0);
      assert.ok(headerBytes(packet, 0) + payload <= packet.length);
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

test('knows the martians of RFC 1812 by their first and last address', () => {
  const martians = [
    [0x00000000, 0x00ffffff, '0/8'],
    [0x7f000000, 0x7fffffff, '127/8'],
    [0xe0000000, 0xefffffff, '224/4'],
    [0xf0000000, 0xffffffff, '240/4 with the limited broadcast'],
  ] as const;
  for (const [first, last, name] of martians) {
    for (const address of [first, last, last | 0]) {
      assert.equal(isMartianSource(address), true, `source in ${name}`);
      assert.equal(isMartianDestination(address), true, `destination in ${name}`);
    }
  }
  for (const address of [
    0x01000000,
    0x7effffff,
    0x80000000,
    0x0a000001,
    0xa9fe0001,
    0xdfffffff,
    0xc0a80001 | 0,
  ]) {
    assert.equal(isMartianSource(address), false);
    assert.equal(isMartianDestination(address), false);
  }
});
