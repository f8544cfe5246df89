import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { prefixMask } from '../../../src/base/address.ts';
import { Prng } from '../../../src/base/prng.ts';
import type { FibEntry } from '../../../src/fib/entry.ts';
import type { Fib } from '../../../src/fib/fib.ts';
import { checkBlocks } from './image-walk.ts';
import { SEED, smallFib } from './linear-scan.ts';
import type { ReaderReport, ReaderTask } from './reader-thread.ts';

const GATEWAY_BASE = 0xac1f_0000;
const READERS = 2;
const PATCHES = 20_000;

function route(address: number, prefixLength: number, ...gateways: number[]): FibEntry {
  const cidr = { address: (address & prefixMask(prefixLength)) >>> 0, prefixLength };
  return {
    cidr,
    cluster: 'west',
    gateways: gateways.map((gateway) => ({ address: GATEWAY_BASE + gateway, weight: 1 })),
  };
}

/** Addresses with the gateways they may be sent to, as bits. */
class Watched {
  readonly addresses: number[] = [];
  readonly allowed: number[] = [];

  add(address: number, ...gateways: number[]): void {
    this.addresses.push(address >>> 0);
    this.allowed.push(gateways.reduce((bits, gateway) => bits | (1 << gateway), 0) >>> 0);
  }
}

/** Two ways to cover the same addresses with the same gateway: by one prefix, or by its halves and quarters. */
interface Pair {
  readonly whole: FibEntry;
  readonly parts: readonly FibEntry[];
  isWhole: boolean;
}

function coverings(watched: Watched): Pair[] {
  return [9, 14, 16, 20, 23, 24, 28, 30].map((length, i) => {
    const start = (0x6000_0000 + i * 0x0100_0000) >>> 0;
    const size = 2 ** (32 - length);
    const parts = [
      route(start, length + 1, i),
      route(start + size / 2, length + 2, i),
      route(start + (size / 4) * 3, length + 2, i),
    ];
    for (const offset of [0, size / 2 - 1, size / 2, size - 1]) watched.add(start + offset, i);
    return { whole: route(start, length, i), parts, isWhole: true };
  });
}

/** Prefixes that stay for the whole test, of all lengths behind /16, alone and in groups of four whose gateways come and go. */
function stable(prng: Prng, watched: Watched): FibEntry[] {
  const entries: FibEntry[] = [];
  for (let i = 0; i < 300; i++) {
    const length = 17 + (i % 16);
    const start = (0x0a00_0000 + i * 0x0001_0000 + (prng.below(0x10000) & prefixMask(length))) >>> 0;
    const gateways = i % 3 === 0 ? [16, 17, 18, 19] : [8 + (i % 8)];
    entries.push(route(start, length, ...gateways));
    watched.add(start, ...gateways);
    watched.add(start + 2 ** (32 - length) - 1, ...gateways);
  }
  return entries;
}

/** A prefix that no watched address may come to use: shorter than the stable ones around it, or longer and beside the watched addresses. */
function bystander(prng: Prng, stableEntries: readonly FibEntry[]): FibEntry {
  const { cidr } = prng.pick(stableEntries);
  const [address, prefixLength] = [Number(cidr.address), cidr.prefixLength];
  const gateway = 20 + prng.below(12);
  if (prng.chance(0.5)) return route(address, 8 + prng.below(prefixLength - 8), gateway);
  const size = 2 ** (32 - prefixLength);
  if (size > 4)
    return route(address + 2 * (1 + prng.below(size / 2 - 2)), prng.chance(0.5) ? 31 : 32, gateway);
  return route(address ^ 0x8000, 25 + prng.below(8), gateway);
}

/** One change of the kind that must not be noticed. */
function churn(
  fib: Fib,
  prng: Prng,
  entries: readonly FibEntry[],
  pairs: readonly Pair[],
  present: FibEntry[],
): void {
  const dice = prng.below(10);
  if (dice < 3) {
    const pair = prng.pick(pairs);
    const cidrs = pair.parts.map((part) => part.cidr);
    if (pair.isWhole) fib.apply(pair.parts, [pair.whole.cidr]);
    else fib.apply([pair.whole], cidrs);
    pair.isWhole = !pair.isWhole;
  } else if (dice < 5) {
    // Gateway 19 stays alive, so that there is always one.
    fib.setPeer(GATEWAY_BASE + 16 + prng.below(3), {
      alive: prng.chance(0.5),
      pathMtuBytes: prng.below(1500),
    });
  } else if (present.length > 400 || (present.length > 0 && prng.chance(0.4))) {
    fib.apply([], [present.splice(prng.below(present.length), 1)[0]!.cidr]);
  } else {
    const added = Array.from({ length: 1 + prng.below(4) }, () => bystander(prng, entries));
    fib.apply(added, []);
    present.push(...added);
  }
}

test('readers in other threads never miss and never go astray while 20,000 patches churn around their prefixes', async () => {
  const prng = new Prng(SEED);
  const watched = new Watched();
  const entries = stable(prng, watched);
  const pairs = coverings(watched);
  const fib = smallFib();
  fib.replace([...entries, ...pairs.map((pair) => pair.whole)]);

  const control = new SharedArrayBuffer(8);
  const flags = new Int32Array(control);
  const workers = Array.from({ length: READERS }, (_, reader) => {
    const task: ReaderTask = {
      reader,
      image: fib.buffer,
      control,
      addresses: Uint32Array.from(watched.addresses),
      allowed: Uint32Array.from(watched.allowed),
      gatewayBase: GATEWAY_BASE,
    };
    return new Worker(new URL('./reader-thread.js', import.meta.url), { workerData: task });
  });
  const reports = workers.map(async (worker) => (await once(worker, 'message'))[0] as ReaderReport);
  try {
    const deadlineMs = performance.now() + 10_000;
    while (Atomics.load(flags, 1) < READERS && performance.now() < deadlineMs)
      await new Promise(setImmediate);
    assert.equal(Atomics.load(flags, 1), READERS, 'both readers have begun');

    const present: FibEntry[] = [];
    for (let i = 0; i < PATCHES; i++) churn(fib, prng, entries, pairs, present);
    Atomics.store(flags, 0, 1);
    for (const report of await Promise.all(reports)) {
      assert.deepEqual(report.wrong, []);
      assert.ok(report.lookups > 0);
    }
  } finally {
    Atomics.store(flags, 0, 1);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  fib.reclaim();
  assert.equal(fib.stats().retired, 0);
  checkBlocks(fib);
});
