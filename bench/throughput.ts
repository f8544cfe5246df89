import { parseArgs } from 'node:util';
import { publish } from './publish.ts';
import { reportOf } from './report.ts';
import { type CollectionsSection, describeRun, type Results, type ThroughputSection } from './results.ts';
import { inSandbox } from './sandboxed.ts';

/**
 * `npm run bench:throughput [-- --write --rounds 5 --only Isthmus,VXLAN --seed 1]`: TCP throughput, packets a second and round-trip
 * time through both gateways beside plain forwarding and kernel VXLAN, then the garbage collections that traffic causes. About six
 * minutes with five rounds. Needs iproute2 and ethtool; iperf3 where it is installed. `--quick` is for trying it out.
 */
const INSIDE = new URL('./inside.js', import.meta.url);

const { values } = parseArgs({
  options: {
    write: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    only: { type: 'string', default: '' },
    sections: { type: 'string', default: 'throughput,collections' },
  },
});
const sections = values.sections.split(',');
const run = describeRun(
  ['npm run bench:throughput', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(
    ' ',
  ),
);
const results: Results = {};
if (sections.includes('throughput')) {
  const options = {
    rounds: values.quick ? 1 : Number(values.rounds),
    seed: Number(values.seed),
    tcpSeconds: values.quick ? 1 : 2,
    only: values.only === '' ? [] : values.only.split(','),
  };
  const measured = await inSandbox<Omit<ThroughputSection, 'run'>>(INSIDE, [
    'throughput',
    JSON.stringify(options),
  ]);
  results.throughput = { run, ...measured };
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
