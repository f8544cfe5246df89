import { Command } from 'commander';
import { GatewayError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { describeGranting, grantAccess } from '../join/grant.ts';
import { Ledger } from '../join/ledger.ts';
import { addSideOptions, openApi, optionsOf, readNewName, readSide } from './join-options.ts';
import type { Terminal } from './terminal.ts';

export function grantCommand(terminal: Terminal): Command {
  const command = new Command('grant')
    .summary('let another cluster read ours: one half of join')
    .description(
      "Where nobody holds both clusters: creates in ours the account by which the other's gateways read it, and prints the YAML that the other administrator applies. Steps go to stderr. Each side grants the other.",
    )
    .requiredOption('--peer-name <name>', 'name of the cluster that may read ours');
  addSideOptions(command, '', 'our cluster');
  return command
    .option('--dry-run', 'print the YAML of our side and write nothing')
    .action(async (options: { dryRun?: boolean; peerName: string } & Record<string, unknown>) => {
      const peer = readNewName(options.peerName, '--peer-name');
      const ours = optionsOf(options, '');
      const read = readSide(ours, '');
      if (read.name === peer) {
        throw new GatewayError('ISTHMUS_ERR_USAGE', `both clusters are called "${peer}"`);
      }
      const side = { ...read, api: await openApi(ours) };
      if (options.dryRun === true) {
        terminal.out(await describeGranting(side, peer));
        return;
      }
      const ledger = new Ledger((line) => terminal.error(`${printable(line)}\n`));
      terminal.out(await grantAccess(side, peer, ledger));
      terminal.error(
        `${peer} may read ${side.name}: ${ledger.summary()}; its administrator applies what was printed\n`,
      );
    });
}
