import { Command } from 'commander';
import { GatewayError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { leaveCluster } from '../join/leave.ts';
import { Ledger } from '../join/ledger.ts';
import { addPlaceOptions, openApi, optionsOf, readName } from './join-options.ts';
import type { Terminal } from './terminal.ts';

export function leaveCommand(terminal: Terminal): Command {
  const command = new Command('leave')
    .summary('undo joining two Kubernetes clusters')
    .description(
      'Removes what join made for the other cluster, and nothing else: here, and there too where a kubeconfig or context of it is given. Routes to it go with the objects.',
    );
  addPlaceOptions(command, '', 'our cluster');
  addPlaceOptions(command, 'peer-', 'the other cluster');
  return command.action(async (options: Record<string, unknown>) => {
    const [ours, theirs] = [optionsOf(options, ''), optionsOf(options, 'peer-')];
    const [name, peer] = [readName(ours.name, '--name'), readName(theirs.name, '--peer-name')];
    if (name === peer) {
      throw new GatewayError('ISTHMUS_ERR_USAGE', `both clusters are called "${name}"`);
    }
    const both = theirs.kubeconfig !== undefined || theirs.context !== undefined;
    const here = await openApi(ours);
    const there = both ? await openApi(theirs, ours.kubeconfig) : undefined;
    const ledger = new Ledger((line) => terminal.out(`${printable(line)}\n`));
    await leaveCluster({ name, api: here, peer }, ledger);
    if (there !== undefined) await leaveCluster({ name: peer, api: there, peer: name }, ledger);
    terminal.out(
      ledger.changes === 0
        ? `${name} and ${peer} are not joined: nothing changed\n`
        : `${name} has left ${peer}: ${ledger.summary()}\n`,
    );
    if (both) return;
    const still = `${peer} still has what it was given`;
    terminal.out(
      `${ledger.changes === 0 ? `if ${still},` : `${still};`} there: isthmus leave --name ${peer} --peer-name ${name}\n`,
    );
  });
}
