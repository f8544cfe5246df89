import { setFlagsFromString } from 'node:v8';
import { Command } from 'commander';
import { type ConfigOptions, configOption } from './options.ts';

/**
 * By how many percent V8 lets the heap grow past what is alive before it collects again. By itself it waits for a multiple, and then an
 * idle gateway never returns what reading its sources left behind: with 100,000 routes 301 MiB stayed resident, with 20 % it is 213, and
 * the start takes 2.9 s instead of 2.4 (bench/memory.ts). Packets are not slowed, workers make no garbage.
 */
const HEAP_GROWTH_PERCENT = 20;

export function runCommand(): Command {
  return new Command('run')
    .summary('run the gateway in the foreground')
    .description(
      'Runs the gateway in the foreground until SIGTERM or SIGINT; SIGHUP reads the configuration again. Logs JSON lines to stdout.',
    )
    .addOption(configOption())
    .action(async ({ config }: ConfigOptions) => {
      setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
      // Loaded only here: the other commands start faster without the native addon and the workers' code.
      const { runGateway } = await import('../gateway.ts');
      await runGateway(config);
    });
}
