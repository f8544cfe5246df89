import { Command } from 'commander';
import type { ReloadResult, Status } from '../admin/view.ts';
import { ERROR_CODES } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { plural } from './human.ts';
import { type AdminOptions, adminOption, clientOf, jsonOption, printJson } from './options.ts';
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
      const client = clientOf(options);
      const result = await client.reload();
      if (options.json === true) printJson(terminal, result);
      else if (result.ok) {
        const status = await client.get<Status>('/api/v1/status');
        terminal.out(formatReload(terminal, result, status));
      } else {
        const lines = (result.error ?? 'the gateway gave no reason').split('\n');
        terminal.error(lines.map((line) => `isthmus: ${printable(line)}\n`).join(''));
        terminal.error('isthmus: not reloaded; the old configuration stays in force\n');
      }
      if (!result.ok) process.exitCode = ERROR_CODES.ISTHMUS_ERR_CONFIG.exit;
    });
}

export function formatReload(
  terminal: Terminal,
  { changed, restartNeeded }: ReloadResult,
  { configuration, counts }: Status,
): string {
  const now = changed.filter((field) => !restartNeeded.includes(field));
  const since = terminal.isTty ? timeOfDay(configuration.loadedAt) : configuration.loadedAt;
  const lines =
    changed.length === 0
      ? // The gateway watches the file too, and has mostly been quicker than whoever types this.
        [`in force since ${since} (nothing changed by this reload)`]
      : [`reloaded: ${now.length === 0 ? 'nothing changed yet' : now.join(', ')}`, `in force since ${since}`];
  if (restartNeeded.length > 0) lines.push(`takes effect after a restart: ${restartNeeded.join(', ')}`);
  if (counts.refused > 0) {
    const verb = counts.refused === 1 ? 'is' : 'are';
    lines.push(`${plural(counts.refused, 'claim')} ${verb} refused, see isthmus routes --refused`);
  }
  return `${lines.join('\n')}\n`;
}

/** Local time, with the date where it is another day. */
function timeOfDay(time: string): string {
  const at = new Date(time);
  const isToday = at.toDateString() === new Date().toDateString();
  const clock = at.toTimeString().slice(0, 8);
  return isToday ? clock : `${time.slice(0, 10)} ${clock}`;
}
