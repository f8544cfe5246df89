import { Command } from 'commander';
import type { ClusterDetail } from '../admin/view.ts';
import { ago } from './human.ts';
import { type AdminOptions, adminOption, clientOf, jsonOption, printJson } from './options.ts';
import { type Column, formatTable } from './table.ts';
import type { Style, Terminal } from './terminal.ts';

export function clustersCommand(terminal: Terminal): Command {
  return new Command('clusters')
    .summary('list the remote clusters that are joined, and how fresh they are')
    .description(
      'Lists the remote clusters: how fresh what is known of them is, routes, gateways in use and known, sources and problems. A cluster without routes is listed as soon as a source has heard of it.',
    )
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (options: AdminOptions) => {
      const rows = await clientOf(options).get<ClusterDetail[]>('/api/v1/clusters');
      if (options.json === true) printJson(terminal, rows);
      else terminal.out(formatClusters(terminal, rows, Date.now()));
    });
}

const STYLES: Readonly<Record<ClusterDetail['state'], Style>> = {
  fresh: 'green',
  stale: 'yellow',
  unreachable: 'red',
  'no-routes': 'red',
};

export function formatClusters(terminal: Terminal, rows: readonly ClusterDetail[], nowMs: number): string {
  if (rows.length === 0 && terminal.isTty) return 'no cluster is joined\n';
  const columns: readonly Column<ClusterDetail>[] = [
    { title: 'CLUSTER', cell: ({ name }) => name },
    { title: 'STATE', cell: ({ state }) => state, style: ({ state }) => STYLES[state] },
    { title: 'ROUTES', cell: ({ routes }) => String(routes), align: 'right' },
    {
      title: 'IN-USE',
      cell: ({ gateways, gatewaysAlive }) => `${gatewaysAlive}/${gateways}`,
      align: 'right',
    },
    {
      title: 'LAST-WORD',
      cell: ({ lastUpdateAt }) => (lastUpdateAt === null ? 'never' : ago(terminal, lastUpdateAt, nowMs)),
    },
    { title: 'SOURCES', cell: ({ sources, origin }) => sources.join(',') || origin || '-' },
    { title: 'PROBLEMS', cell: ({ problems }) => problems.join('; '), isFlexible: true },
  ];
  return formatTable(terminal, columns, rows);
}
