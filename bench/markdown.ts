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
