import { Command, Option } from 'commander';
import { CONTROL_PORT } from '../measure/remote/protocol.ts';
import { readToken } from '../measure/remote/token.ts';
import { measureOptions, type RoundOptions, roundOptions } from './bench-options.ts';
import { runBench, type ShowOptions, showOptions } from './bench-show.ts';
import { wholeNumber } from './options.ts';
import type { Terminal } from './terminal.ts';

interface RunOptions extends RoundOptions, ShowOptions {
  readonly direct?: string;
  readonly port: number;
  readonly tokenFile?: string;
  readonly reverse?: boolean;
}

/** Unprivileged, with one more for traffic. */
export const PORT_MIN = 1024;
export const PORT_MAX = 65_534;

export const tokenFileOption = () =>
  new Option('--token-file <file>', 'a file with the secret that both sides share');

export function benchRunCommand(terminal: Terminal): Command {
  const command = new Command('run')
    .summary('between this host and one that runs isthmus bench serve')
    .description(
      'Measures from here to a host that runs isthmus bench serve: to its address behind the tunnel and, with --direct, to one that is reached without it, in turn. Needs no privilege. Sends as much as the path takes: not for hours in which others need it. About five minutes; Ctrl-C ends it with what has been measured.',
    )
    .argument('<peer>', 'IPv4 address or name of the host, behind the tunnel')
    .option('--direct <address>', 'an address of the same host that is reached without the tunnel')
    .addOption(
      new Option('--port <number>', 'of isthmus bench serve; test traffic uses the next one')
        .argParser(wholeNumber(PORT_MIN, PORT_MAX))
        .default(CONTROL_PORT),
    )
    .addOption(tokenFileOption())
    .option('--reverse', 'the other host sends, to the next port here')
    .action(async (peer: string, options: RunOptions) => {
      const { measureRemote } = await import('../measure/remote/run.ts');
      const { port, direct = null, reverse = false, tokenFile } = options;
      const token = tokenFile === undefined ? null : readToken(tokenFile);
      const remote = { peer, direct, port, token, reverse, only: [], peers: false };
      let isLost = false;
      await runBench(terminal, options, async (progress, signal) => {
        const measured = await measureRemote({ ...measureOptions(options), ...remote }, progress, signal);
        isLost = measured.isLost;
        return measured.result;
      });
      if (isLost) process.exitCode = 1;
    });
  for (const option of [...roundOptions(), ...showOptions()]) command.addOption(option);
  return command;
}
