import { test } from 'node:test';
import fc from 'fast-check';
import { type Cidr, prefixMask } from '../../../src/base/address.ts';
import { networkOf6 } from '../../../src/base/address6.ts';
import type { FibEntry } from '../../../src/fib/entry.ts';
import { SEED } from './linear-scan.ts';
import { GATEWAY_NETWORK, Scenario } from './scenario.ts';

/** Few distinct bytes, so that random prefixes contain, touch and replace one another. */
const someAddress = fc
  .tuple(
    fc.constantFrom(0, 10, 11, 255),
    fc.constantFrom(0, 1, 128, 255),
    fc.constantFrom(0, 1, 64, 255),
    fc.constantFrom(0, 1, 32, 127, 128, 255),
  )
  .map(([a, b, c, d]) => ((a << 24) | (b << 16) | (c << 8) | d) >>> 0);

const prefixLength = fc.oneof(
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 15 }) },
  { weight: 4, arbitrary: fc.integer({ min: 15, max: 32 }) },
);

const someCidr4: fc.Arbitrary<Cidr> = fc
  .tuple(someAddress, prefixLength)
  .map(([from, length]) => ({ address: (from & prefixMask(length)) >>> 0, prefixLength: length }));

/** As above, of sixteen bytes: long beginnings in common, as pools and their blocks have, and the borders of each word. */
const someCidr6: fc.Arbitrary<Cidr> = fc
  .tuple(
    fc.constantFrom(0n, 0xfd00_0001n, 0xffff_ffffn),
    fc.constantFrom(0n, 1n, 0x8000_0000n),
    fc.constantFrom(0n, 1n, 0xffff_ffffn),
    fc.constantFrom(0n, 1n, 0x40n, 0x80n, 0xffff_ffffn),
    fc.oneof(fc.constantFrom(0, 32, 48, 64, 96, 122, 128), fc.integer({ min: 0, max: 128 })),
  )
  .map(([a, b, c, d, length]) => ({
    address: networkOf6((a << 96n) | (b << 64n) | (c << 32n) | d, length),
    prefixLength: length,
  }));

const someCidr: fc.Arbitrary<Cidr> = fc.oneof(someCidr4, someCidr6);

/** Few addresses and weights, so that gateways are shared among groups. */
const someGateways = fc
  .uniqueArray(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 3 })
  .chain((hosts) =>
    fc.tuple(
      ...hosts.map((host) =>
        fc.constantFrom(0, 1, 5).map((weight) => ({ address: GATEWAY_NETWORK + host, weight })),
      ),
    ),
  );

const someEntry: fc.Arbitrary<FibEntry> = fc.record({
  cidr: someCidr,
  cluster: fc.constantFrom('west', 'north'),
  gateways: someGateways,
});

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('apply' as const),
      set: fc.array(someEntry, { maxLength: 8 }),
      removed: fc.array(someCidr, { maxLength: 4 }),
      removedNumbers: fc.array(fc.nat(), { maxLength: 6 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('replace' as const),
      entries: fc.array(someEntry, { maxLength: 30 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('local' as const),
      cidrs: fc.array(someCidr, { maxLength: 4 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('peer' as const),
      host: fc.integer({ min: 1, max: 6 }),
      alive: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('read' as const), enter: fc.boolean() }) },
);

test('says what a linear scan says, whatever is set, removed, replaced, local or dead, and keeps its blocks in order', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
      const scenario = new Scenario();
      for (const what of steps) scenario.run(what);
      scenario.end();
    }),
    { seed: SEED, numRuns: 40 },
  );
});
