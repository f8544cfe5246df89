import { GatewayError, messageOf } from '../base/errors.ts';
import { Prng } from '../base/prng.ts';
import type { Ends } from './ends.ts';
import type { PathResult, Progress } from './model.ts';
import { type Measurable, type Variant, variantLacks } from './paths.ts';
import type { MeasureOptions, Plan } from './plan.ts';
import { shuffled } from './statistics.ts';
import { type Cell, emptyCell, type Step, stepsOf } from './steps.ts';

export interface Measured {
  readonly paths: readonly PathResult[];
  readonly left: readonly string[];
}

/** A path that packets already go through. */
export interface ReadyPath {
  readonly ends: Ends;
  setOffloads(on: boolean): Promise<void>;
  close(): Promise<void>;
}

interface Runner {
  readonly variant: Variant<Measurable>;
  readonly ready: ReadyPath;
  readonly cell: Cell;
  readonly steps: readonly Step[];
}

/** A gateway that ends hands over its whole log: the reason stands at its beginning. */
const REASON_CHARACTERS_MAX = 400;
/** Measurements that may fail one after the other before the rest of a path's round is given up: a dead path costs seconds each. */
const FAILURES_IN_A_ROW = 2;

/**
 * Every variant once in each round, in a new order each time: what disturbs the machine for a while disturbs all of them. Ends early,
 * with what it has, when `signal` aborts.
 */
export async function measureRounds<S extends Measurable>(
  all: readonly Variant<S>[],
  options: MeasureOptions,
  plan: Plan,
  progress: Progress,
  signal: AbortSignal,
  open: (spec: S) => Promise<ReadyPath>,
): Promise<Measured> {
  const left: string[] = [];
  const variants = chosen(all, options.only, left);
  const opened = new Map<S, ReadyPath>();
  try {
    await openAll(variants, open, progress, signal, opened, left);
    const runners = runnersOf(variants, opened, plan);
    if (runners.length === 0 && !signal.aborted) throw nothingOpened(options, left);
    await runRounds(runners, options, progress, signal);
    if (signal.aborted) left.push('the rest: the run was stopped');
    return { paths: runners.map(({ cell }) => cell), left };
  } finally {
    for (const path of opened.values()) await path.close();
  }
}

function nothingOpened(options: MeasureOptions, left: readonly string[]): GatewayError {
  return left.length === 0
    ? new GatewayError('ISTHMUS_ERR_USAGE', `no path has a name like ${options.only.join(' or ')}`)
    : new GatewayError('ISTHMUS_ERR_BENCH', `no path could be opened: ${left.join('; ')}`);
}

/** Names are matched as a whole where one is the same, else in part: `Isthmus` is one path, `vxlan` is `kernel VXLAN`. */
function chosen<S extends Measurable>(
  variants: readonly Variant<S>[],
  only: readonly string[],
  left: string[],
): Variant<S>[] {
  const words = only.map((word) => word.toLowerCase());
  const names = new Set(variants.map(({ spec }) => spec.name.toLowerCase()));
  const wanted = ({ spec }: Variant<S>): boolean => {
    const name = spec.name.toLowerCase();
    return (
      words.length === 0 || words.some((word) => (names.has(word) ? name === word : name.includes(word)))
    );
  };
  return variants.filter(wanted).filter((variant) => {
    const reason = variantLacks(variant);
    if (reason !== undefined) left.push(`${variant.name}: ${reason}`);
    return reason === undefined;
  });
}

async function openAll<S extends Measurable>(
  variants: readonly Variant<S>[],
  open: (spec: S) => Promise<ReadyPath>,
  progress: Progress,
  signal: AbortSignal,
  opened: Map<S, ReadyPath>,
  left: string[],
): Promise<void> {
  for (const spec of new Set(variants.map((variant) => variant.spec))) {
    if (signal.aborted) return;
    progress({ round: 0, rounds: 0, path: spec.name, what: 'opening', done: 0, total: 0, text: '' });
    // A kernel without VXLAN, say, must not cost the other paths' figures.
    await open(spec).then(
      (ready) => opened.set(spec, ready),
      (error: unknown) => left.push(`${spec.name}: ${oneLine(error)}`),
    );
  }
}

/** With a moment of every kind of traffic, so that no first round meets code that was never run. */
export async function warmUp(ends: Ends, plan: Plan): Promise<void> {
  await ends.roundTrips(1, 1);
  await ends.tcpOfSize(1000, plan.warmUpSeconds);
  await ends.datagrams('64', null, plan.floodMs);
}

function runnersOf<S extends Measurable>(
  variants: readonly Variant<S>[],
  opened: ReadonlyMap<S, ReadyPath>,
  plan: Plan,
): Runner[] {
  const names = new Set(variants.filter(({ spec }) => opened.has(spec)).map(({ name }) => name));
  return variants.flatMap((variant) => {
    const ready = opened.get(variant.spec);
    if (ready === undefined) return [];
    const { reference } = variant;
    const cell = emptyCell(variant.name, variant.spec.kind, names.has(reference) ? reference : null);
    // Offloads change nothing for datagrams, which nobody merges: one size shows that, the wire variant has them all.
    const isBoth = variant.offloads && names.has(`${variant.name}, W`);
    const sizes = isBoth ? plan.sizes.slice(0, 1) : plan.sizes;
    return [{ variant, ready, cell, steps: stepsOf(cell, plan, sizes, isBoth ? [] : plan.sizes) }];
  });
}

async function runRounds(
  runners: readonly Runner[],
  options: MeasureOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const prng = new Prng(options.seed);
  const inRound = runners.reduce((sum, { steps }) => sum + steps.length, 0);
  const total = inRound * options.rounds;
  let done = 0;
  for (let round = 1; round <= options.rounds; round++) {
    for (const runner of shuffled(runners, (bound) => prng.below(bound))) {
      if (signal.aborted) return;
      const where = { round, rounds: options.rounds, path: runner.variant.name, total };
      await runSteps(runner, `round ${round}`, signal, (what, ended, text) =>
        progress({ ...where, what, done: done + ended, text }),
      );
      done += runner.steps.length;
    }
  }
}

async function runSteps(
  { variant, ready, cell, steps }: Runner,
  round: string,
  signal: AbortSignal,
  tell: (what: string, ended: number, text: string) => void,
): Promise<void> {
  const fail = (what: string, error: unknown): void => {
    cell.failures.push(`${round}: ${what}: ${oneLine(error)}`);
  };
  try {
    await ready.setOffloads(variant.offloads);
  } catch (error) {
    return fail('offloads', error);
  }
  let failed = 0;
  for (const [index, { what, run }] of steps.entries()) {
    if (signal.aborted) return;
    if (failed >= FAILURES_IN_A_ROW) return fail('the rest', `left out after ${failed} failures in a row`);
    tell(what, index, '');
    const notes = cell.failures.length;
    try {
      const text = await run(ready.ends);
      failed = 0;
      tell(what, index + 1, text);
    } catch (error) {
      failed++;
      fail(what, error);
      tell(what, index + 1, `failed: ${oneLine(error)}`);
    }
    // What a step noted by itself does not know its round.
    for (let note = notes; note < cell.failures.length; note++) {
      if (!cell.failures[note]!.startsWith('round '))
        cell.failures[note] = `${round}: ${cell.failures[note]}`;
    }
  }
}

function oneLine(error: unknown): string {
  const line = messageOf(error).replaceAll(/\s+/g, ' ').trim();
  return line.length <= REASON_CHARACTERS_MAX ? line : `${line.slice(0, REASON_CHARACTERS_MAX)}…`;
}
