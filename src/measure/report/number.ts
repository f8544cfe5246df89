import type { Summary } from '../statistics.ts';

/** Three significant digits: more would only show the noise. A dash for what has no value. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  if (Math.abs(value) >= 10) return value.toFixed(1);
  return Math.abs(value) >= 0.1 || value === 0 ? value.toFixed(2) : value.toPrecision(2);
}

/** `246 (202–320)`: median, lowest and highest; the value alone where there is only one. */
export function spread(of: Summary): string {
  return of.count < 2 ? number(of.median) : `${number(of.median)} (${range(of)})`;
}

/** `202–320`; empty where there is only one value. */
export function range({ min, max, count }: Summary): string {
  return count < 2 ? '' : `${number(min)}–${number(max)}`;
}

/** `0.41 ×`. */
export function times(ratio: number): string {
  return Number.isFinite(ratio) ? `${number(ratio)} ×` : '–';
}
