import { InvalidArgumentError, Option } from 'commander';
import { isSize, SIZE_MAX, SIZE_MIN, SIZES } from '../measure/load/sizes.ts';
import { defaultSizes, type MeasureOptions, ROUNDS_MAX, SECONDS_MAX } from '../measure/plan.ts';
import { wholeNumber } from './options.ts';

/** Options of every command that measures. */
export interface RoundOptions {
  readonly rounds?: number;
  readonly seed: number;
  readonly seconds: number;
  readonly quick?: boolean;
  readonly sizes?: readonly string[];
}

const ROUNDS = 5;
const SEED_MAX = 2 ** 32 - 1;

export function roundOptions(): Option[] {
  return [
    new Option(
      '--rounds <number>',
      `rounds, in each every path once in a new order (default: ${ROUNDS})`,
    ).argParser(wholeNumber(1, ROUNDS_MAX)),
    new Option('--seed <number>', 'of the order of the paths')
      .argParser(wholeNumber(0, SEED_MAX))
      .default(Date.now() % 1_000_000, 'of the clock'),
    new Option('--seconds <number>', 'of each TCP measurement')
      .argParser(wholeNumber(1, SECONDS_MAX))
      .default(2),
    new Option('--quick', 'one short round of less: to see that it works'),
    new Option(
      '--sizes <list>',
      `sizes of the inner IPv4 packets in bytes, or imix; separated by commas (default: ${SIZES.join(',')})`,
    ).argParser(sizesOf),
  ];
}

/** What is not said here is of the command itself. */
export function measureOptions(options: RoundOptions): Omit<MeasureOptions, 'only' | 'peers'> {
  const quick = options.quick === true;
  return {
    ...{ quick, seed: options.seed, seconds: options.seconds },
    rounds: options.rounds ?? (quick ? 1 : ROUNDS),
    sizes: options.sizes ?? defaultSizes(quick),
    command: ['isthmus', ...process.argv.slice(2)].join(' '),
  };
}

export function listed(text: string): string[] {
  return text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}

function sizesOf(text: string): string[] {
  const sizes = listed(text.toLowerCase());
  const wrong = sizes.find((size) => !isSize(size));
  if (wrong !== undefined || sizes.length === 0) {
    throw new InvalidArgumentError(
      `Expected bytes from ${SIZE_MIN} to ${SIZE_MAX} or imix, separated by commas${wrong === undefined ? '' : `, not "${wrong}"`}.`,
    );
  }
  return [...new Set(sizes)];
}
