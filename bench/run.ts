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
import { runSuites, suiteNames } from './suites.ts';

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

const SECTIONS = ['memory', 'control', 'restart', 'fleet', 'kubernetes'];
const USAGE = `npm run bench -- [--write] [--repeats N] [--edits N] [--objects N] [NAME …]
NAME: ${[...SECTIONS, ...suiteNames()].join(', ')}; all without one`;

const { values, positionals, repeats, edits, objects } = readArguments();
const wants = (name: string): boolean => positionals.length === 0 || positionals.includes(name);
const run = describeRun(
  ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' '),
);

const results: Results = {};
const suites = positionals.filter((name) => !SECTIONS.includes(name));
if (positionals.length === 0 || suites.length > 0) {
  results.micro = { run, figures: await runSuites(suites) };
}
try {
  if (wants('memory')) {
    const options = JSON.stringify({ routes: ROUTES, repeats });
    results.memory = { run, ...(await inSandbox<Omit<MemorySection, 'run'>>(INSIDE, ['memory', options])) };
  }
  if (wants('control')) {
    const options = JSON.stringify({ repeats, edits });
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
      ...{ objects, repeats },
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

function readArguments() {
  try {
    const { values, positionals } = parseArgs({
      options: {
        write: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
        repeats: { type: 'string', default: '5' },
        edits: { type: 'string', default: '100' },
        objects: { type: 'string', default: '10000' },
      },
      allowPositionals: true,
    });
    if (values.help) {
      process.stdout.write(`${USAGE}\n`);
      process.exit(0);
    }
    const known = [...SECTIONS, ...suiteNames()];
    const unknown = positionals.find((name) => !known.includes(name));
    if (unknown !== undefined) throw new Error(`nothing here is called "${unknown}"`);
    const [repeats, edits, objects] = [values.repeats, values.edits, values.objects].map((text) => {
      if (!/^[1-9]\d{0,5}$/.test(text)) throw new Error(`"${text}" is not a number from 1 to 999999`);
      return Number(text);
    });
    return { values, positionals, repeats: repeats!, edits: edits!, objects: objects! };
  } catch (error) {
    process.stderr.write(`bench: ${messageOf(error)}\n${USAGE}\n`);
    process.exit(2);
  }
}
