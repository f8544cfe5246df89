import { parseArgs } from 'node:util';
import { Simulation, SimulationFailure, type SimulationStats } from './simulation.ts';

/**
 * `npm run sim -- --seed N --steps N` plays one seed; `npm run sim -- --seeds N --steps N [--seed FIRST]` plays many. Exits 1 with the
 * seed, the step and the command that plays it again when a rule is broken.
 */
const { values } = parseArgs({
  options: { seed: { type: 'string' }, seeds: { type: 'string' }, steps: { type: 'string' } },
});

function numberOf(text: string | undefined, name: string, otherwise: number): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0) return value;
  throw new Error(`--${name} is a whole number, not "${text}"`);
}

function describe({ packets, forwarded, publications, refusedPublications, icmp }: SimulationStats): string {
  return `${packets} packets, ${forwarded} forwarded, ${publications} publications, ${refusedPublications} refused, ${icmp} ICMP`;
}

function main(): number {
  const first = numberOf(values.seed, 'seed', 1);
  const seeds = numberOf(values.seeds, 'seeds', 1);
  const steps = numberOf(values.steps, 'steps', 2000);
  const startMs = performance.now();
  let packets = 0;
  for (let seed = first; seed < first + seeds; seed++) {
    const simulation = new Simulation({ seed });
    try {
      simulation.run(steps);
    } catch (error) {
      if (!(error instanceof SimulationFailure)) throw error;
      process.stdout.write(`${error.message}\n`);
      return 1;
    }
    packets += simulation.stats.packets;
    process.stdout.write(`seed ${seed}: ${describe(simulation.stats)}\n`);
  }
  const seconds = (performance.now() - startMs) / 1000;
  const rate = Math.round(packets / seconds);
  process.stdout.write(
    `${seeds} seeds of ${steps} steps: every rule held; ${packets} packets, ${rate} a second\n`,
  );
  return 0;
}

process.exitCode = main();
