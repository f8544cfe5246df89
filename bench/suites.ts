import { readdirSync } from 'node:fs';
import type { Bench } from 'tinybench';
import type { MicroFigure } from './results.ts';
import { say } from './sandboxed.ts';

/**
 * The micro benchmarks are the files `NAME.bench.ts` of this folder. Each exports functions whose name ends in `Bench`. They resolve
 * with a tinybench Bench that has run, or, for what no repeated task can measure, with figures. A file may export `PACKETS_PER_TASK`:
 * how many packets one task handles, 1 without it.
 */
type Measured = Bench | readonly Omit<MicroFigure, 'suite'>[];

interface Suite {
  readonly PACKETS_PER_TASK?: number;
  readonly [name: string]: unknown;
}

const ENDING = '.bench.js';

/** In the order in which they run. */
export function suiteNames(): string[] {
  const files = readdirSync(new URL('.', import.meta.url)).filter((file) => file.endsWith(ENDING));
  return files.map((file) => file.slice(0, -ENDING.length)).toSorted();
}

/** Runs the suites whose name is in `only`, all when that is empty. */
export async function runSuites(only: readonly string[]): Promise<MicroFigure[]> {
  const figures: MicroFigure[] = [];
  for (const name of suiteNames()) {
    if (only.length > 0 && !only.includes(name)) continue;
    const suite = (await import(new URL(`${name}${ENDING}`, import.meta.url).href)) as Suite;
    for (const [key, value] of Object.entries(suite)) {
      if (!key.endsWith('Bench') || typeof value !== 'function') continue;
      const measured = (await value()) as Measured;
      if ('tasks' in measured) figures.push(...tasksOf(name, suite, measured));
      else figures.push(...measured.map((figure) => ({ suite: name, ...figure })));
    }
    say(`${name}: done`);
  }
  return figures;
}

function tasksOf(suite: string, { PACKETS_PER_TASK = 1 }: Suite, bench: Bench): MicroFigure[] {
  return bench.tasks.map((task): MicroFigure => {
    const { result } = task;
    // A task that throws is a broken bench, not a slow one.
    if (result.state !== 'completed') {
      const why = 'error' in result ? `: ${result.error.message}` : '';
      throw new Error(`${suite}, ${task.name}: ${result.state}${why}`);
    }
    return {
      suite,
      name: task.name,
      unit: 'ns',
      // The median: on a machine with other work the mean is of the interruptions.
      value: (result.latency.p50 * 1e6) / PACKETS_PER_TASK,
      marginPercent: result.latency.rme,
    };
  });
}
