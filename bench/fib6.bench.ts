import { addressAt6, networkOf6, wordsOf } from '../src/base/address6.ts';
import { Prng } from '../src/base/prng.ts';
import type { FibEntry } from '../src/fib/entry.ts';
import { Fib } from '../src/fib/fib.ts';
import { lookup6 } from '../src/fib/lookup6.ts';
import { type FibMeasurement, latencyOf, timeOf } from './fib.bench.ts';

const SEED = 8200;
const COUNT = 100_000;
const LOOKUPS = 1 << 16;
const MIB = 1024 * 1024;
const GATEWAY = [{ address: 0xac10_0001, weight: 1 }];

const sink = new Uint32Array(1);

function entryOf(address: bigint, prefixLength: number): FibEntry {
  const cidr = { address: networkOf6(address, prefixLength), prefixLength };
  return { cidr, cluster: `cluster-${Number(address & 7n)}`, gateways: GATEWAY };
}

function anyAddress(prng: Prng): bigint {
  return addressAt6(
    Uint8Array.from({ length: 16 }, () => prng.below(256)),
    0,
  );
}

const SETS: readonly (readonly [name: string, entry: (i: number, prng: Prng) => FibEntry])[] = [
  ['100,000 random IPv6 /64', (_, prng) => entryOf(anyAddress(prng), 64)],
  // As Calico's IPAM allocates: blocks of neighbours in a few hundred pools.
  [
    '100,000 IPv6 /122 in 400 pools',
    (i) =>
      entryOf(
        (0xfd00_0001n << 96n) | (BigInt(i % 400) << 64n) | (BigInt(i >> 8) << 6n) | BigInt(i % 64),
        122,
      ),
  ],
  [
    '100,000 IPv6 of five lengths',
    (i, prng) => entryOf((0xfdn << 120n) | (anyAddress(prng) >> 8n), [48, 56, 64, 112, 122][i % 5]!),
  ],
];

/** Addresses that have a route, by their words. */
function routed(entries: readonly FibEntry[]): Int32Array {
  const prng = new Prng(SEED + 1);
  const words = new Int32Array(4 * LOOKUPS);
  for (let i = 0; i < LOOKUPS; i++) {
    const { address, prefixLength } = prng.pick(entries).cidr;
    words.set(wordsOf(BigInt(address) | (anyAddress(prng) >> BigInt(prefixLength))), 4 * i);
  }
  return words;
}

/** Look-ups, a whole compile and patches of IPv6 prefixes, without targets: what DESIGN §5 asks is of IPv4. */
export async function fib6Bench(): Promise<FibMeasurement[]> {
  const rows: FibMeasurement[] = [];
  for (const [name, entry] of SETS) {
    const prng = new Prng(SEED);
    const entries = Array.from({ length: COUNT }, (_, i) => entry(i, prng));
    const fib = new Fib();
    const startMs = performance.now();
    fib.replace(entries);
    rows.push({ name: `compile ${name}, once`, value: performance.now() - startMs, unit: 'ms' });
    const { words } = fib;
    const addresses = routed(entries);
    const lookups = await timeOf(name, 60, () => {
      for (let i = 0; i < 4 * LOOKUPS; i += 4)
        sink[0]! ^= lookup6(words, addresses[i]!, addresses[i + 1]!, addresses[i + 2]!, addresses[i + 3]!);
    });
    const value = (latencyOf(lookups).p50 * 1e6) / LOOKUPS;
    rows.push({ name: `look-up of routed addresses, ${name}`, value, unit: 'ns' });
    const one = entryOf(0xfeedn << 112n, 64);
    let isThere = false;
    const patches = latencyOf(
      await timeOf(`patch ${name}`, 1000, () => {
        fib.apply(isThere ? [] : [one], isThere ? [one.cidr] : []);
        isThere = !isThere;
      }),
    );
    rows.push({ name: `patch a /64 among ${name}, p99`, value: patches.p99, unit: 'ms' });
    rows.push({ name: `image of ${name}`, value: fib.stats().bytesTouched / MIB, unit: 'MiB' });
  }
  return rows;
}
