import { Command } from 'commander';
import { type ConfigOptions, configOption, jsonOption, printJson } from './options.ts';
import type { Terminal } from './terminal.ts';

export function configCheckCommand(terminal: Terminal): Command {
  return new Command('check')
    .summary('say whether a configuration file is valid')
    .description(
      'Says whether a configuration file is valid, and else everything that is wrong with it, one line each: file:line:column: field: what was expected. Exit code 2 when it is not.',
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .action(async ({ config: file, json }: ConfigOptions) => {
      // zod and yaml take 25 MB and 100 ms, which the commands that only talk to a gateway can do without.
      const { loadConfig } = await import('../config/load.ts');
      const { ConfigError } = await import('../config/problem.ts');
      try {
        const { config } = loadConfig(file);
        if (json === true) printJson(terminal, { ok: true, file, problems: [] });
        else terminal.out(`${file}: valid, ${summary(config)}\n`);
      } catch (error) {
        if (json !== true || !(error instanceof ConfigError)) throw error;
        printJson(terminal, { ok: false, file, problems: error.problems });
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

function plural(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`;
}
