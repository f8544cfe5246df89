import { number, spread } from '../src/measure/report/number.ts';
import { percentile, summary } from '../src/measure/statistics.ts';
import { runLine, table } from './markdown.ts';
import type {
  CollectionsSection,
  ControlSection,
  FleetSection,
  KubernetesSection,
  MemorySection,
  MicroFigure,
  MicroSection,
  RestartSection,
  Results,
} from './results.ts';
import { missedThroughput, throughputPart } from './throughput-report.ts';

const MEMORY_MIB_MAX: Readonly<Record<number, number>> = { 0: 120, 100000: 250 };
const READY_SECONDS_MAX: Readonly<Record<number, number>> = { 10000: 3 };
const KERNEL_ROUTES_MS_MAX = 1000;
const EDIT_MS_MAX = 200;
const RESTART_MS_MAX = 1000;
const FLEET_MS_MAX = 2000;
/** With 30,000 objects; smaller runs are for trying out. */
const KUBERNETES_SECONDS_MAX = 10;
const KUBERNETES_MIB_MAX = 350;
const NODE_CHANGE_MS_MAX = 1000;
const JOINED_MS_MAX = 5000;

/** The sections that were measured, as Markdown. */
export function reportOf(results: Results): string {
  const parts = [
    '# Results of the benchmarks',
    'Written by `npm run bench -- --write` and `npm run bench:throughput -- --write` from `results.json`; not edited by hand. Absolute numbers belong to the machine of the run; the ratios between rows of one table are what carries over. A value is a median, followed by the lowest and the highest of the series.',
    missed(results),
    results.throughput && throughputPart(results.throughput),
    results.collections && collectionsPart(results.collections),
    results.memory && memoryPart(results.memory),
    results.control && controlPart(results.control),
    results.restart && restartPart(results.restart),
    results.fleet && fleetPart(results.fleet),
    results.kubernetes && kubernetesPart(results.kubernetes),
    results.micro && microPart(results.micro),
  ];
  return parts.filter(Boolean).join('\n\n');
}

function collectionsPart(section: CollectionsSection): string {
  const rows = section.rows.map((row) => [
    `${row.path}, ${row.gateway}`,
    row.packets.toLocaleString('en'),
    `${row.idleMain} / ${row.trafficMain}`,
    `${row.idleWorkers} / ${row.trafficWorkers}`,
    row.deoptimised.length === 0 ? 'none' : row.deoptimised.map((name) => `\`${name}\``).join(', '),
  ]);
  return [
    '## Garbage collections caused by traffic',
    runLine(section.run),
    `Counted with \`--trace-gc\` over ${section.windowSeconds} s without traffic and ${section.windowSeconds} s with ${section.traffic}, after a warm-up. The main thread collects the control plane's garbage in either window; the workers hold the packet path. On the package raw-socket packets pass the main thread, and the package allocates a buffer for each.`,
    table(
      [
        'gateway',
        'packets',
        'main thread, idle / traffic',
        'workers, idle / traffic',
        'deoptimised (`--trace-deopt`)',
      ],
      rows,
    ),
  ].join('\n\n');
}

function memoryPart(section: MemorySection): string {
  return [
    '## Memory and start',
    runLine(section.run),
    "Resident set of the whole process at rest, and time from the start of the process until `/readyz` says ready, with the routes in one watched file and in the kernel's table. Each start is without earlier state.",
    table(
      ['routes', 'resident, MiB', 'target', 'peak, MiB', 'ready, s', 'target'],
      section.rows.map((row) => [
        row.routes.toLocaleString('en'),
        spread(summary(row.idleMiB)),
        limit(MEMORY_MIB_MAX[row.routes]),
        spread(summary(row.peakMiB)),
        spread(summary(row.readySeconds)),
        limit(READY_SECONDS_MAX[row.routes]),
      ]),
    ),
  ].join('\n\n');
}

function limit(target: number | undefined): string {
  return target === undefined ? '' : `≤ ${target.toLocaleString('en')}`;
}

function controlPart(section: ControlSection): string {
  const routes = section.kernelRoutes.toLocaleString('en');
  const row = (name: string, values: readonly number[], target: number): string[] => [
    name,
    spread(summary(values)),
    number(percentile(values, 0.99)),
    String(values.length),
    limit(target),
  ];
  return [
    '## Control plane',
    runLine(section.run),
    `File edits: from the rename of the watched file to the first echo request that took the new way, or the first that took none; probes every ${section.probeMs} ms.`,
    table(
      ['what', 'ms', '99 %', 'n', 'target'],
      [
        row(`${routes} kernel routes added by netlink`, section.addRoutesMs, KERNEL_ROUTES_MS_MAX),
        row(`${routes} kernel routes removed`, section.removeRoutesMs, KERNEL_ROUTES_MS_MAX),
        row('a route added in the watched file', section.addedMs, EDIT_MS_MAX),
        row('a route withdrawn in the watched file', section.withdrawnMs, EDIT_MS_MAX),
      ],
    ),
  ].join('\n\n');
}

function restartPart({ run, forwardsMs, probeMs }: RestartSection): string {
  return [
    '## Restart after SIGKILL',
    runLine(run),
    `From the start of the process to the first echo reply through it; device and routes are adopted; probes every ${probeMs} ms.`,
    table(
      ['what', 'ms, median', 'worst', 'n', 'target'],
      [
        [
          'forwards again',
          spread(summary(forwardsMs)),
          number(summary(forwardsMs).max),
          String(forwardsMs.length),
          limit(RESTART_MS_MAX),
        ],
      ],
    ),
  ].join('\n\n');
}

function fleetPart({ run, members, rounds, learnedMs, convergedMs, withdrawnMs }: FleetSection): string {
  const row = (name: string, values: readonly number[], target: string): string[] => [
    name,
    spread(summary(values)),
    number(percentile(values, 0.99)),
    String(values.length),
    target,
  ];
  return [
    '## A fleet over etcd',
    runLine(run),
    `${members} gateways without packet path, each a process and a cluster of its own, over one etcd, all on this machine. In each of ${rounds} rounds one of them announces another CIDR and gives it up again. From that moment until the table of another gateway has the route, or has it no more.`,
    table(
      ['what', 'ms', '99 %', 'n', 'target'],
      [
        row('one gateway has learned it', learnedMs, ''),
        row('all have', convergedMs, limit(FLEET_MS_MAX)),
        row('all have withdrawn it', withdrawnMs, limit(FLEET_MS_MAX)),
      ],
    ),
  ].join('\n\n');
}

function kubernetesPart(section: KubernetesSection): string {
  const { run, clusters, objects, rows, probeMs, joinSeconds, joinedMs, leftMs } = section;
  const each = objects.toLocaleString('en');
  const row = (name: string, values: readonly number[], target?: number): string[] => [
    name,
    spread(summary(values)),
    String(values.length),
    limit(target),
  ];
  return [
    '## Large clusters, and joining',
    runLine(run),
    `${clusters} remote clusters with a real API server each (kube-apiserver and etcd, on the same machine) that holds ${each} Nodes of 6 KB, each with a pod CIDR and an address of its own, and ${each} blocks of Calico. Each start is without earlier state. It forwards when pods of the last node of each cluster answer. A change is another address of one Node: from the request to the API server to the first echo request that went the new way, probes every ${probeMs} ms. Joining: from the end of the command to the first echo reply between pods; negative where packets were faster than the command's last word. Of the command's own time 10 s are spent waiting for the token controller of either cluster, which these API servers run without.`,
    table(
      ['what', 'value', 'n', 'target'],
      [
        ...rows.flatMap(({ what, ...of }) => [
          row(`${what}: ready, s`, of.readySeconds, KUBERNETES_SECONDS_MAX),
          row(`${what}: forwards to all, s`, of.forwardsSeconds, KUBERNETES_SECONDS_MAX),
          row(`${what}: resident, MiB`, of.idleMiB, KUBERNETES_MIB_MAX),
          row(`${what}: peak, MiB`, of.peakMiB, KUBERNETES_MIB_MAX),
          row(`${what}: a change of one node, ms`, of.changedMs, NODE_CHANGE_MS_MAX),
        ]),
        row('the command `isthmus join`, s', joinSeconds),
        row('joined, ms after the command', joinedMs, JOINED_MS_MAX),
        row('parted, ms after `isthmus leave`', leftMs),
      ],
    ),
  ].join('\n\n');
}

function microPart(section: MicroSection): string {
  const suites = new Map<string, MicroFigure[]>();
  for (const figure of section.figures) {
    suites.set(figure.suite, [...(suites.get(figure.suite) ?? []), figure]);
  }
  const parts = [...suites].map(([suite, figures]) =>
    [
      `### ${suite}`,
      table(
        ['what', 'median', '±', 'target'],
        figures.map((figure) => [
          figure.name,
          `${number(figure.value)} ${figure.unit}`,
          figure.marginPercent === undefined ? '' : `${figure.marginPercent.toFixed(1)} %`,
          figure.target === undefined ? '' : `≤ ${figure.target.toLocaleString('en')} ${figure.unit}`,
        ]),
      ),
    ].join('\n\n'),
  );
  return [
    '## Micro benchmarks',
    runLine(section.run),
    'Times are of one packet, look-up or operation.',
    ...parts,
  ].join('\n\n');
}

/** First of all what did not hold: a reader should not have to search for it. */
function missed(results: Results): string {
  const over: string[] = [];
  const check = (what: string, value: number, target: number | undefined, unit: string): void => {
    if (target !== undefined && value > target)
      over.push(`- ${what}: ${number(value)} ${unit}, target ${limit(target)}`);
  };
  if (results.throughput !== undefined) over.push(...missedThroughput(results.throughput.result));
  for (const figure of results.micro?.figures ?? []) checkFigure(figure, check);
  for (const row of results.memory?.rows ?? []) {
    const routes = `with ${row.routes.toLocaleString('en')} routes`;
    check(`resident memory ${routes}`, summary(row.idleMiB).max, MEMORY_MIB_MAX[row.routes], 'MiB');
    check(`ready ${routes}`, summary(row.readySeconds).max, READY_SECONDS_MAX[row.routes], 's');
  }
  if (results.control !== undefined) {
    const { addRoutesMs, addedMs, withdrawnMs } = results.control;
    check('kernel routes', summary(addRoutesMs).max, KERNEL_ROUTES_MS_MAX, 'ms');
    check('slowest route added in the watched file', summary(addedMs).max, EDIT_MS_MAX, 'ms');
    check('slowest route withdrawn in the watched file', summary(withdrawnMs).max, EDIT_MS_MAX, 'ms');
  }
  if (results.restart !== undefined)
    check('slowest restart after SIGKILL', summary(results.restart.forwardsMs).max, RESTART_MS_MAX, 'ms');
  if (results.fleet !== undefined) {
    const { convergedMs, withdrawnMs } = results.fleet;
    check('slowest convergence of a fleet', summary(convergedMs).max, FLEET_MS_MAX, 'ms');
    check('slowest withdrawal in a fleet', summary(withdrawnMs).max, FLEET_MS_MAX, 'ms');
  }
  if (results.kubernetes !== undefined) checkKubernetes(results.kubernetes, check);
  for (const row of results.collections?.rows ?? []) {
    check(`collections in the workers of ${row.path}, ${row.gateway}`, row.trafficWorkers, 0, '');
  }
  return over.length === 0
    ? 'Every target that these sections name was met.'
    : `Missed targets:\n\n${over.join('\n')}`;
}

function checkFigure(
  { suite, name, value, target, unit }: MicroFigure,
  check: (what: string, value: number, target: number | undefined, unit: string) => void,
): void {
  check(`${suite}, ${name}`, value, target, unit);
}

function checkKubernetes(
  { rows, joinedMs }: KubernetesSection,
  check: (what: string, value: number, target: number | undefined, unit: string) => void,
): void {
  for (const { what, ...of } of rows) {
    const start = Math.max(summary(of.readySeconds).max, summary(of.forwardsSeconds).max);
    check(`${what}: slowest start`, start, KUBERNETES_SECONDS_MAX, 's');
    check(`${what}: resident memory`, summary(of.idleMiB).max, KUBERNETES_MIB_MAX, 'MiB');
    check(`${what}: peak of memory`, summary(of.peakMiB).max, KUBERNETES_MIB_MAX, 'MiB');
    check(`${what}: slowest change of a node`, summary(of.changedMs).max, NODE_CHANGE_MS_MAX, 'ms');
  }
  check('slowest joining', summary(joinedMs).max, JOINED_MS_MAX, 'ms');
}
