import { Bench, type FnOptions } from 'tinybench';
import { type CidrKey, cidrKey, prefixMask } from '../src/base/address.ts';
import { Prng } from '../src/base/prng.ts';
import type { FibEntry } from '../src/fib/entry.ts';
import { Fib } from '../src/fib/fib.ts';
import { enterEpoch, findPeer, leaveEpoch, lookup, pickPeer } from '../src/fib/lookup.ts';

/** One line of bench/RESULTS.md. Times are of one operation. `target` is the most that DESIGN allows; rows without one inform. */
export interface FibMeasurement {
  readonly name: string;
  readonly value: number;
  readonly unit: 'ns' | 'ms' | 'MiB';
  readonly target?: number;
}

const SEED = 2003;
const GATEWAYS = 300;
const LOOKUPS = 1 << 16;
const MIB = 1024 * 1024;
const COMPILE_MS_MAX = 150;
const PATCH_MS_MAX = 1;
const LOOKUP_NS_MAX = 30;
const IMAGE_MIB_MAX = 64;

const sink = new Uint32Array(1);

/** Each gateway is of one cluster, as nodes are: its entries share one array, as the table hands them out. */
const gateways = Array.from({ length: GATEWAYS }, (_, i) => [{ address: 0xac10_0000 + i, weight: 1 }]);

function entryOf(address: number, prefixLength: number, gateway: number): FibEntry {
  const cidr = { address: (address & prefixMask(prefixLength)) >>> 0, prefixLength };
  return { cidr, cluster: `cluster-${gateway % 10}`, gateways: gateways[gateway]! };
}

function randomEntries(count: number, lengthOf: (prng: Prng) => number): FibEntry[] {
  const prng = new Prng(SEED);
  const entries = new Map<CidrKey, FibEntry>();
  while (entries.size < count) {
    const entry = entryOf(prng.u32(), lengthOf(prng), prng.below(GATEWAYS));
    entries.set(cidrKey(entry.cidr), entry);
  }
  return [...entries.values()];
}

/** As Calico's IPAM allocates: pools of neighbouring /26 blocks, each block on some node. */
function pooledBlocks(count: number, pools: number): FibEntry[] {
  const prng = new Prng(SEED);
  const perPool = count / pools;
  const poolBytes = 2 ** Math.ceil(Math.log2(perPool * 64));
  return Array.from({ length: count }, (_, i) => {
    const address = 0x0a00_0000 + Math.floor(i / perPool) * poolBytes + (i % perPool) * 64;
    return entryOf(address, 26, prng.below(GATEWAYS));
  });
}

const mixedLength = (prng: Prng) => 8 + prng.below(25);

export async function timeOf(
  name: string,
  iterations: number,
  run: () => void,
  options: FnOptions = {},
): Promise<Bench> {
  const bench = new Bench({
    name,
    iterations,
    time: 0,
    warmupIterations: Math.ceil(iterations / 4),
    warmupTime: 0,
  });
  bench.add(name, run, options);
  await bench.run();
  return bench;
}

export function latencyOf(bench: Bench): { p50: number; p99: number; max: number } {
  const result = bench.tasks[0]?.result;
  if (result === undefined || !('latency' in result)) throw new Error(`${bench.name} did not complete`);
  return result.latency;
}

async function lookupRow(
  name: string,
  words: Uint32Array,
  addresses: Uint32Array,
  target?: number,
): Promise<FibMeasurement> {
  const bench = await timeOf(name, 60, () => {
    for (let i = 0; i < LOOKUPS; i++) sink[0]! ^= lookup(words, addresses[i]!);
  });
  const value = (latencyOf(bench).p50 * 1e6) / LOOKUPS;
  return { name, value, unit: 'ns', ...(target === undefined ? {} : { target }) };
}

function anyAddresses(): Uint32Array {
  const prng = new Prng(SEED + 1);
  return Uint32Array.from({ length: LOOKUPS }, () => prng.u32());
}

function addressesInside(entries: readonly FibEntry[]): Uint32Array {
  const prng = new Prng(SEED + 2);
  return Uint32Array.from({ length: LOOKUPS }, () => {
    const { address, prefixLength } = prng.pick(entries).cidr;
    return Number(address) + prng.below(2 ** (32 - prefixLength));
  });
}

/** Compile into an empty image, then look up: addresses anywhere, and addresses that have a route. */
async function measureSet(name: string, entries: readonly FibEntry[]): Promise<FibMeasurement[]> {
  const fib = new Fib();
  const emptied = {
    beforeEach: () => {
      fib.replace([]);
      fib.reclaim();
    },
  };
  const compile = latencyOf(await timeOf(name, 12, () => fib.replace(entries), emptied));
  const again = latencyOf(await timeOf(name, 12, () => fib.replace(entries)));
  return [
    { name: `compile ${name}`, value: compile.p50, unit: 'ms', target: COMPILE_MS_MAX },
    { name: `the same snapshot again, ${name}`, value: again.p50, unit: 'ms' },
    { name: `image of ${name}`, value: fib.stats().bytesTouched / MIB, unit: 'MiB', target: IMAGE_MIB_MAX },
    await lookupRow(`look-up of any address, ${name}`, fib.words, anyAddresses(), LOOKUP_NS_MAX),
    await lookupRow(`look-up of routed addresses, ${name}`, fib.words, addressesInside(entries)),
  ];
}

/** Adds and withdraws one prefix at a time; both are samples. `p99` is held against the target: the maximum belongs to the machine. */
async function patchRows(
  fib: Fib,
  among: string,
  what: string,
  cidrOf: (prng: Prng) => FibEntry,
): Promise<FibMeasurement[]> {
  const prng = new Prng(SEED + 3);
  let present: FibEntry | undefined;
  const bench = await timeOf(`${what} among ${among}`, 1000, () => {
    if (present === undefined) {
      present = cidrOf(prng);
      fib.apply([present], []);
    } else {
      fib.apply([], [present.cidr]);
      present = undefined;
    }
  });
  const { p50, p99, max } = latencyOf(bench);
  return [
    { name: `patch ${what} among ${among}, median`, value: p50, unit: 'ms' },
    { name: `patch ${what} among ${among}, p99`, value: p99, unit: 'ms', target: PATCH_MS_MAX },
    { name: `patch ${what} among ${among}, worst`, value: max, unit: 'ms' },
  ];
}

async function measureMillion(name: string, entries: readonly FibEntry[]): Promise<FibMeasurement[]> {
  const fib = new Fib();
  const startMs = performance.now();
  fib.replace(entries);
  const rows: FibMeasurement[] = [
    { name: `compile ${name}, once`, value: performance.now() - startMs, unit: 'ms' },
    { name: `image of ${name}`, value: fib.stats().bytesTouched / MIB, unit: 'MiB', target: IMAGE_MIB_MAX },
    { name: `control side of ${name}`, value: fib.stats().controlBytes / MIB, unit: 'MiB' },
    await lookupRow(`look-up of any address, ${name}`, fib.words, anyAddresses()),
    await lookupRow(`look-up of routed addresses, ${name}`, fib.words, addressesInside(entries)),
  ];
  // The same gateway as the present entry would be no change; gateway 0 of a cluster of its own is one everywhere.
  const among =
    (prefixLength: number) =>
    (prng: Prng): FibEntry => ({
      ...entryOf(Number(prng.pick(entries).cidr.address) + 1, prefixLength, 0),
      cluster: 'elsewhere',
    });
  for (const length of [8, 9, 16, 17, 25, 32]) {
    rows.push(...(await patchRows(fib, name, `a /${length}`, among(length))));
  }
  const alone = (prng: Prng) => entryOf(0xf000_0000 + prng.below(0x0f00_0000), 32, 0);
  rows.push(...(await patchRows(fib, name, 'a /32 that makes and empties its nodes', alone)));
  return rows;
}

/** What a packet pays besides the look-up. */
async function measurePeers(): Promise<FibMeasurement[]> {
  const fib = new Fib();
  const five = gateways.slice(0, 5).flat();
  const groups = Array.from(
    { length: 250 },
    (_, i): FibEntry => ({
      ...entryOf(0x0a00_0000 + i * 256, 24, 0),
      gateways: [...five, ...gateways[5 + i]!],
    }),
  );
  fib.replace([...groups, ...randomEntries(1000, () => 24)]);
  const { words } = fib;
  const addresses = anyAddresses();
  const known = Uint32Array.from(addresses, (address) => 0xac10_0000 + (address % GATEWAYS));
  const group = lookup(words, 0x0a00_0001);
  const row = async (name: string, run: () => void): Promise<FibMeasurement> => ({
    name,
    value: (latencyOf(await timeOf(name, 60, run)).p50 * 1e6) / LOOKUPS,
    unit: 'ns',
  });
  const liveness = await timeOf('liveness', 40, () => {
    sink[0]! ^= 1;
    fib.setPeer(0xac10_0000, { alive: (sink[0]! & 1) === 1 });
  });
  return [
    await row('pick a peer of six', () => {
      for (let i = 0; i < LOOKUPS; i++) sink[0]! ^= pickPeer(words, group, addresses[i]!);
    }),
    await row('find a known peer by address', () => {
      for (let i = 0; i < LOOKUPS; i++) sink[0]! ^= findPeer(words, known[i]!);
    }),
    await row('find a stranger by address', () => {
      for (let i = 0; i < LOOKUPS; i++) sink[0]! ^= findPeer(words, addresses[i]!);
    }),
    await row('enter and leave an epoch, once a batch', () => {
      for (let i = 0; i < LOOKUPS; i++) {
        enterEpoch(words, 0);
        leaveEpoch(words, 0);
      }
    }),
    { name: 'a gateway of 250 groups dies or returns', value: latencyOf(liveness).p50, unit: 'ms' },
  ];
}

/** All of it, in the order of DESIGN §5. Takes about half a minute. */
export async function fibBench(): Promise<FibMeasurement[]> {
  return [
    ...(await measureSet(
      '1,000 random /24',
      randomEntries(1000, () => 24),
    )),
    ...(await measureSet(
      '100,000 random /24',
      randomEntries(100_000, () => 24),
    )),
    ...(await measureSet('100,000 of length 8 to 32', randomEntries(100_000, mixedLength))),
    ...(await measureSet(
      '100,000 random /32',
      randomEntries(100_000, () => 32),
    )),
    ...(await measureMillion(
      '1,000,000 random /24',
      randomEntries(1_000_000, () => 24),
    )),
    ...(await measureMillion('1,000,000 /26 in 400 pools', pooledBlocks(1_000_000, 400))),
    ...(await measurePeers()),
  ];
}
