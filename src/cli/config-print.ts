import { Command } from 'commander';
import { type ConfigOptions, configOption, jsonOption, printJson } from './options.ts';
import type { Terminal } from './terminal.ts';

export function configPrintCommand(terminal: Terminal): Command {
  return new Command('print')
    .summary('show a configuration with every default')
    .description(
      'Shows a configuration with every default filled in, as YAML that is itself a valid configuration.',
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .action(async ({ config: file, json }: ConfigOptions) => {
      const { loadConfig } = await import('../config/load.ts');
      const { plainConfig, printConfig } = await import('../config/print.ts');
      const { config } = loadConfig(file);
      if (json === true) printJson(terminal, plainConfig(config));
      else terminal.out(printConfig(config));
    });
}
