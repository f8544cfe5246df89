import { Command } from 'commander';
import { plural } from './human.ts';
import { type ConfigOptions, configOption, jsonOption, printJson } from './options.ts';
import type { Terminal } from './terminal.ts';

export function configCheckCommand(terminal: Terminal): Command {
  return new Command('check')
    .summary('say whether a configuration file is valid')
    .description(
      'Says whether a configuration file is valid, and else everything that is wrong with it, one line each: file:line:column: field: what was expected. Exit code 2 when it is not. Warnings about what is valid but cannot work go to stderr and leave the exit code 0.',
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .action(async ({ config: file, json }: ConfigOptions) => {
      // zod and yaml take 25 MB and 100 ms, which the commands that only talk to a gateway can do without.
      const { loadConfig } = await import('../config/load.ts');
      const { ConfigError, formatProblem } = await import('../config/problem.ts');
      const { warningsAbout } = await import('./config-warnings.ts');
      try {
        const loaded = loadConfig(file);
        const warnings = warningsAbout(loaded, file);
        if (json === true) printJson(terminal, { ok: true, file, problems: [], warnings });
        else {
          for (const warning of warnings)
            terminal.error(`${formatProblem({ ...warning, message: `warning: ${warning.message}` })}\n`);
          terminal.out(`${file}: valid, ${summary(loaded.config)}\n`);
        }
      } catch (error) {
        if (json !== true || !(error instanceof ConfigError)) throw error;
        printJson(terminal, { ok: false, file, problems: error.problems, warnings: [] });
        process.exitCode = error.exitCode;
      }
    });
}

interface Summarized {
  readonly cluster: { readonly name: string };
  readonly clusters: readonly { readonly cidrs: readonly unknown[] }[];
  readonly watch: readonly unknown[];
}

function summary({ cluster, clusters, watch }: Summarized): string {
  const cidrs = clusters.reduce((sum, each) => sum + each.cidrs.length, 0);
  return `cluster ${cluster.name}, ${plural(clusters.length, 'static remote cluster')} with ${plural(cidrs, 'CIDR')}, ${plural(watch.length, 'watched source')}`;
}
