import type { BenchResult, PathResult, Progress, SizeSeries } from '../measure/model.ts';
import { median } from '../measure/statistics.ts';
import { printJson } from './options.ts';
import { type Column, formatTable } from './table.ts';
import type { Terminal } from './terminal.ts';

const INTERRUPTED = 130;

/** Shows how a measurement goes. The first Ctrl-C ends it after the step that runs, the second at once. */
export async function whileMeasuring<T>(
  terminal: Terminal,
  measure: (progress: Progress, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stopping = new AbortController();
  const stop = (): void => {
    if (stopping.signal.aborted) process.exit(INTERRUPTED);
    terminal.error('\nstopping after this measurement; once more to stop at once\n');
    process.exitCode = INTERRUPTED;
    stopping.abort();
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  try {
    return await measure(({ round, rounds, path, what, text }) => {
      if (round > 0 && text !== '') terminal.error(`round ${round}/${rounds}  ${path}  ${what}: ${text}\n`);
    }, stopping.signal);
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

export function showBench(terminal: Terminal, result: BenchResult, json: boolean): void {
  if (json) {
    printJson(terminal, result);
    return;
  }
  const of = (values: readonly number[] | undefined, digits: number): string =>
    values === undefined || values.length === 0 ? '–' : median(values).toFixed(digits);
  const first = (series: readonly SizeSeries[]): string =>
    of(
      series[0]?.values.map((value) => value / 1000),
      1,
    );
  const number = (title: string, cell: (row: PathResult) => string): Column<PathResult> => ({
    title,
    cell,
    align: 'right',
  });
  const columns: readonly Column<PathResult>[] = [
    { title: 'PATH', cell: ({ name }) => name },
    number('TCP-GBIT/S', ({ tcpSingle }) => of(tcpSingle, 2)),
    number(`TCP-X${result.run.streams}`, ({ tcpMany }) => of(tcpMany, 2)),
    number('LOSS-FREE-KPPS', ({ lossFree }) => first(lossFree)),
    number('FLOOD-KPPS', ({ flood }) => first(flood)),
    number('RTT-P50-US', ({ roundTrip }) => of(roundTrip.p50, 0)),
    number('RTT-P99-US', ({ roundTrip }) => of(roundTrip.p99, 0)),
    number('CPU-S/GBIT', ({ cpuPerGbit }) => of(cpuPerGbit, 2)),
  ];
  terminal.out(formatTable(terminal, columns, result.paths));
  for (const line of result.left) terminal.error(`not measured: ${line}\n`);
  for (const { name, failures } of result.paths) {
    for (const failure of failures) terminal.error(`failed: ${name}, ${failure}\n`);
  }
}
