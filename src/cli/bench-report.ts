import { Command } from 'commander';
import { readSavedResult } from '../measure/report/saved-result.ts';
import { type ShowOptions, showBench, showOptions } from './bench-show.ts';
import type { Terminal } from './terminal.ts';

export function benchReportCommand(terminal: Terminal): Command {
  const command = new Command('report')
    .summary('show a saved result again')
    .description(
      'Shows a result that --json has written: the table, and with --report the HTML page. Nothing is measured.',
    )
    .argument('<file>', 'what isthmus bench … --json has printed');
  for (const option of showOptions()) command.addOption(option);
  return command.action((file: string, options: ShowOptions) =>
    showBench(terminal, readSavedResult(file), options),
  );
}
