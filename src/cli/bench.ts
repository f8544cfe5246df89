import { Command } from 'commander';
import { benchLocalCommand } from './bench-local.ts';
import { benchReportCommand } from './bench-report.ts';
import { benchRunCommand } from './bench-run.ts';
import { benchServeCommand } from './bench-serve.ts';
import type { Terminal } from './terminal.ts';

export function benchCommand(terminal: Terminal): Command {
  return new Command('bench')
    .summary('measure throughput, packet rate and latency')
    .description(
      'Measures what Isthmus carries (TCP, packets a second, round trips, processor time), beside plain forwarding and kernel tunnels in the same run.',
    )
    .addCommand(benchLocalCommand(terminal))
    .addCommand(benchRunCommand(terminal))
    .addCommand(benchServeCommand(terminal))
    .addCommand(benchReportCommand(terminal));
}
