import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Cidr, cidrContains, cidrHolds, formatCidr, networkOf } from '../../../src/base/address.ts';
import { Cover } from '../../../src/table/cover.ts';
import { PrefixMap } from '../../../src/table/prefix-map.ts';

/** Few bits that differ, so that prefixes meet: of IPv4 the last eight, of IPv6 eight around the middle and the last ones. */
const cidrs4 = fc
  .tuple(fc.nat(255), fc.integer({ min: 24, max: 32 }))
  .map(([low, length]) => networkOf(low, length));
const cidrs6 = fc
  .tuple(fc.nat(255), fc.integer({ min: 57, max: 70 }))
  .map(([bits, length]) => networkOf((0xfd00n << 112n) | (BigInt(bits) << 60n), length));
const cidrs = fc.oneof(cidrs4, cidrs6);

test('a prefix map finds of both families what a list finds', () => {
  fc.assert(
    fc.property(fc.array(cidrs), fc.array(cidrs), cidrs, (set, deleted, asked) => {
      const map = new PrefixMap<string>();
      const list = new Map<string, Cidr>();
      for (const cidr of set) {
        map.set(cidr, formatCidr(cidr));
        list.set(formatCidr(cidr), cidr);
      }
      for (const cidr of deleted) {
        map.delete(cidr);
        list.delete(formatCidr(cidr));
      }
      const holding = [...list.values()]
        .filter((cidr) => cidrHolds(cidr, asked.address))
        .sort((a, b) => b.prefixLength - a.prefixLength);
      assert.equal(map.size, list.size);
      assert.deepEqual(map.holding(asked.address), holding.map(formatCidr));
      const around = holding.find((cidr) => cidr.prefixLength <= asked.prefixLength);
      assert.equal(map.longest(asked.address, asked.prefixLength), around && formatCidr(around));
      assert.equal(map.get(asked), list.has(formatCidr(asked)) ? formatCidr(asked) : undefined);
    }),
  );
});

test('a cover joins the halves of both families, and gives them back one by one', () => {
  fc.assert(
    fc.property(fc.array(cidrs, { maxLength: 40 }), cidrs, (added, asked) => {
      const cover = new Cover();
      for (const cidr of added) cover.add(cidr);
      const joined = cover.joined();
      for (const cidr of added) assert.ok(joined.some((outer) => cidrContains(outer, cidr)));
      for (const a of joined) for (const b of joined) assert.ok(a === b || !cidrContains(a, b));
      // Joined as far as can be: no two are the halves of one.
      for (const { address, prefixLength } of joined) {
        const parent = networkOf(address, prefixLength - 1);
        const halves = joined.filter((one) => one.prefixLength === prefixLength && cidrContains(parent, one));
        assert.equal(halves.length, 1);
      }
      assert.equal(
        cover.around(asked) !== undefined,
        joined.some((outer) => cidrContains(outer, asked)),
      );
      for (const cidr of added) cover.remove(cidr);
      assert.deepEqual(cover.joined(), []);
    }),
  );
});
