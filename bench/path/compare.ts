import { messageOf } from '../../src/base/errors.ts';
import { Prng } from '../../src/base/prng.ts';
import { workerCount } from '../../src/dataplane/worker-count.ts';
import { median, percentile, shuffled } from '../../src/measure/statistics.ts';
import type { PathFigures, ThroughputSection } from '../results.ts';
import { say } from '../sandboxed.ts';
import { flood, lossFree } from './packets.ts';
import {
  openPath,
  type Path,
  type PathName,
  setOffloads,
  VARIANTS,
  type Variant,
  variantLacks,
} from './paths.ts';
import { openTcp, TCP_PROGRAM, tcp } from './tcp.ts';

export interface CompareOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly tcpSeconds: number;
  /** Only variants whose name has one of these in it; all when empty. */
  readonly only: readonly string[];
}

const PINGS = 400;
const PING_INTERVAL_MS = 2;
const PING_BYTES = 84;

type Cells = {
  -readonly [K in keyof PathFigures]: PathFigures[K] extends readonly (infer V)[] ? V[] : PathFigures[K];
};

/** Every variant once in each round, in a new order each time: what disturbs the machine for a while disturbs all of them. */
export async function compare(options: CompareOptions): Promise<Omit<ThroughputSection, 'run'>> {
  const { chosen, left } = choose(options.only);
  const prng = new Prng(options.seed);
  const paths = new Map<PathName, Path>();
  const cells = new Map(chosen.map((variant) => [variant.name, emptyCells(variant)]));
  try {
    const unopened = new Map<PathName, string>();
    for (const { path } of chosen) {
      if (paths.has(path) || unopened.has(path)) continue;
      // A kernel without VXLAN, say, must not cost the other paths' figures.
      await open(path).then(
        (opened) => paths.set(path, opened),
        (error: unknown) => unopened.set(path, messageOf(error).replaceAll(/\s+/g, ' ')),
      );
    }
    const ready = chosen.filter(({ path }) => paths.has(path));
    for (const { name, path } of chosen) {
      if (paths.has(path)) continue;
      cells.delete(name);
      left.push(`${name}: ${unopened.get(path)}`);
    }
    if (ready.length === 0) throw new Error(`no path could be opened: ${left.join('; ')}`);
    for (let round = 1; round <= options.rounds; round++) {
      for (const variant of shuffled(ready, (bound) => prng.below(bound))) {
        const cell = cells.get(variant.name)!;
        try {
          await measure(paths.get(variant.path)!, variant, options, cell);
          say(`round ${round}/${options.rounds}  ${progress(cell)}`);
        } catch (error) {
          cell.failures.push(`round ${round}: ${messageOf(error)}`);
          say(`round ${round}/${options.rounds}  ${variant.name}: ${messageOf(error)}`);
        }
      }
    }
  } finally {
    for (const path of paths.values()) await path.scene.topology.close();
  }
  const { rounds, seed } = options;
  return {
    rounds,
    seed,
    tcpProgram: TCP_PROGRAM,
    workers: workerCount('auto'),
    paths: [...cells.values()],
    left,
  };
}

function choose(only: readonly string[]): { chosen: Variant[]; left: string[] } {
  const chosen: Variant[] = [];
  const left: string[] = [];
  for (const variant of VARIANTS) {
    if (only.length > 0 && !only.some((word) => variant.name.includes(word))) continue;
    const reason = variantLacks(variant);
    if (reason === undefined) chosen.push(variant);
    else left.push(`${variant.name}: ${reason}`);
  }
  return { chosen, left };
}

/** With a moment of every kind of traffic, so that no first round meets code that was never run. */
async function open(name: PathName): Promise<Path> {
  const path = await openPath(name);
  try {
    await openTcp(path);
    await tcp(path, 1, 1);
    await flood(path, 500);
    return path;
  } catch (error) {
    await path.scene.topology.close();
    throw error;
  }
}

async function measure(path: Path, variant: Variant, options: CompareOptions, cell: Cells): Promise<void> {
  await setOffloads(path, variant.offloads);
  const destination = path.scene.b.pods[0]!.address;
  const trips = await path.sender.call('roundTrips', {
    ...{ destination, count: PINGS, intervalMs: PING_INTERVAL_MS, sizeBytes: PING_BYTES, timeoutMs: 200 },
  });
  if (trips.microseconds.length === 0) throw new Error('no echo request was answered');
  cell.roundTripMedian.push(median(trips.microseconds));
  cell.roundTrip99.push(percentile(trips.microseconds, 0.99));
  cell.tcpSingle.push(await tcp(path, 1, options.tcpSeconds));
  cell.tcpFour.push(await tcp(path, 4, options.tcpSeconds));
  const arrived = await flood(path);
  cell.flood.push(arrived);
  const guess = cell.lossFree.at(-1) || arrived * 0.8;
  cell.lossFree.push(await lossFree(path, guess * 1000));
}

function emptyCells({ name, reference }: Variant): Cells {
  return {
    ...{ name, reference, tcpSingle: [], tcpFour: [], flood: [], lossFree: [] },
    ...{ roundTripMedian: [], roundTrip99: [], failures: [] },
  };
}

function progress(cell: Cells): string {
  const last = (values: readonly number[], digits: number): string =>
    (values.at(-1) ?? Number.NaN).toFixed(digits);
  return [
    cell.name.padEnd(38),
    `tcp ${last(cell.tcpSingle, 2)} / ${last(cell.tcpFour, 2)} Gbit/s`,
    `flood ${last(cell.flood, 0)}, loss-free ${last(cell.lossFree, 0)} kpps`,
    `rtt ${last(cell.roundTripMedian, 0)} / ${last(cell.roundTrip99, 0)} us`,
  ].join('  ');
}
