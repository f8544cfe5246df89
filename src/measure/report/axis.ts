/** Where values stand on an axis. Pure arithmetic, in user units of an SVG. */
export interface Axis {
  readonly ticks: readonly number[];
  /** Between the two ends; what is outside stands at the nearer end. */
  at(value: number): number;
}

const TICKS = 5;
/** Below what a clock or a counter of ours can tell from nothing, in any of the units. */
const NEGLIGIBLE = 1e-9;

/** From 0 to a round number not below the highest value. */
export function linearAxis(values: readonly number[], from: number, to: number): Axis {
  const found = Math.max(0, ...values.filter(Number.isFinite));
  const highest = found < NEGLIGIBLE ? 1 : found;
  const step = roundStep(highest / TICKS);
  const count = Math.max(1, Math.ceil(highest / step - 1e-9));
  const end = count * step;
  return {
    // By multiplication: sums of 0.1 do not end at round numbers.
    ticks: Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(6))),
    at: (value) => from + clamp(value / end) * (to - from),
  };
}

function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  const factor = [1, 2, 2.5, 5, 10].find((one) => one * power >= least * 0.999999) ?? 10;
  return factor * power;
}

/** From a round number at or below the lowest positive value to one at or above the highest; 1, 2 and 5 of each power of ten. */
export function logarithmicAxis(values: readonly number[], from: number, to: number): Axis {
  const positive = values.filter((value) => Number.isFinite(value) && value >= NEGLIGIBLE);
  const lowest = Math.min(...positive, Number.POSITIVE_INFINITY);
  const highest = Math.max(...positive, Number.NEGATIVE_INFINITY);
  const all = positive.length === 0 ? [1, 10] : roundNumbers(lowest, highest);
  const [first = 1, last = 10] = [all[0], all.at(-1)];
  const decades = Math.log10(last / first);
  return {
    ticks: decades > 2.5 ? all.filter(isPowerOfTen) : all,
    at: (value) => from + clamp(Math.log10(Math.max(value, first) / first) / decades) * (to - from),
  };
}

function roundNumbers(lowest: number, highest: number): number[] {
  const found: number[] = [];
  for (let power = Math.floor(Math.log10(lowest)) - 1; power <= Math.ceil(Math.log10(highest)) + 1; power++) {
    found.push(...[1, 2, 5].map((factor) => Number(`${factor}e${power}`)));
  }
  const first = found.findLastIndex((one) => one <= lowest);
  const last = found.findIndex((one) => one >= highest);
  // A single value on a round number still needs an axis with two ends.
  return found.slice(first, Math.max(last, first + 1) + 1);
}

function isPowerOfTen(value: number): boolean {
  return Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9;
}

function clamp(share: number): number {
  return Number.isFinite(share) ? Math.min(1, Math.max(0, share)) : 0;
}
