import type { EventLoopMonitor } from './event-loop.ts';
import type { MetricsSource } from './metrics-source.ts';

/** A value and the values of its labels, in the order of MetricDefinition.labels. */
export type Sample = readonly [value: number, ...labels: string[]];

export interface MetricDefinition {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  /** Called at each scrape, and only then. */
  samples(source: MetricsSource, eventLoop: EventLoopMonitor): Iterable<Sample>;
}

/** One number. */
export function gauge(name: string, help: string, read: (source: MetricsSource) => number): MetricDefinition {
  return { name, type: 'gauge', help, labels: [], samples: (source) => [[read(source)]] };
}

/** One number for each row; a row without a sample is left out. */
export function gaugeOf<T>(
  name: string,
  help: string,
  labels: readonly string[],
  rows: (source: MetricsSource) => readonly T[],
  sample: (row: T) => Sample | undefined,
): MetricDefinition {
  return {
    name,
    type: 'gauge',
    help,
    labels,
    *samples(source) {
      for (const row of rows(source)) {
        const found = sample(row);
        if (found !== undefined) yield found;
      }
    },
  };
}
