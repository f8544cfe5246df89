import { Command, InvalidArgumentError, Option } from 'commander';
import { isSize, SIZE_MAX, SIZE_MIN, SIZES } from '../measure/load/sizes.ts';
import type { MeasureOptions } from '../measure/plan.ts';
import { defaultSizes, ROUNDS_MAX, SECONDS_MAX } from '../measure/plan.ts';
import { runBench, type ShowOptions, showOptions } from './bench-show.ts';
import { wholeNumber } from './options.ts';
import type { Terminal } from './terminal.ts';

interface LocalOptions extends ShowOptions {
  readonly rounds?: number;
  readonly seed: number;
  readonly seconds: number;
  readonly quick?: boolean;
  readonly only: readonly string[];
  readonly peers?: boolean;
  readonly sizes?: readonly string[];
}

const ROUNDS = 5;
const SEED_MAX = 2 ** 32 - 1;

export function benchLocalCommand(terminal: Terminal): Command {
  const command = new Command('local')
    .summary('between namespaces of this machine')
    .description(
      'Measures Isthmus beside plain forwarding and kernel VXLAN, each from a pod over two gateways and a router to another pod, all of them network namespaces of this machine; they share its processors, so only the ratios carry over to others. As root, or as a user who may make user namespaces. About ten minutes; Ctrl-C ends it with what has been measured. Nothing is left behind.',
    )
    .addOption(
      new Option(
        '--rounds <number>',
        `rounds, in each every path once in a new order (default: ${ROUNDS})`,
      ).argParser(wholeNumber(1, ROUNDS_MAX)),
    )
    .addOption(
      new Option('--seed <number>', 'of the order of the paths')
        .argParser(wholeNumber(0, SEED_MAX))
        .default(Date.now() % 1_000_000, 'of the clock'),
    )
    .addOption(
      new Option('--seconds <number>', 'of each TCP measurement')
        .argParser(wholeNumber(1, SECONDS_MAX))
        .default(2),
    )
    .option('--quick', 'one short round of less: to see that it works')
    .addOption(
      new Option('--only <names>', 'only paths with these names, or a part of them; separated by commas')
        .argParser(listed)
        .default([], 'all'),
    )
    .addOption(
      new Option(
        '--sizes <list>',
        `sizes of the inner IPv4 packets in bytes, or imix; separated by commas (default: ${SIZES.join(',')})`,
      ).argParser(sizesOf),
    )
    .option('--peers', 'also what people use instead: OpenVPN, tinc, socat, wireguard-go, kernel tunnels')
    .action(async (options: LocalOptions) => {
      const { measurePaths } = await import('../measure/local.ts');
      await runBench(terminal, options, (progress, signal) =>
        measurePaths(measureOptions(options), progress, signal),
      );
    });
  for (const option of showOptions()) command.addOption(option);
  return command;
}

function measureOptions(options: LocalOptions): MeasureOptions {
  const quick = options.quick === true;
  return {
    ...{ quick, seed: options.seed, seconds: options.seconds, only: options.only },
    peers: options.peers === true,
    rounds: options.rounds ?? (quick ? 1 : ROUNDS),
    sizes: options.sizes ?? defaultSizes(quick),
    command: ['isthmus', ...process.argv.slice(2)].join(' '),
  };
}

function listed(text: string): string[] {
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
