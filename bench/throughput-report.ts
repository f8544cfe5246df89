import type { BenchResult, PathResult, SizeSeries } from '../src/measure/model.ts';
import { median, summary } from '../src/measure/statistics.ts';
import { number, runLine, spread, table } from './markdown.ts';
import type { ThroughputSection } from './results.ts';

type Figures = (path: PathResult) => readonly number[];

/** What the packet path has to reach, against plain forwarding with packets as on a wire. */
const SUBJECT = 'Isthmus, W';
const PORTABLE = 'Isthmus on the package raw-socket, W';
const TCP_SHARE_MIN = 0.5;
const PACKETS_SHARE_MIN = 0.3;
const ROUND_TRIP_P50_MAX = 5;
const ROUND_TRIP_P99_MAX = 8;
const PORTABLE_SHARE_MIN = 0.5;

const tcpSingle: Figures = (path) => path.tcpSingle;
const tcpMany: Figures = (path) => path.tcpMany;
const cpu: Figures = (path) => path.cpuPerGbit;

/** Through two gateways, as Markdown. */
export function throughputPart({ run, workers, result }: ThroughputSection): string {
  const { paths } = result;
  const failures = paths.flatMap((path) =>
    path.failures.map((failure) => `- failed: ${path.name}, ${failure}`),
  );
  const notes = [...result.left.map((left) => `- not measured: ${left}`), ...failures];
  const { rounds, seed, streams, tcpProgram } = result.run;
  return [
    '## Through two gateways',
    runLine(run),
    `Pod – gateway – router – gateway – pod, each a network namespace of the same machine, all sharing its ${run.cores} cores. ${rounds} round${rounds === 1 ? '' : 's'} (seed ${seed}), in each round every path once, in a new order. Isthmus runs with its defaults: ${workers} worker${workers === 1 ? '' : 's'}, batch socket, unless the row says otherwise. \`W\`: without segmentation offload on the gateways' underlay devices, so that every packet is one of at most 1,500 bytes, as on a wire; the fair measure for a path in userspace, which cannot send 64 KiB at once. Ratios are of medians, to plain forwarding with the same offloads. TCP by ${tcpProgram}. Processor time is of the whole machine, hence of both gateways, both pods and the router.`,
    table(
      ['path', 'TCP × 1, Gbit/s', 'ratio', `TCP × ${streams}, Gbit/s`, 'ratio', 'CPU s/Gbit'],
      paths.map((path) => [
        path.name,
        ...withRatio(paths, path, tcpSingle),
        ...withRatio(paths, path, tcpMany),
        spread(summary(cpu(path))),
      ]),
    ),
    "Packets are UDP over 16 flows; sizes are of the inner IPv4 packet, `imix` is 7 of 64 to 4 of 576 to 1 of 1,480 bytes. Loss-free: the highest rate at which 99.5 % have arrived 10 ms after the last one was sent. Flood: what arrives when the sender sends all it can; the kernel's own paths run in the sender's system call and take no more than they carry, the others drop the rest. RTT: 64-byte ICMP echo every 2 ms; its percentiles in each round.",
    packetTable(paths),
    sizeTable('loss-free, kpps', paths, (path) => path.lossFree, 1000),
    sizeTable('flood, kpps', paths, (path) => path.flood, 1000),
    sizeTable('TCP, Gbit/s', paths, (path) => path.tcpBySize, 1),
    ...(notes.length > 0 ? [notes.join('\n')] : []),
  ]
    .filter((part) => part !== '')
    .join('\n\n');
}

/** The first size of a run: the one that all paths are measured with. */
function smallOf(paths: readonly PathResult[]): string {
  return paths.flatMap((path) => path.lossFree)[0]?.size ?? '64';
}

function packetTable(paths: readonly PathResult[]): string {
  const small = smallOf(paths);
  const head = ['RTT p50, µs', 'RTT p90, µs', 'RTT p99, µs', 'RTT p99.9, µs'];
  return table(
    [
      'path',
      ...[`loss-free ${small} B, kpps`, 'ratio', `flood ${small} B, kpps`, 'ratio'],
      ...head.flatMap((title) => [title, 'ratio']),
    ],
    paths.map((path) => [
      path.name,
      ...withRatio(
        paths,
        path,
        ofSize((p) => p.lossFree, small),
        1000,
      ),
      ...withRatio(
        paths,
        path,
        ofSize((p) => p.flood, small),
        1000,
      ),
      ...withRatio(paths, path, (p) => p.roundTrip.p50),
      ...withRatio(paths, path, (p) => p.roundTrip.p90),
      ...withRatio(paths, path, (p) => p.roundTrip.p99),
      ...withRatio(paths, path, (p) => p.roundTrip.p999),
    ]),
  );
}

/** Medians by size of those paths that were measured with more than one; empty where none was. */
function sizeTable(
  what: string,
  paths: readonly PathResult[],
  of: (path: PathResult) => readonly SizeSeries[],
  unit: number,
): string {
  const rows = paths.filter((path) => of(path).length > 1);
  const sizes = [...new Set(rows.flatMap((path) => of(path).map(({ size }) => size)))];
  if (rows.length === 0) return '';
  return table(
    [what, ...sizes.map((size) => (size === 'imix' ? size : `${size} B`))],
    rows.map((path) => [path.name, ...sizes.map((size) => number(median(ofSize(of, size)(path)) / unit))]),
  );
}

function ofSize(of: (path: PathResult) => readonly SizeSeries[], size: string): Figures {
  return (path) => of(path).find((series) => series.size === size)?.values ?? [];
}

function withRatio(paths: readonly PathResult[], path: PathResult, of: Figures, unit = 1): [string, string] {
  const shown = spread(summary(of(path).map((value) => value / unit)));
  if (path.name === path.reference) return [shown, '1'];
  return [shown, number(ratioOf(paths, path, path.reference, of))];
}

/** Of medians; NaN where either is missing. */
function ratioOf(
  paths: readonly PathResult[],
  path: PathResult | undefined,
  reference: string | null | undefined,
  of: Figures,
): number {
  const other = paths.find(({ name }) => name === reference);
  if (path === undefined || other === undefined) return Number.NaN;
  return median(of(path)) / median(of(other));
}

/** A line for each target that was missed; a figure that was not measured misses none. */
export function missedThroughput({ paths }: BenchResult): string[] {
  const find = (name: string): PathResult | undefined => paths.find((path) => path.name === name);
  const subject = find(SUBJECT);
  const small = ofSize((path) => path.lossFree, smallOf(paths));
  const plain = (of: Figures): number => ratioOf(paths, subject, subject?.reference, of);
  const least: [string, number, number][] = [
    ['TCP over one connection to plain forwarding', plain(tcpSingle), TCP_SHARE_MIN],
    ['loss-free small packets to plain forwarding', plain(small), PACKETS_SHARE_MIN],
    [
      'loss-free small packets of the package raw-socket to the batch socket',
      ratioOf(paths, find(PORTABLE), SUBJECT, small),
      PORTABLE_SHARE_MIN,
    ],
  ];
  const most: [string, number, number][] = [
    ['round trip p50 to plain forwarding', plain((p) => p.roundTrip.p50), ROUND_TRIP_P50_MAX],
    ['round trip p99 to plain forwarding', plain((p) => p.roundTrip.p99), ROUND_TRIP_P99_MAX],
  ];
  return [
    ...least
      .filter(([, value, target]) => value < target)
      .map(([what, value, target]) => `- ${what}: ${number(value)}, target ≥ ${target}`),
    ...most
      .filter(([, value, target]) => value > target)
      .map(([what, value, target]) => `- ${what}: ${number(value)}, target ≤ ${target}`),
  ];
}
