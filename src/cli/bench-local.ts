import { Command, Option } from 'commander';
import { listed, measureOptions, type RoundOptions, roundOptions } from './bench-options.ts';
import { runBench, type ShowOptions, showOptions } from './bench-show.ts';
import type { Terminal } from './terminal.ts';

interface LocalOptions extends RoundOptions, ShowOptions {
  readonly only: readonly string[];
  readonly peers?: boolean;
}

export function benchLocalCommand(terminal: Terminal): Command {
  const command = new Command('local')
    .summary('between namespaces of this machine')
    .description(
      'Measures Isthmus beside plain forwarding and kernel VXLAN, each from a pod over two gateways and a router to another pod, all of them network namespaces of this machine; they share its processors, so only the ratios carry over to others. As root, or as a user who may make user namespaces. About ten minutes; Ctrl-C ends it with what has been measured. Nothing is left behind.',
    );
  for (const option of roundOptions()) command.addOption(option);
  command
    .addOption(
      new Option('--only <names>', 'only paths with these names, or a part of them; separated by commas')
        .argParser(listed)
        .default([], 'all'),
    )
    .option('--peers', 'also what people use instead: OpenVPN, tinc, socat, wireguard-go, kernel tunnels')
    .action(async (options: LocalOptions) => {
      const { measurePaths } = await import('../measure/local.ts');
      const { only } = options;
      await runBench(terminal, options, (progress, signal) =>
        measurePaths({ ...measureOptions(options), only, peers: options.peers === true }, progress, signal),
      );
    });
  for (const option of showOptions()) command.addOption(option);
  return command;
}
