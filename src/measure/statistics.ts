/** What a series of measurements is shown as. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly count: number;
}

export function summary(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  return {
    median: quantile(sorted, 0.5),
    min: sorted[0] ?? Number.NaN,
    max: sorted.at(-1) ?? Number.NaN,
    count: values.length,
  };
}

export function median(values: readonly number[]): number {
  return summary(values).median;
}

/** The value below which `share` of the values lie, linear between two neighbours; NaN of none. */
export function percentile(values: readonly number[], share: number): number {
  return quantile(
    values.toSorted((a, b) => a - b),
    share,
  );
}

function quantile(sorted: readonly number[], share: number): number {
  if (sorted.length === 0) return Number.NaN;
  const position = share * (sorted.length - 1);
  const below = Math.floor(position);
  const next = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return sorted[below]! + (next - sorted[below]!) * (position - below);
}

/** A new order of the same items (Fisher-Yates). `below(n)` is uniform in [0, n). */
export function shuffled<T>(items: readonly T[], below: (bound: number) => number): T[] {
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = below(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** Median by median: how a path compares with another of the same run. NaN where either has no value, or the reference is 0. */
export function ratioOfMedians(values: readonly number[], reference: readonly number[]): number {
  const below = median(reference);
  return below === 0 ? Number.NaN : median(values) / below;
}
