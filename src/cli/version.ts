import { Command } from 'commander';
import { readVersion } from '../observe/version.ts';
import { jsonOption, printJson } from './options.ts';
import type { Terminal } from './terminal.ts';

export function versionCommand(terminal: Terminal): Command {
  return new Command('version')
    .summary('print the version')
    .description('Prints the version of isthmus and of Node.')
    .addOption(jsonOption())
    .action(({ json }: { json?: boolean }) => {
      const version = readVersion();
      if (json === true)
        printJson(terminal, {
          version,
          node: process.version,
          platform: `${process.platform}-${process.arch}`,
        });
      else
        terminal.out(`isthmus ${version} (node ${process.version}, ${process.platform}-${process.arch})\n`);
    });
}
