import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAddress6, wordsOf } from '../../../src/base/address6.ts';
import { flowHash6, flowHashOf6 } from '../../../src/packet/flow6.ts';
import { ICMP6, mayAnswer6, writeIcmp6Error } from '../../../src/packet/icmp6.ts';
import {
  checkInner6,
  isFragment6,
  isMartian6,
  NO_UPPER_LAYER,
  totalLength6,
  trafficClass,
  upperLayer,
} from '../../../src/packet/ipv6.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import { get16, get32 } from '../../sim/oracle/wire.ts';
import { addressBytes, buildIpv6 } from '../../sim/oracle/wire6.ts';

const SOURCE = parseAddress6('fd00:1::5');
const DESTINATION = parseAddress6('fd00:2::5');
const UDP = Uint8Array.of(0x30, 0x39, 0, 53, 0, 8, 0, 0);

/** An extension header of 8 bytes before `rest`. */
const hopByHop = (next: number, rest: Uint8Array) => Uint8Array.of(next, 0, 1, 4, 0, 0, 0, 0, ...rest);
const fragment = (next: number, offset: number, more: 0 | 1, rest: Uint8Array) =>
  Uint8Array.of(next, 0, (offset >> 5) & 255, ((offset << 3) & 255) | more, 0, 0, 0, 7, ...rest);

test('no packet of any bytes makes a check read beyond it, or say yes to what is not inside', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 120 }), fc.boolean(), (random, isSix) => {
      const bytes = Uint8Array.from(random);
      if (isSix && bytes.length > 0) bytes[0] = 0x60;
      if (checkInner6(bytes, 0, bytes.length) !== VERDICT.FORWARD) return;
      assert.ok(totalLength6(bytes, 0) <= bytes.length);
      const upper = upperLayer(bytes, 0);
      if (upper !== NO_UPPER_LAYER) assert.ok(upper >> 8 <= totalLength6(bytes, 0));
      assert.equal(typeof isFragment6(bytes, 0), 'boolean');
      assert.equal(flowHash6(bytes, 0), flowHash6(bytes, 0) | 0);
    }),
    { seed: 8200, numRuns: 2000 },
  );
});

test('the upper layer is found behind extension headers, in the first fragment, and not in later ones', () => {
  const of = (nextHeader: number, payload: Uint8Array) =>
    buildIpv6({ source: SOURCE, destination: DESTINATION, nextHeader, payload });
  assert.equal(upperLayer(of(17, UDP), 0), (40 << 8) | 17);
  assert.equal(upperLayer(of(0, hopByHop(17, UDP)), 0), (48 << 8) | 17);
  const first = of(0, hopByHop(44, fragment(17, 0, 1, UDP)));
  assert.equal(upperLayer(first, 0), (56 << 8) | 17);
  const later = of(44, fragment(17, 185, 0, UDP));
  assert.equal(upperLayer(later, 0), NO_UPPER_LAYER);
  assert.deepEqual(
    [isFragment6(first, 0), isFragment6(later, 0), isFragment6(of(17, UDP), 0)],
    [true, true, false],
  );
  // A chain without an end, and one that is cut.
  const chain = of(0, Uint8Array.from(Array.from({ length: 12 }, () => [0, 0, 1, 4, 0, 0, 0, 0]).flat()));
  assert.equal(upperLayer(chain, 0), NO_UPPER_LAYER);
  assert.equal(upperLayer(of(0, Uint8Array.of(17, 9, 0, 0, 0, 0, 0, 0)), 0), NO_UPPER_LAYER);
});

test('the flow hash is that of the same numbers, and all fragments of a datagram have one', () => {
  fc.assert(
    fc.property(
      fc.bigInt(0n, 2n ** 128n - 1n),
      fc.bigInt(0n, 2n ** 128n - 1n),
      fc.nat(0xffff_ffff),
      (a, b, ports) => {
        const payload = Uint8Array.of(ports >>> 24, ports >>> 16, ports >>> 8, ports, 0, 8, 0, 0);
        const bytes = buildIpv6({ source: a, destination: b, nextHeader: 17, payload });
        assert.equal(flowHash6(bytes, 0), flowHashOf6(wordsOf(a), wordsOf(b), 17, ports));
        const parts = [
          fragment(17, 0, 1, payload),
          fragment(17, 185, 1, payload),
          fragment(17, 370, 0, payload),
        ];
        const hashes = parts.map((part) =>
          flowHash6(buildIpv6({ source: a, destination: b, nextHeader: 44, payload: part }), 0),
        );
        assert.equal(new Set(hashes).size, 1);
      },
    ),
    { seed: 6437 },
  );
});

test('martians are what no host of a cluster has', () => {
  const is = (text: string) => isMartian6(addressBytes(parseAddress6(text)), 0);
  for (const text of ['::', '::1', '::ffff:10.1.0.5', 'fe80::1', 'febf::1', 'ff02::1'])
    assert.ok(is(text), text);
  for (const text of ['fd00::1', '2001:db8::1', '2a00::1']) assert.ok(!is(text), text);
});

test('an error quotes what fits into 1280 bytes, with type, code and MTU', () => {
  const bytes = buildIpv6({
    source: SOURCE,
    destination: DESTINATION,
    payload: new Uint8Array(1460).fill(7),
    trafficClass: 0xb8,
  });
  assert.equal(trafficClass(bytes, 0), 0xb8);
  const out = new Uint8Array(1400);
  assert.equal(writeIcmp6Error(out, 4, ICMP6.TOO_BIG, 0, 1480, bytes, 0, bytes.length), 1240);
  assert.deepEqual([out[4], out[5], get16(out, 6), get32(out, 8)], [2, 0, 0, 1480]);
  assert.deepEqual(out.slice(12, 4 + 1240), bytes.slice(0, 1232));
  assert.equal(writeIcmp6Error(out, 0, 1, 3, 0, bytes, 0, 60), 68);
});

test('a packet to a group is answered only with its MTU', () => {
  const bytes = buildIpv6({
    source: SOURCE,
    destination: parseAddress6('ff0e::1'),
    nextHeader: 17,
    payload: UDP,
  });
  assert.deepEqual([mayAnswer6(bytes, 0, ICMP6.UNREACHABLE), mayAnswer6(bytes, 0, ICMP6.TOO_BIG)], [0, 1]);
});
