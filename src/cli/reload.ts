import { Command } from 'commander';
import type { ReloadResult } from '../admin/view.ts';
import { ERROR_CODES } from '../base/errors.ts';
import { type AdminOptions, adminOption, clientOf, jsonOption, printJson } from './options.ts';
import { printable } from './table.ts';
import type { Terminal } from './terminal.ts';

export function reloadCommand(terminal: Terminal): Command {
  return new Command('reload')
    .summary('make the running gateway read its configuration file again')
    .description(
      'Makes the running gateway read its configuration file again. When the file is bad, the gateway keeps its old configuration, and this ends with exit code 2.',
    )
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (options: AdminOptions) => {
      const result = await clientOf(options).reload();
      if (options.json === true) printJson(terminal, result);
      else if (result.ok) terminal.out(formatReload(result));
      else {
        const lines = (result.error ?? 'the gateway gave no reason').split('\n');
        terminal.error(lines.map((line) => `isthmus: ${printable(line)}\n`).join(''));
        terminal.error('isthmus: not reloaded; the old configuration stays in force\n');
      }
      if (!result.ok) process.exitCode = ERROR_CODES.ISTHMUS_ERR_CONFIG.exit;
    });
}

export function formatReload({ changed, restartNeeded }: ReloadResult): string {
  const now = changed.filter((field) => !restartNeeded.includes(field));
  const lines = [
    changed.length === 0
      ? 'reloaded: nothing changed'
      : `reloaded: ${now.length === 0 ? 'nothing changed yet' : now.join(', ')}`,
  ];
  if (restartNeeded.length > 0) lines.push(`takes effect after a restart: ${restartNeeded.join(', ')}`);
  return `${lines.join('\n')}\n`;
}
