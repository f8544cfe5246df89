import { parseArgs } from 'node:util';
import { messageOf } from '../src/base/errors.ts';
import { publish } from './publish.ts';
import { reportOf } from './report.ts';
import {
  type ControlSection,
  describeRun,
  type FleetSection,
  type KubernetesSection,
  type MemorySection,
  type RestartSection,
  type Results,
} from './results.ts';
import { inSandbox, say } from './sandboxed.ts';
import { runSuites } from './suites.ts';

/**
 * `npm run bench [-- --write] [NAME …]`: the micro benchmarks, memory and start-up, and the control plane's speed. A NAME is `memory`,
 * `control`, `restart`, `fleet`, `kubernetes` or a suite (`packet`, `fib`, …); `--write` puts the results into bench/RESULTS.md; of the suites only when all
 * were run.
 */
const INSIDE = new URL('./inside.js', import.meta.url);
/** A worst case of fewer says little. */
const RESTARTS_MIN = 5;
const FLEET_ROUNDS_MIN = 20;
/** Of a change of a node; half of them back to where it was. */
const NODE_CHANGES_MIN = 42;
const JOINS_MIN = 5;
const ROUTES = [0, 10_000, 100_000];

const { values, positionals } = parseArgs({
  options: {
    write: { type: 'boolean', default: false },
    repeats: { type: 'string', default: '5' },
    edits: { type: 'string', default: '100' },
    objects: { type: 'string', default: '10000' },
  },
  allowPositionals: true,
});
const repeats = Number(values.repeats);
const wants = (name: string): boolean => positionals.length === 0 || positionals.includes(name);
const run = describeRun(
  ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' '),
);

const results: Results = {};
const suites = positionals.filter(
  (name) => !['memory', 'control', 'restart', 'fleet', 'kubernetes'].includes(name),
);
if (positionals.length === 0 || suites.length > 0) {
  results.micro = { run, figures: await runSuites(suites) };
}
try {
  if (wants('memory')) {
    const options = JSON.stringify({ routes: ROUTES, repeats });
    results.memory = { run, ...(await inSandbox<Omit<MemorySection, 'run'>>(INSIDE, ['memory', options])) };
  }
  if (wants('control')) {
    const options = JSON.stringify({ repeats, edits: Number(values.edits) });
    results.control = {
      run,
      ...(await inSandbox<Omit<ControlSection, 'run'>>(INSIDE, ['control', options])),
    };
  }
  if (wants('restart')) {
    const options = JSON.stringify({ repeats: Math.max(repeats, RESTARTS_MIN) });
    results.restart = {
      run,
      ...(await inSandbox<Omit<RestartSection, 'run'>>(INSIDE, ['restart', options])),
    };
  }
  if (wants('fleet')) {
    const options = JSON.stringify({ members: 50, rounds: Math.max(repeats, FLEET_ROUNDS_MIN) });
    results.fleet = { run, ...(await inSandbox<Omit<FleetSection, 'run'>>(INSIDE, ['fleet', options])) };
  }
  if (wants('kubernetes')) {
    const options = JSON.stringify({
      ...{ objects: Number(values.objects), repeats },
      ...{ changes: Math.max(repeats, NODE_CHANGES_MIN), joins: Math.max(repeats, JOINS_MIN) },
    });
    results.kubernetes = {
      run,
      ...(await inSandbox<Omit<KubernetesSection, 'run'>>(INSIDE, ['kubernetes', options])),
    };
  }
} catch (error) {
  say(`not measured: ${messageOf(error)}`);
  process.exitCode = 1;
}
process.stdout.write(`${reportOf(results)}\n`);
// One section is of one run: a few suites must not take the place of all.
if (suites.length > 0) delete results.micro;
if (values.write) publish(results);
