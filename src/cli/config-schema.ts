import { Command } from 'commander';
import { jsonOption, printJson } from './options.ts';
import type { Terminal } from './terminal.ts';

export function configSchemaCommand(terminal: Terminal): Command {
  return new Command('schema')
    .summary('print the JSON Schema of the configuration file')
    .description(
      'Prints the JSON Schema of the configuration file, for editors that complete and check YAML.',
    )
    .addOption(jsonOption())
    .action(async () => {
      const { configJsonSchema } = await import('../config/print.ts');
      printJson(terminal, configJsonSchema());
    });
}
