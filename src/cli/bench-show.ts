import { Option } from 'commander';
import { systemClock } from '../base/clock.ts';
import type { BenchResult, Progress } from '../measure/model.ts';
import { renderHtml } from '../measure/report/html.ts';
import { checkReportFile, writeReportFile } from '../measure/report/report-file.ts';
import { renderTable } from '../measure/report/table.ts';
import { BenchProgress } from './bench-progress.ts';
import { jsonOption, printJson } from './options.ts';
import type { Terminal } from './terminal.ts';

const INTERRUPTED = 130;

/** The options of every command that ends in a result. */
export interface ShowOptions {
  readonly json?: boolean;
  readonly report?: string;
}

export const showOptions = (): Option[] => [
  jsonOption(),
  new Option('--report <file>', 'also write the result as an HTML page with plots; it needs no network'),
];

/**
 * Shows how a measurement goes, and what came out. The first Ctrl-C ends it after the step that runs, the second at once. A report that
 * could not be written is refused before anything is measured.
 */
export async function runBench(
  terminal: Terminal,
  options: ShowOptions,
  measure: (progress: Progress, signal: AbortSignal) => Promise<BenchResult>,
): Promise<void> {
  if (options.report !== undefined) checkReportFile(options.report);
  const stopping = new AbortController();
  const line = new BenchProgress(terminal, systemClock);
  const stop = (): void => {
    if (stopping.signal.aborted) {
      line.end();
      process.exit(INTERRUPTED);
    }
    line.say('stopping after this measurement; once more to stop at once');
    process.exitCode = INTERRUPTED;
    stopping.abort();
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  let result: BenchResult;
  try {
    result = await measure(line.tell, stopping.signal);
  } finally {
    line.end();
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
  showBench(terminal, result, options);
}

/** A report that fails must not cost what was measured: that is printed first. */
export function showBench(terminal: Terminal, result: BenchResult, { json, report }: ShowOptions): void {
  if (json === true) printJson(terminal, result);
  else terminal.out(renderTable(result, { columns: terminal.columns, colour: terminal.isColored }));
  if (report === undefined) return;
  writeReportFile(report, renderHtml(result));
  terminal.error(`report: ${report}\n`);
}
