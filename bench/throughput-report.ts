import type { BenchResult, PathResult } from '../src/measure/model.ts';
import { number, spread } from '../src/measure/report/number.ts';
import { atSize, LOSS_FREE, SIZED, type SizedQuantity, sizesOf } from '../src/measure/report/quantity.ts';
import { median, ratioOfMedians, summary } from '../src/measure/statistics.ts';
import { runLine, table } from './markdown.ts';
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
const OPENVPN = 'OpenVPN without cipher, W';
const OPENVPN_TIMES_MIN = 3;
/** Of every other program in user space. */
const PEER_TIMES_MIN = 2.5;

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
    ...SIZED.map((quantity) => sizeTable(quantity, paths)),
    ...(notes.length > 0 ? [notes.join('\n')] : []),
  ]
    .filter((part) => part !== '')
    .join('\n\n');
}

/** The size that all paths are measured with. */
function smallOf(paths: readonly PathResult[]): string {
  return sizesOf(paths, LOSS_FREE)[0] ?? '64';
}

function packetTable(paths: readonly PathResult[]): string {
  const small = smallOf(paths);
  const rates = SIZED.filter(({ unit }) => unit === 'kpps');
  const trips = ['RTT p50, µs', 'RTT p90, µs', 'RTT p99, µs', 'RTT p99.9, µs'];
  return table(
    [
      'path',
      ...[...rates.map(({ short }) => `${short}, ${small} B`), ...trips].flatMap((title) => [title, 'ratio']),
    ],
    paths.map((path) => [
      path.name,
      ...rates.flatMap((rate) => withRatio(paths, path, (p) => atSize(p, rate, small))),
      ...withRatio(paths, path, (p) => p.roundTrip.p50),
      ...withRatio(paths, path, (p) => p.roundTrip.p90),
      ...withRatio(paths, path, (p) => p.roundTrip.p99),
      ...withRatio(paths, path, (p) => p.roundTrip.p999),
    ]),
  );
}

/** Medians by size of those paths that were measured with more than one; empty where none was. */
function sizeTable(quantity: SizedQuantity, paths: readonly PathResult[]): string {
  const rows = paths.filter((path) => quantity.series(path).length > 1);
  if (rows.length === 0) return '';
  const sizes = sizesOf(rows, quantity);
  return table(
    [quantity.short, ...sizes.map((size) => (size === 'imix' ? size : `${size} B`))],
    rows.map((path) => [path.name, ...sizes.map((size) => number(median(atSize(path, quantity, size))))]),
  );
}

function withRatio(paths: readonly PathResult[], path: PathResult, of: Figures): [string, string] {
  const shown = spread(summary(of(path)));
  if (path.name === path.reference) return [shown, '1'];
  return [shown, number(ratioOf(paths, path, path.reference, of))];
}

/** NaN where either path is missing. */
function ratioOf(
  paths: readonly PathResult[],
  path: PathResult | undefined,
  reference: string | null | undefined,
  of: Figures,
): number {
  const other = paths.find(({ name }) => name === reference);
  return path === undefined || other === undefined ? Number.NaN : ratioOfMedians(of(path), of(other));
}

/** A line for each target that was missed; a figure that was not measured misses none. */
export function missedThroughput({ paths }: BenchResult): string[] {
  const find = (name: string): PathResult | undefined => paths.find((path) => path.name === name);
  const subject = find(SUBJECT);
  const small: Figures = (path) => atSize(path, LOSS_FREE, smallOf(paths));
  const plain = (of: Figures): number => ratioOf(paths, subject, subject?.reference, of);
  const least: [string, number, number][] = [
    ['TCP over one connection to plain forwarding', plain(tcpSingle), TCP_SHARE_MIN],
    ['loss-free small packets to plain forwarding', plain(small), PACKETS_SHARE_MIN],
    [
      'loss-free small packets of the package raw-socket to the batch socket',
      ratioOf(paths, find(PORTABLE), SUBJECT, small),
      PORTABLE_SHARE_MIN,
    ],
    ...paths
      .filter(({ kind }) => kind === 'peer')
      .map(({ name }): [string, number, number] => [
        `TCP over one connection to ${name}`,
        ratioOf(paths, subject, name, tcpSingle),
        name === OPENVPN ? OPENVPN_TIMES_MIN : PEER_TIMES_MIN,
      ]),
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
