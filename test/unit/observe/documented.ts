import { METRICS } from '../../../src/observe/metric-table.ts';
import { PUBLISH_HISTOGRAM } from '../../../src/observe/metrics.ts';
import { DROP_REASONS } from '../../../src/packet/verdict.ts';

/** The rows that the tables of docs/metrics.md must have, made from the tables in the source. */
export function metricRows(): string[] {
  const histogram = { ...PUBLISH_HISTOGRAM, type: 'histogram', labels: [] as readonly string[] };
  return [...METRICS, histogram].map(({ name, type, labels, help }) => {
    const names = labels.map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${type} | ${names} | ${help.replace(/\.$/, '')} |`;
  });
}

export function dropRows(): string[] {
  return DROP_REASONS.filter(({ verdict }) => verdict !== 0).map(
    ({ name, direction, meaning }) => `| \`${name}\` | ${direction} | ${meaning} |`,
  );
}
