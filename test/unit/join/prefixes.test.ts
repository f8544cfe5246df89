import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Cidr4, cidrHolds, formatCidr, parseCidr, prefixMask } from '../../../src/base/address.ts';
import { mergeCidrs, refuseOverlaps } from '../../../src/join/prefixes.ts';

const merge = (...texts: string[]) => mergeCidrs(texts.map(parseCidr)).map(formatCidr);

test('neighbours become one prefix, and that one again', () => {
  assert.deepEqual(merge('10.0.3.0/24', '10.0.0.0/24', '10.0.2.0/24', '10.0.1.0/24'), ['10.0.0.0/22']);
});

test('neighbours that are not halves of one prefix stay', () => {
  assert.deepEqual(merge('10.0.1.0/24', '10.0.2.0/24'), ['10.0.1.0/24', '10.0.2.0/24']);
});

test('a prefix inside another is not named', () => {
  assert.deepEqual(merge('10.0.0.0/16', '10.0.5.0/24', '10.0.0.0/16'), ['10.0.0.0/16']);
});

test('merging keeps every address and adds none, and leaves nothing to merge', () => {
  // Eight bits of address, so that a random list has neighbours and every address can be asked for.
  const cidr = fc.tuple(fc.nat(255), fc.integer({ min: 24, max: 32 })).map(([host, prefixLength]): Cidr4 => {
    return { address: ((0x0a000000 | host) & prefixMask(prefixLength)) >>> 0, prefixLength };
  });
  fc.assert(
    fc.property(fc.array(cidr, { maxLength: 20 }), (cidrs) => {
      const merged = mergeCidrs(cidrs);
      for (let address = 0x0a000000; address < 0x0a000100; address++) {
        const holders = merged.filter((prefix) => cidrHolds(prefix, address)).length;
        assert.equal(holders, cidrs.some((prefix) => cidrHolds(prefix, address)) ? 1 : 0);
      }
      assert.deepEqual(mergeCidrs(merged), merged);
    }),
    { seed: 3 },
  );
});

test('clusters that share addresses are refused with each pair, up to a number that a person reads', () => {
  const named = (name: string, ...texts: string[]) => ({ name, cidrs: texts.map(parseCidr) });
  refuseOverlaps(named('east', '10.1.0.0/16'), named('west', '10.2.0.0/16'));
  assert.throws(() => refuseOverlaps(named('east', '10.1.0.0/16'), named('west', '10.1.4.0/24')), {
    code: 'ISTHMUS_ERR_JOIN',
    message: /share addresses.*: 10\.1\.0\.0\/16 of east and 10\.1\.4\.0\/24 of west; one of them/,
  });
  const parts = Array.from({ length: 7 }, (_, n) => `10.1.${2 * n}.0/24`);
  assert.throws(() => refuseOverlaps(named('east', '10.1.0.0/16'), named('west', ...parts)), /; and 2 more;/);
});

test('prefixes of IPv6 are merged like those of IPv4, and stand behind them', () => {
  const texts = ['fd00:1:0:1::/64', '10.1.1.0/24', 'fd00:1::/64', '10.1.0.0/24', 'fd00:1:0:1:2::/80'];
  assert.deepEqual(mergeCidrs(texts.map(parseCidr)).map(formatCidr), ['10.1.0.0/23', 'fd00:1::/63']);
  const two = { name: 'b', cidrs: [parseCidr('fd00:1:0:1::/64')] };
  assert.throws(
    () => refuseOverlaps({ name: 'a', cidrs: [parseCidr('fd00:1::/48')] }, two),
    /fd00:1::\/48 of a/,
  );
});
