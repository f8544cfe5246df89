import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Cidr4, cidrKey, formatCidr, prefixMask } from '../../../src/base/address.ts';
import { type ChangeList, orderChanges } from '../../../src/fib/changes.ts';
import { cidr, SEED } from './linear-scan.ts';

function listOf(list: ChangeList): string[] {
  return Array.from({ length: list.count }, (_, i) => {
    const text = formatCidr({ address: list.addresses[i]!, prefixLength: list.lengths[i]! });
    return `${text} ${list.groups[i]}`;
  });
}

function order(
  set: readonly (readonly [string, number])[],
  removed: readonly string[],
  superseded: number[] = [],
) {
  const assignment = {
    cidrs: set.map(([text]) => cidr(text)),
    groups: Uint32Array.from(set, ([, group]) => group),
  };
  const changes = orderChanges(assignment, removed.map(cidr), superseded);
  return { short: listOf(changes.short), long: listOf(changes.long) };
}

test('brings the prefixes of one /16 together, and those of one /24 within it, shorter ones between', () => {
  const { short, long } = order(
    [
      ['10.2.3.128/25', 2],
      ['10.3.0.0/17', 3],
      ['10.2.9.9/32', 4],
      ['10.2.0.0/16', 5],
      ['10.2.3.4/32', 6],
      ['10.2.3.0/24', 7],
      ['255.255.255.255/32', 8],
    ],
    ['10.2.3.5/32', '0.0.0.0/0'],
  );
  assert.deepEqual(short, ['10.2.0.0/16 5', '0.0.0.0/0 0']);
  assert.deepEqual(long, [
    '10.2.3.4/32 6',
    '10.2.3.5/32 0',
    '10.2.3.0/24 7',
    '10.2.3.128/25 2',
    '10.2.9.9/32 4',
    '10.3.0.0/17 3',
    '255.255.255.255/32 8',
  ]);
});

test('lets the last of equal CIDRs win, and any of them over a removal, and names the groups that lost', () => {
  const superseded: number[] = [];
  const { short, long } = order(
    [
      ['10.2.3.0/24', 2],
      ['10.0.0.0/8', 3],
      ['10.2.3.0/24', 4],
      ['10.2.3.0/24', 5],
      ['10.0.0.0/8', 6],
    ],
    ['10.2.3.0/24', '10.0.0.0/8', '10.2.3.0/24'],
    superseded,
  );
  assert.deepEqual([short, long], [['10.0.0.0/8 6'], ['10.2.3.0/24 5']]);
  assert.deepEqual(superseded.sort(), [2, 3, 4]);
});

test('keeps every CIDR once, whatever it is given', () => {
  const someCidr: fc.Arbitrary<Cidr4> = fc
    .tuple(fc.integer({ min: 0, max: 0xffff_ffff }), fc.integer({ min: 0, max: 32 }))
    .map(([address, prefixLength]) => ({
      address: (address & prefixMask(prefixLength)) >>> 0,
      prefixLength,
    }));
  fc.assert(
    fc.property(fc.array(someCidr), fc.array(someCidr), (set, removed) => {
      const groups = Uint32Array.from(set, (_, i) => i + 2);
      const { short, long } = orderChanges({ cidrs: set, groups }, removed, []);
      const expected = new Map<number, number>();
      for (const each of removed) expected.set(cidrKey(each), 0);
      for (const [i, each] of set.entries()) expected.set(cidrKey(each), i + 2);
      const got = new Map<number, number>();
      for (const list of [short, long]) {
        for (let i = 0; i < list.count; i++) {
          got.set(cidrKey({ address: list.addresses[i]!, prefixLength: list.lengths[i]! }), list.groups[i]!);
        }
      }
      assert.equal(short.count + long.count, expected.size);
      for (const [key, group] of expected) assert.equal(got.get(key), group);
      assert.equal(got.size, expected.size);
    }),
    { seed: SEED },
  );
});
