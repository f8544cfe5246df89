import { Command } from 'commander';
import type { RefusedRow, RouteRow } from '../admin/view.ts';
import { ago } from './human.ts';
import { type AdminOptions, adminOption, clientOf, jsonOption, printJson } from './options.ts';
import { type Column, formatTable } from './table.ts';
import type { Terminal } from './terminal.ts';

interface RoutesOptions extends AdminOptions {
  readonly refused?: boolean;
  readonly cluster?: string;
}

export function routesCommand(terminal: Terminal): Command {
  return new Command('routes')
    .summary('list the routes to remote clusters')
    .description(
      'Lists the routes to remote clusters, or with --refused the claims that made no route and why.',
    )
    .option('--refused', 'list the claims that made no route')
    .option('--cluster <name>', 'only those of one cluster')
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (options: RoutesOptions) => {
      const client = clientOf(options);
      const query = { cluster: options.cluster };
      if (options.refused === true) {
        const rows = await client.get<RefusedRow[]>('/api/v1/routes/refused', query);
        if (options.json === true) printJson(terminal, rows);
        else terminal.out(formatRefused(terminal, rows));
        return;
      }
      const rows = await client.get<RouteRow[]>('/api/v1/routes', query);
      if (options.json === true) printJson(terminal, rows);
      else terminal.out(formatRoutes(terminal, rows, Date.now()));
    });
}

export function formatRoutes(terminal: Terminal, rows: readonly RouteRow[], nowMs: number): string {
  if (rows.length === 0 && terminal.isTty) return 'no routes\n';
  const columns: readonly Column<RouteRow>[] = [
    { title: 'CIDR', cell: ({ cidr }) => cidr },
    { title: 'CLUSTER', cell: ({ cluster }) => cluster },
    {
      title: 'GATEWAYS',
      cell: ({ gateways }) => gateways.map(gatewayText).join(','),
      style: ({ gateways }) => (gateways.some(({ alive }) => !alive) ? 'red' : undefined),
    },
    {
      title: 'STATE',
      cell: ({ stale }) => (stale ? 'stale' : 'fresh'),
      style: ({ stale }) => (stale ? 'yellow' : undefined),
    },
    { title: 'SINCE', cell: ({ since }) => ago(terminal, since, nowMs) },
    { title: 'SHADOWS', cell: ({ shadows }) => shadows ?? '-' },
    { title: 'ORIGINS', cell: ({ origins }) => origins.join(','), isFlexible: true },
  ];
  return formatTable(terminal, columns, rows);
}

/** `172.31.0.2`, with `*3` for a weight other than 1 and `(unused)` when no flows go there. */
function gatewayText({ address, weight, alive }: RouteRow['gateways'][number]): string {
  return `${address}${weight === 1 ? '' : `*${weight}`}${alive ? '' : '(unused)'}`;
}

const REFUSED_COLUMNS: readonly Column<RefusedRow>[] = [
  { title: 'CIDR', cell: ({ cidr }) => cidr },
  { title: 'CLUSTER', cell: ({ cluster }) => cluster },
  { title: 'SOURCE', cell: ({ source }) => source },
  { title: 'ID', cell: ({ id }) => id },
  { title: 'REASON', cell: ({ reason }) => reason },
  { title: 'DETAIL', cell: ({ detail }) => detail, isFlexible: true },
];

export function formatRefused(terminal: Terminal, rows: readonly RefusedRow[]): string {
  if (rows.length === 0 && terminal.isTty) return 'no claim is refused\n';
  return formatTable(terminal, REFUSED_COLUMNS, rows);
}
