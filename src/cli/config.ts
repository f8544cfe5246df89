import { Command } from 'commander';
import { configCheckCommand } from './config-check.ts';
import { configPrintCommand } from './config-print.ts';
import { configSchemaCommand } from './config-schema.ts';
import type { Terminal } from './terminal.ts';

export function configCommand(terminal: Terminal): Command {
  return new Command('config')
    .summary('check and show a configuration file')
    .description('Checks and shows a configuration file; needs no running gateway.')
    .addCommand(configCheckCommand(terminal))
    .addCommand(configPrintCommand(terminal))
    .addCommand(configSchemaCommand(terminal));
}
