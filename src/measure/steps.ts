import type { DatagramTrial, Ends } from './ends.ts';
import { mssOf } from './load/sizes.ts';
import type { PathKind, PathResult, SizeSeries } from './model.ts';
import type { Plan } from './plan.ts';
import { searchLossFree } from './search.ts';
import { percentile } from './statistics.ts';

type Mutable<T> = {
  -readonly [K in keyof T]: T[K] extends readonly number[]
    ? number[]
    : T[K] extends readonly string[]
      ? string[]
      : T[K] extends readonly SizeSeries[]
        ? { readonly size: string; readonly values: number[] }[]
        : T[K] extends PathResult['roundTrip']
          ? Mutable<T[K]>
          : T[K];
};

/** The figures of one path as they come in. */
export type Cell = Mutable<PathResult>;

/** One measurement: done once a round for each path. */
export interface Step {
  readonly what: string;
  /** Puts its figure into the cell and returns it as text. */
  run(ends: Ends): Promise<string>;
}

/** A rate to begin the search with where no flood has told one. */
const FIRST_GUESS = 50_000;
/** Of what a flood delivers: overload costs some of it. */
const GUESS_SHARE = 0.8;
/** A path that overtakes more than this breaks up flows, which a figure should not hide. */
const REORDERED_MAX = 0.01;

export function emptyCell(name: string, kind: PathKind, reference: string | null): Cell {
  return {
    ...{ name, kind, reference, tcpSingle: [], tcpMany: [], tcpBySize: [], lossFree: [], flood: [] },
    roundTrip: { p50: [], p90: [], p99: [], p999: [] },
    ...{ cpuPerGbit: [], failures: [] },
  };
}

/** The measurements of one path in their order; `sizes` are those of packets, `tcpSizes` those that TCP is also measured with. */
export function stepsOf(
  cell: Cell,
  plan: Plan,
  sizes: readonly string[],
  tcpSizes: readonly string[],
): Step[] {
  return [
    roundTripStep(cell, plan),
    { what: 'TCP', run: (ends) => tcpSingle(cell, plan, ends) },
    { what: `TCP, ${plan.streams} connections`, run: (ends) => tcpMany(cell, plan, ends) },
    ...sizes.flatMap((size) => [floodStep(cell, plan, size), lossFreeStep(cell, plan, size)]),
    ...tcpSizes.flatMap((size) => tcpSizeStep(cell, plan, size)),
  ];
}

function roundTripStep({ roundTrip }: Cell, plan: Plan): Step {
  const run = async (ends: Ends): Promise<string> => {
    const microseconds = await ends.roundTrips(plan.probes, plan.probeIntervalMs);
    const [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map((share) => percentile(microseconds, share));
    roundTrip.p50.push(p50!);
    roundTrip.p90.push(p90!);
    roundTrip.p99.push(p99!);
    roundTrip.p999.push(p999!);
    return `${p50!.toFixed(0)} / ${p99!.toFixed(0)} µs`;
  };
  return { what: 'round trips', run };
}

async function tcpSingle(cell: Cell, plan: Plan, ends: Ends): Promise<string> {
  const { gigabitsPerSecond, cpuSecondsPerGigabit } = await ends.tcp(1, plan.tcpSeconds);
  cell.tcpSingle.push(gigabitsPerSecond);
  if (cpuSecondsPerGigabit !== null) cell.cpuPerGbit.push(cpuSecondsPerGigabit);
  return gigabits(gigabitsPerSecond);
}

async function tcpMany(cell: Cell, plan: Plan, ends: Ends): Promise<string> {
  const { gigabitsPerSecond } = await ends.tcp(plan.streams, plan.tcpSeconds);
  cell.tcpMany.push(gigabitsPerSecond);
  return gigabits(gigabitsPerSecond);
}

function tcpSizeStep({ tcpBySize }: Cell, plan: Plan, size: string): Step[] {
  const mss = mssOf(size);
  if (mss === undefined) return [];
  const run = async (ends: Ends): Promise<string> => {
    const figure = await ends.tcpOfSize(mss, plan.sizeSeconds);
    valuesOf(tcpBySize, size).push(figure);
    return gigabits(figure);
  };
  return [{ what: `TCP ${size}`, run }];
}

function floodStep(cell: Cell, plan: Plan, size: string): Step {
  const run = async (ends: Ends): Promise<string> => {
    const flood = (): Promise<DatagramTrial> => ends.datagrams(size, null, plan.floodMs);
    let trial = await flood();
    // An end that a busy machine lets begin later than the flood is over sends or sees nothing; a path that carries nothing does so twice.
    if (trial.arrived === 0) trial = await flood();
    if (trial.arrived === 0) throw new Error(`none of ${trial.sent} packets arrived`);
    valuesOf(cell.flood, size).push(trial.deliveredPerSecond);
    if (trial.duplicates > 0) cell.failures.push(`flood ${size}: ${trial.duplicates} duplicates`);
    if (trial.reordered > trial.arrived * REORDERED_MAX) {
      cell.failures.push(`flood ${size}: ${trial.reordered} of ${trial.arrived} packets were overtaken`);
    }
    return thousands(trial.deliveredPerSecond);
  };
  return { what: `flood ${size}`, run };
}

function lossFreeStep(cell: Cell, plan: Plan, size: string): Step {
  const run = async (ends: Ends): Promise<string> => {
    const before = valuesOf(cell.lossFree, size).at(-1) ?? 0;
    const flooded = valuesOf(cell.flood, size).at(-1) ?? 0;
    const guess = before || flooded * GUESS_SHARE || FIRST_GUESS;
    const found = await searchLossFree(guess, plan.trialsMax, (rate) =>
      ends.datagrams(size, rate, plan.trialMs),
    );
    if (found === 0) throw new Error(`every rate lost packets, from ${thousands(guess)} down`);
    valuesOf(cell.lossFree, size).push(found);
    return thousands(found);
  };
  return { what: `loss-free ${size}`, run };
}

function valuesOf(series: { readonly size: string; readonly values: number[] }[], size: string): number[] {
  let found = series.find((other) => other.size === size);
  if (found === undefined) {
    found = { size, values: [] };
    series.push(found);
  }
  return found.values;
}

function gigabits(value: number): string {
  return `${value.toFixed(2)} Gbit/s`;
}

function thousands(value: number): string {
  return `${(value / 1000).toFixed(1)} kpps`;
}
