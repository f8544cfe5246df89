import { parseArgs } from 'node:util';
import { messageOf } from '../src/base/errors.ts';
import { workerCount } from '../src/dataplane/worker-count.ts';
import { measurePaths } from '../src/measure/local.ts';
import { defaultSizes } from '../src/measure/plan.ts';
import { publish } from './publish.ts';
import { reportOf } from './report.ts';
import { type CollectionsSection, describeRun, type Results } from './results.ts';
import { inSandbox, say } from './sandboxed.ts';

/**
 * `npm run bench:throughput [-- --write --rounds 5 --only Isthmus,VXLAN --seed 1]`: what `isthmus bench local` measures, then the garbage
 * collections that traffic causes, for bench/RESULTS.md. About eleven minutes with five rounds, with `--peers` as long again. Needs
 * iproute2 and ethtool; iperf3 where it is installed. `--quick` is for trying it out.
 */
const INSIDE = new URL('./inside.js', import.meta.url);
const USAGE =
  'npm run bench:throughput -- [--write] [--quick] [--rounds N] [--seed N] [--only NAMES] [--peers] [--sections throughput,collections]';

const values = readArguments();
const sections = values.sections.split(',');
const run = describeRun(
  ['npm run bench:throughput', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(
    ' ',
  ),
);
const results: Results = {};
if (sections.includes('throughput')) {
  const options = {
    ...{ rounds: values.quick ? 1 : values.rounds, seed: values.seed, seconds: 2 },
    ...{ quick: values.quick, sizes: defaultSizes(values.quick), command: run.command },
    peers: values.peers,
    only: values.only === '' ? [] : values.only.split(','),
  };
  const result = await measurePaths(options, ({ round, rounds, path, what, text }) => {
    if (text !== '') say(`round ${round}/${rounds}  ${path}  ${what}: ${text}`);
  });
  results.throughput = { run, workers: workerCount('auto'), result };
}
if (sections.includes('collections')) {
  const options = { windowSeconds: values.quick ? 3 : 10 };
  const measured = await inSandbox<Omit<CollectionsSection, 'run'>>(INSIDE, [
    'collections',
    JSON.stringify(options),
  ]);
  results.collections = { run, ...measured };
}
process.stdout.write(`${reportOf(results)}\n`);
if (values.write) publish(results);

function readArguments() {
  try {
    const { values } = parseArgs({
      options: {
        write: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        rounds: { type: 'string', default: '5' },
        seed: { type: 'string', default: String(Date.now() % 1_000_000) },
        only: { type: 'string', default: '' },
        peers: { type: 'boolean', default: false },
        sections: { type: 'string', default: 'throughput,collections' },
      },
    });
    if (values.help) {
      process.stdout.write(`${USAGE}\n`);
      process.exit(0);
    }
    const [rounds, seed] = [values.rounds, values.seed].map((text) => {
      if (!/^\d{1,9}$/.test(text)) throw new Error(`"${text}" is not a number from 0 to 999999999`);
      return Number(text);
    });
    return { ...values, rounds: rounds!, seed: seed! };
  } catch (error) {
    process.stderr.write(`bench:throughput: ${messageOf(error)}\n${USAGE}\n`);
    process.exit(2);
  }
}
