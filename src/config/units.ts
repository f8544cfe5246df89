import { leaf, Mistake } from './leaf.ts';

const DURATION_UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
] as const;

/** Node fires a timer of more than 2^31-1 ms (24.8 days) at once, which would turn a long hold into none. */
export const DURATION_MS_MAX = 24 * 86_400_000;

const DURATION = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/;

/** Milliseconds of `1h30m`, `500ms`; undefined when the text is no duration or no whole number of milliseconds. */
export function parseDuration(text: string): number | undefined {
  if (text.length > 40 || !DURATION.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    total += Number(amount) * (DURATION_UNITS.find(([name]) => name === unit)?.[1] ?? Number.NaN);
  }
  return Number.isInteger(total) ? total : undefined;
}

/** The shortest text that parseDuration reads back to the same number. */
export function formatDuration(durationMs: number): string {
  const [unit, size] = DURATION_UNITS.find(([, ms]) => durationMs > 0 && durationMs % ms === 0) ?? [
    's',
    1000,
  ];
  return `${durationMs / size}${unit}`;
}

const EXPECTED_DURATION = 'a duration such as 500ms, 30s, 5m or 1h30m';

/** In memory milliseconds. */
export function duration(minMs: number) {
  return leaf<number>({
    expected: `${EXPECTED_DURATION}, from ${formatDuration(minMs)} to ${formatDuration(DURATION_MS_MAX)}`,
    json: { type: 'string', pattern: DURATION.source },
    read: (raw) => readDuration(raw, minMs),
    print: formatDuration,
  });
}

/** As duration; `never` is Infinity. */
export function durationOrNever(minMs: number) {
  return leaf<number>({
    expected: `never, or ${EXPECTED_DURATION}, from ${formatDuration(minMs)} to ${formatDuration(DURATION_MS_MAX)}`,
    json: { anyOf: [{ const: 'never' }, { type: 'string', pattern: DURATION.source }] },
    read: (raw) => (raw === 'never' ? Number.POSITIVE_INFINITY : readDuration(raw, minMs)),
    print: (value) => (value === Number.POSITIVE_INFINITY ? 'never' : formatDuration(value)),
  });
}

/** One of two words, or a duration up to `maxMs`. */
export function wordsOrDuration<const T extends string>(
  words: readonly [T, T],
  minMs: number,
  maxMs: number,
) {
  return leaf<number | T>({
    expected: `${words.join(', ')}, or a duration from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`,
    json: {
      anyOf: [...words.map((word) => ({ const: word })), { type: 'string', pattern: DURATION.source }],
    },
    read: (raw) => {
      const word = words.find((each) => each === raw);
      if (word !== undefined) return word;
      const value = readDuration(raw, minMs);
      return typeof value === 'number' && value > maxMs ? new Mistake() : value;
    },
    print: (value) => (typeof value === 'number' ? formatDuration(value) : value),
  });
}

function readDuration(raw: unknown, minMs: number): number | Mistake {
  if (typeof raw === 'number') return new Mistake('a unit is missing');
  if (typeof raw !== 'string') return new Mistake();
  if (/^\d+$/.test(raw)) return new Mistake('a unit is missing');
  const value = parseDuration(raw);
  return value !== undefined && value >= minMs && value <= DURATION_MS_MAX ? value : new Mistake();
}

const SIZE_UNITS = [
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
] as const;

const SIZE = /^(\d+)(KiB|MiB|GiB)$/;

/** Bytes of `8MiB`; undefined when the text is no size. Decimal units are not accepted: socket buffers are counted in powers of two. */
export function parseSize(text: string): number | undefined {
  const [, digits, unit] = SIZE.exec(text) ?? [];
  const bytes = SIZE_UNITS.find(([name]) => name === unit)?.[1];
  return bytes === undefined ? undefined : Number(digits) * bytes;
}

export function formatSize(sizeBytes: number): string | number {
  const found = SIZE_UNITS.find(([, bytes]) => sizeBytes > 0 && sizeBytes % bytes === 0);
  return found === undefined ? sizeBytes : `${sizeBytes / found[1]}${found[0]}`;
}

/** In memory bytes; in the file a number of bytes or a text with a unit. */
export function size(minBytes: number, maxBytes: number) {
  return leaf<number>({
    expected: `a size such as 8MiB, from ${formatSize(minBytes)} to ${formatSize(maxBytes)}`,
    json: {
      anyOf: [
        { type: 'integer', minimum: minBytes, maximum: maxBytes },
        { type: 'string', pattern: SIZE.source },
      ],
    },
    read(raw) {
      const bytes = typeof raw === 'string' ? parseSize(raw) : raw;
      if (typeof bytes !== 'number' || !Number.isInteger(bytes)) return new Mistake();
      return bytes >= minBytes && bytes <= maxBytes ? bytes : new Mistake();
    },
    print: formatSize,
  });
}
