import type { BenchResult, PathResult, SizeSeries } from '../model.ts';

/** What is measured of a path, and how people see it. Table, plots and the list of all values are made from these. */
export interface Quantity {
  /** Unique in a report; letters and digits only. */
  readonly id: string;
  readonly group: 'tcp' | 'roundTrip' | 'cpu';
  readonly title: string;
  /** At the head of a column of the table. */
  readonly short: string;
  readonly unit: string;
  readonly better: 'more' | 'less';
  /** In `unit`, one value a round. */
  values(path: PathResult): readonly number[];
}

/** A quantity that is measured for several packet sizes. */
export interface SizedQuantity {
  readonly id: string;
  readonly title: string;
  /** With the unit, where there is little room. */
  readonly short: string;
  readonly unit: string;
  readonly about: string;
  series(path: PathResult): readonly SizeSeries[];
}

/** Packets a second are shown in thousands: five digits fit where a count does not. */
const KILO = 1000;

export function quantitiesOf({ run }: BenchResult): readonly Quantity[] {
  const tcp = (connections: string): Pick<Quantity, 'group' | 'title' | 'unit' | 'better'> => ({
    group: 'tcp',
    title: `TCP over ${connections}`,
    unit: 'Gbit/s',
    better: 'more',
  });
  return [
    { ...tcp('one connection'), id: 'tcpSingle', short: 'TCP x 1', values: (path) => path.tcpSingle },
    {
      ...tcp(`${run.streams} connections`),
      id: 'tcpMany',
      short: `TCP x ${run.streams}`,
      values: (path) => path.tcpMany,
    },
    {
      id: 'cpuPerGbit',
      group: 'cpu',
      title: 'Processor time for one Gbit of TCP',
      short: 'CPU s/Gbit',
      unit: 's',
      better: 'less',
      values: (path) => path.cpuPerGbit,
    },
    ...ROUND_TRIP,
  ];
}

function roundTrip(key: keyof PathResult['roundTrip'], share: string): Quantity {
  return {
    id: `roundTrip${key}`,
    group: 'roundTrip',
    title: `Round trip, ${share === '50 %' ? 'median' : share}`,
    short: share,
    unit: 'µs',
    better: 'less',
    values: (path) => path.roundTrip[key],
  };
}

export const ROUND_TRIP: readonly Quantity[] = [
  roundTrip('p50', '50 %'),
  roundTrip('p90', '90 %'),
  roundTrip('p99', '99 %'),
  roundTrip('p999', '99.9 %'),
];

export const SIZED: readonly SizedQuantity[] = [
  {
    id: 'lossFree',
    title: 'Packets a second without loss',
    short: 'loss-free, kpps',
    unit: 'kpps',
    about: 'UDP: the highest rate at which at least 99.5 % arrive.',
    series: (path) => inThousands(path.lossFree),
  },
  {
    id: 'flood',
    title: 'Packets a second under flood',
    short: 'flood, kpps',
    unit: 'kpps',
    about: 'UDP: what arrives when the sender sends all it can.',
    series: (path) => inThousands(path.flood),
  },
  {
    id: 'tcpBySize',
    title: 'TCP by packet size',
    short: 'TCP, Gbit/s',
    unit: 'Gbit/s',
    about: 'One connection, with the MSS that makes packets of that size.',
    series: (path) => path.tcpBySize,
  },
];

/** The rate that a verdict speaks of. */
export const LOSS_FREE = SIZED[0] as SizedQuantity;

function inThousands(series: readonly SizeSeries[]): SizeSeries[] {
  return series.map(({ size, values }) => ({ size, values: values.map((value) => value / KILO) }));
}

/** The sizes that any path was measured with: numbers ascending, then what is none, such as `imix`. */
export function sizesOf(paths: readonly PathResult[], quantity: SizedQuantity): string[] {
  const measured = paths.flatMap((path) => quantity.series(path)).filter(({ values }) => values.length > 0);
  const sizes = [...new Set(measured.map(({ size }) => size))];
  const order = (size: string): number => (isMixture(size) ? Number.POSITIVE_INFINITY : Number(size));
  return sizes.toSorted((a, b) => (order(a) === order(b) ? 0 : order(a) - order(b)));
}

export function isMixture(size: string): boolean {
  return !/^\d+$/.test(size);
}

export function atSize(path: PathResult, quantity: SizedQuantity, size: string): readonly number[] {
  return quantity.series(path).find((series) => series.size === size)?.values ?? [];
}

/** At the head of a column: `64`, `IMIX`. */
export function sizeLabel(size: string): string {
  return isMixture(size) ? size.toUpperCase() : size;
}

/** In a sentence: `64 bytes`, `IMIX`. */
export function sizeText(size: string): string {
  return isMixture(size) ? size.toUpperCase() : `${size} bytes`;
}
