import { Command } from 'commander';
import { type ConfigOptions, configOption } from './options.ts';

export function runCommand(): Command {
  return new Command('run')
    .summary('run the gateway in the foreground')
    .description(
      'Runs the gateway in the foreground until SIGTERM or SIGINT; SIGHUP reads the configuration again. Logs JSON lines to stdout.',
    )
    .addOption(configOption())
    .action(async ({ config }: ConfigOptions) => {
      // Loaded only here: the other commands start faster without the native addon and the workers' code.
      const { runGateway } = await import('../gateway.ts');
      await runGateway(config);
    });
}
