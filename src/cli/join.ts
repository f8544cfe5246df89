import { Command } from 'commander';
import { GatewayError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { describeJoin } from '../join/document.ts';
import { joinClusters } from '../join/join.ts';
import { Ledger } from '../join/ledger.ts';
import { addSideOptions, openApi, optionsOf, readSide } from './join-options.ts';
import type { Terminal } from './terminal.ts';

interface JoinOptions {
  readonly dryRun?: boolean;
  readonly showSecrets?: boolean;
}

export function joinCommand(terminal: Terminal): Command {
  const command = new Command('join')
    .summary('join two Kubernetes clusters')
    .description(
      "Joins two Kubernetes clusters: creates in each an account by which the other's gateways read it, and the objects by which its own gateways find the other. Run again, it changes nothing, or goes on where it was stopped.",
    );
  addSideOptions(command, '', 'our cluster');
  addSideOptions(command, 'peer-', 'the other cluster');
  return command
    .option('--dry-run', 'print the YAML of both sides and write nothing')
    .option('--show-secrets', 'with --dry-run: print credentials that exist already')
    .action(async (options: JoinOptions & Record<string, unknown>) => {
      if (options.showSecrets === true && options.dryRun !== true) {
        throw new GatewayError('ISTHMUS_ERR_USAGE', '--show-secrets is for --dry-run');
      }
      const [ours, theirs] = [optionsOf(options, ''), optionsOf(options, 'peer-')];
      const [a, b] = [readSide(ours, ''), readSide(theirs, 'peer-')];
      const here = { ...a, api: await openApi(ours) };
      const there = { ...b, api: await openApi(theirs, ours.kubeconfig) };
      if (options.dryRun === true) {
        terminal.out(await describeJoin(here, there, options.showSecrets === true));
        return;
      }
      const ledger = new Ledger((line) => terminal.out(`${printable(line)}\n`));
      await joinClusters(here, there, ledger);
      terminal.out(closing(here.name, there.name, ledger));
    });
}

function closing(name: string, peer: string, ledger: Ledger): string {
  return ledger.changes === 0
    ? `${name} and ${peer} are joined already: nothing changed (${ledger.summary()})\n`
    : `joined ${name} and ${peer}: ${ledger.summary()}\n`;
}
