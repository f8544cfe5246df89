import assert from 'node:assert/strict';
import { test } from 'node:test';
import { prefixMask } from '../../../src/base/address.ts';
import { Prng } from '../../../src/base/prng.ts';
import { batchLookup } from '../../../src/fib/batch-lookup.ts';
import type { FibEntry } from '../../../src/fib/entry.ts';
import { Fib } from '../../../src/fib/fib.ts';
import { ARENA_BYTES_MIN, UNIT_WORDS } from '../../../src/fib/layout.ts';
import { lookup } from '../../../src/fib/lookup.ts';
import { SEED } from './linear-scan.ts';

const CAPACITY = 64;

/** Few distinct bytes, so that prefixes contain one another and every level has something to fall back to. */
function someAddress(prng: Prng): number {
  const byte = (): number => prng.pick([0, 1, 10, 11, 127, 128, 255]);
  return ((byte() << 24) | (byte() << 16) | (byte() << 8) | byte()) >>> 0;
}

function someEntry(prng: Prng): FibEntry {
  const prefixLength = prng.below(33);
  const address = (someAddress(prng) & prefixMask(prefixLength)) >>> 0;
  const gateways = [{ address: 0xc0a8_0000 + prng.below(20), weight: 1 }];
  return { cidr: { address, prefixLength }, cluster: 'west', gateways };
}

test('finds for every address what the look-up of one address finds', () => {
  const prng = new Prng(SEED);
  for (let round = 0; round < 60; round++) {
    const fib = new Fib({ capacityBytes: 1 << 20 });
    const entries = new Map<string, FibEntry>();
    for (let i = prng.below(200); i > 0; i--) {
      const entry = someEntry(prng);
      entries.set(`${entry.cidr.address}/${entry.cidr.prefixLength}`, entry);
    }
    fib.setLocal([{ address: 0x0a00_0000, prefixLength: 16 }]);
    fib.replace([...entries.values()]);
    const { addresses, groups, run } = batchLookup(fib.words, CAPACITY);
    for (let batch = 0; batch < 10; batch++) {
      const from = prng.below(CAPACITY);
      const to = from + prng.below(CAPACITY - from + 1);
      for (let i = 0; i < CAPACITY; i++) addresses[i] = someAddress(prng);
      groups.fill(-7);
      run(from, to);
      for (let i = 0; i < CAPACITY; i++) {
        const wanted = i >= from && i < to ? lookup(fib.words, addresses[i]!) : -7;
        assert.equal(groups[i], wanted, `seed ${SEED}, round ${round}, address ${addresses[i]! >>> 0}`);
      }
    }
  }
});

test('behind the last node of a full arena there is a cache line to fetch', () => {
  const fib = new Fib({ capacityBytes: ARENA_BYTES_MIN });
  const { words } = fib;
  const taken: FibEntry[] = [];
  const prng = new Prng(SEED);
  assert.throws(() => {
    for (;;) {
      const entry = { ...someEntry(prng), cidr: { address: prng.u32(), prefixLength: 32 } };
      fib.apply([entry], []);
      taken.push(entry);
    }
  });
  const last = Math.max(...words.subarray(2048, 2048 + 65_536).map((top) => top & 0x7fff_ffff));
  assert.ok(last + UNIT_WORDS < words.length);
  const { addresses, groups, run } = batchLookup(words, CAPACITY);
  for (const [i, { cidr }] of taken.slice(-CAPACITY).entries()) addresses[i] = Number(cidr.address);
  run(0, CAPACITY);
  for (let i = 0; i < CAPACITY; i++) assert.equal(groups[i], lookup(words, addresses[i]!));
});
