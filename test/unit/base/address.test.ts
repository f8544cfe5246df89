import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  type Cidr,
  cidrContains,
  cidrHolds,
  cidrKey,
  cidrOfKey,
  cidrOverlaps,
  compareCidrs,
  formatAddress,
  formatCidr,
  networkOf,
  parseAddress,
  parseCidr,
  parseIpAddress,
  sortCidrs,
} from '../../../src/base/address.ts';
import { cidrKey6, cidrOfKey6 } from '../../../src/base/address6.ts';
import { GatewayError } from '../../../src/base/errors.ts';

const cidrs4 = fc
  .tuple(fc.nat(0xffff_ffff), fc.nat(32))
  .map(([address, length]) => networkOf(address, length));
const cidrs6 = fc
  .tuple(fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), fc.nat(128))
  .map(([address, length]) => networkOf(address, length));
const cidrs = fc.oneof(cidrs4, cidrs6);

const isAddressError = (pattern: RegExp) => (thrown: unknown) =>
  thrown instanceof GatewayError && thrown.code === 'ISTHMUS_ERR_ADDRESS' && pattern.test(thrown.message);

describe('a CIDR of either family', () => {
  it('is read and written, by the colon in its text', () => {
    for (const text of ['10.1.0.0/16', '0.0.0.0/0', 'fd00:1::/48', '::/0', '2001:db8::1/128'])
      assert.equal(formatCidr(parseCidr(text)), text);
    assert.equal(formatCidr(parseCidr('FD00:0001:0:0::/48')), 'fd00:1::/48');
    assert.throws(() => parseCidr('fd00:1::1/48'), isAddressError(/did you mean fd00:1::\/48/));
    assert.throws(() => parseCidr('10.1.0.1/16'), isAddressError(/did you mean 10\.1\.0\.0\/16/));
    assert.throws(() => parseCidr('fd00::/129'), isAddressError(/0 to 128/));
    assert.equal(formatAddress(parseIpAddress('fd00:1:0::2')), 'fd00:1::2');
    assert.equal(parseIpAddress('10.0.0.1'), parseAddress('10.0.0.1'));
  });

  it('comes back from its text and from its key', () => {
    fc.assert(
      fc.property(cidrs, (cidr) => {
        assert.deepEqual(parseCidr(formatCidr(cidr)), cidr);
        assert.deepEqual(cidrOfKey(cidrKey(cidr)), cidr);
        if (typeof cidr.address === 'bigint')
          assert.deepEqual(cidrOfKey6(cidrKey6({ ...cidr, address: cidr.address })), cidr);
      }),
    );
  });

  it('has a key of its own', () => {
    fc.assert(
      fc.property(cidrs, cidrs, (a, b) => {
        assert.equal(cidrKey(a) === cidrKey(b), formatCidr(a) === formatCidr(b));
      }),
    );
  });

  it('holds what its text begins with, and nothing of the other family', () => {
    fc.assert(
      fc.property(cidrs4, cidrs6, (four, six) => {
        assert.equal(cidrOverlaps(four, six), false);
        assert.equal(cidrHolds(four, six.address), false);
        assert.equal(cidrHolds(six, four.address), false);
      }),
    );
    fc.assert(
      fc.property(cidrs, fc.nat(128), (inner, length) => {
        const outer = networkOf(inner.address, Math.min(length, inner.prefixLength));
        assert.ok(cidrContains(outer, inner));
        assert.equal(cidrContains(inner, outer), inner.prefixLength === outer.prefixLength);
      }),
    );
  });

  it('sorts IPv4 first, then by address, then by length', () => {
    const texts = ['::/0', '10.0.0.0/9', 'fd00::/64', '10.0.0.0/8', 'fd00::/48', '9.0.0.0/8'];
    assert.deepEqual(sortCidrs(texts.map(parseCidr)).map(formatCidr), [
      ...['9.0.0.0/8', '10.0.0.0/8', '10.0.0.0/9'],
      ...['::/0', 'fd00::/48', 'fd00::/64'],
    ]);
    fc.assert(
      fc.property(fc.array(cidrs), (list: Cidr[]) => {
        assert.deepEqual(sortCidrs(list), list.toSorted(compareCidrs));
      }),
    );
  });

  it('keeps its keys apart in the 64 bits that V8 hashes', () => {
    const hashed = new Set<bigint>();
    for (let i = 0; i < 1000; i++) {
      const cidr = { address: (0xfd00n << 112n) | (BigInt(i) << 64n), prefixLength: 64 };
      hashed.add(BigInt.asUintN(64, BigInt(cidrKey(cidr))));
    }
    assert.equal(hashed.size, 1000);
  });
});
