import type { Summary } from '../src/measure/statistics.ts';
import type { Run } from './results.ts';

/** The pieces that all sections of the report are made of. */
export function runLine(run: Run): string {
  return [
    `${run.date} UTC, commit ${run.commit}`,
    `${run.cpu}, ${run.cores} cores, ${run.memoryGiB} GiB, Linux ${run.kernel}, Node ${run.node}`,
    `load before the run ${run.loadBefore}`,
    `\`${run.command}\``,
  ].join(' · ');
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, column) => (column === 0 ? '---' : '---:'));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}

/** Three significant digits: more would only show the noise. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  if (Math.abs(value) >= 10) return value.toFixed(1);
  return Math.abs(value) >= 0.1 || value === 0 ? value.toFixed(2) : value.toPrecision(2);
}

export function spread({ median, min, max, count }: Summary): string {
  if (count < 2) return number(median);
  return `${number(median)} (${number(min)}–${number(max)})`;
}
