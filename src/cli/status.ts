import { Command } from 'commander';
import type { ClusterRow, SourceRow, Status, StreamRow } from '../admin/view.ts';
import { printable } from '../base/printable.ts';
import { ago, bytes, count, duration, plural } from './human.ts';
import { type AdminOptions, adminOption, clientOf, jsonOption, printJson } from './options.ts';
import { type Column, formatPairs, formatTable } from './table.ts';
import { type Style, styled, type Terminal } from './terminal.ts';

export function statusCommand(terminal: Terminal): Command {
  return new Command('status')
    .summary('show the state of the running gateway')
    .description(
      'Shows the state of the running gateway: what is wrong, remote clusters, sources, traffic and drops.',
    )
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (options: AdminOptions) => {
      const status = await clientOf(options).get<Status>('/api/v1/status');
      if (options.json === true) printJson(terminal, status);
      else terminal.out(formatStatus(terminal, status, Date.now()));
    });
}

const STATE_STYLES: Record<Status['state'], Style> = {
  starting: 'yellow',
  ok: 'green',
  degraded: 'red',
  stopping: 'yellow',
};

export function formatStatus(terminal: Terminal, status: Status, nowMs: number): string {
  const sections = [
    overview(terminal, status, nowMs),
    list(terminal, 'problems', status.problems),
    table(terminal, CLUSTER_COLUMNS, status.clusters),
    table(terminal, sourceColumns(terminal, nowMs), status.sources),
    table(terminal, streamColumns(terminal, nowMs), status.streams),
    traffic(terminal, status),
    drops(terminal, status),
    list(
      terminal,
      'conflicts',
      status.conflicts.map(
        ({ cidr, cluster, claimedBy, detail }) =>
          `${cidr} of ${cluster}, also claimed by ${claimedBy}: ${detail}`,
      ),
      status.counts.conflicts,
    ),
    list(
      terminal,
      'shadows',
      status.shadows.map(
        ({ cidr, cluster, within, withinCluster }) =>
          `${cidr} of ${cluster} lies in ${within} of ${withinCluster}`,
      ),
      status.counts.shadows,
    ),
  ];
  return sections.filter((section) => section !== '').join('\n');
}

function overview(terminal: Terminal, status: Status, nowMs: number): string {
  const { underlay, tunnel, configuration, counts, fib } = status;
  const state = styled(terminal, STATE_STYLES[status.state], status.state);
  const restarts = tunnel.workerRestarts === 0 ? '' : `, restarted ${plural(tunnel.workerRestarts, 'time')}`;
  const heading = `${styled(terminal, 'bold', printable(status.cluster))}: ${state}, isthmus ${status.version}, up ${duration(terminal, status.uptimeSeconds)}${terminal.isTty ? '' : ' s'}\n`;
  return `${heading}${formatPairs(terminal, [
    [
      'underlay',
      `${underlay.address} on ${underlay.device}, MTU ${underlay.mtuBytes}, socket ${underlay.socket}${transmitText(status)}`,
    ],
    [
      'tunnel',
      `${tunnel.device}, ${tunnel.address === null ? 'no address' : tunnel.address}, MTU ${tunnel.mtuBytes}, ${encapsulationText(tunnel)}, ${tunnel.engine} engine, ${plural(tunnel.workers, 'worker')}${restarts}`,
    ],
    ['local', status.local.join(', ')],
    ['configuration', configurationText(terminal, configuration, nowMs)],
    [
      'table',
      `${plural(count(terminal, counts.routes), 'route')}, ${plural(count(terminal, counts.peers), 'peer')}, ${counts.refused} refused, ${plural(counts.conflicts, 'conflict')}, ${plural(counts.shadows, 'shadow')}`,
    ],
    [
      'fib',
      `${plural(count(terminal, fib.prefixes), 'prefix', 'prefixes')} in ${bytes(terminal, fib.bytesUsed)} of ${bytes(terminal, fib.bytesCapacity)}${terminal.isTty ? '' : ' bytes'}, epoch ${fib.epoch}, last publication ${fib.lastPublishMs.toFixed(2)} ms`,
    ],
  ])}`;
}

function encapsulationText({ encapsulation, udpPort }: Status['tunnel']): string {
  return udpPort === null ? encapsulation : `${encapsulation} by UDP port ${udpPort}`;
}

/** Says nothing of what is the default. */
function transmitText({ underlay: { transmit, peersByPacket }, counts }: Status): string {
  return transmit === 'raw' ? '' : `, transmit packet (${peersByPacket} of ${plural(counts.peers, 'peer')})`;
}

function configurationText(
  terminal: Terminal,
  { file, loadedAt, lastReload }: Status['configuration'],
  nowMs: number,
): string {
  const loaded = `${file}, loaded ${ago(terminal, loadedAt, nowMs)}`;
  if (lastReload === null || lastReload.ok) return loaded;
  return `${loaded}; reload failed ${ago(terminal, lastReload.at, nowMs)}: ${lastReload.error ?? 'no reason given'}`;
}

/** `all` is how many there are where the gateway sends only the first. */
function list(terminal: Terminal, title: string, lines: readonly string[], all = lines.length): string {
  if (lines.length === 0) return '';
  const more = all > lines.length ? `  and ${all - lines.length} more\n` : '';
  return `${styled(terminal, 'bold', title)}\n${lines.map((line) => `  ${printable(line)}\n`).join('')}${more}`;
}

function table<Row>(terminal: Terminal, columns: readonly Column<Row>[], rows: readonly Row[]): string {
  return rows.length === 0 ? '' : formatTable(terminal, columns, rows);
}

const CLUSTER_COLUMNS: readonly Column<ClusterRow>[] = [
  { title: 'CLUSTER', cell: ({ name }) => name },
  { title: 'ROUTES', cell: ({ routes }) => String(routes), align: 'right' },
  { title: 'GATEWAYS', cell: ({ gateways }) => String(gateways), align: 'right' },
  {
    title: 'IN-USE',
    cell: ({ gatewaysAlive }) => String(gatewaysAlive),
    align: 'right',
    style: ({ gateways, gatewaysAlive }) => (gatewaysAlive < gateways ? 'red' : undefined),
  },
  {
    title: 'STATE',
    cell: ({ stale }) => (stale ? 'stale' : 'fresh'),
    style: ({ stale }) => (stale ? 'yellow' : undefined),
  },
];

function sourceColumns(terminal: Terminal, nowMs: number): readonly Column<SourceRow>[] {
  return [
    { title: 'SOURCE', cell: ({ name }) => name },
    {
      title: 'STATE',
      cell: ({ state }) => state,
      style: ({ state }) => (state === 'fresh' ? undefined : 'yellow'),
    },
    { title: 'CLAIMS', cell: ({ claims }) => String(claims), align: 'right' },
    { title: 'REFUSED', cell: ({ refused }) => String(refused), align: 'right' },
    { title: 'HELD', cell: ({ held }) => String(held?.claims ?? 0), align: 'right' },
    {
      title: 'UPDATED',
      cell: ({ lastUpdateAt }) => (lastUpdateAt === null ? 'never' : ago(terminal, lastUpdateAt, nowMs)),
    },
    { title: 'REASON', cell: ({ reason }) => reason ?? '', isFlexible: true },
  ];
}

function streamColumns(terminal: Terminal, nowMs: number): readonly Column<StreamRow>[] {
  return [
    { title: 'WATCHED BY', cell: ({ source }) => source },
    { title: 'RESOURCE', cell: ({ resource }) => resource },
    {
      title: 'STATE',
      cell: ({ phase }) => phase,
      style: ({ phase }) => (phase === 'watching' || phase === 'absent' ? undefined : 'yellow'),
    },
    { title: 'OBJECTS', cell: ({ objects }) => String(objects), align: 'right' },
    {
      title: 'LAST WORD',
      cell: ({ lastEventAt }) => (lastEventAt === null ? 'never' : ago(terminal, lastEventAt, nowMs)),
    },
    {
      title: 'RELISTS',
      cell: ({ lists: { start: _start, ...again } }) =>
        String(Object.values(again).reduce((all, count) => all + count, 0)),
      align: 'right',
    },
    { title: 'ERRORS', cell: ({ errors }) => String(errors), align: 'right' },
    { title: 'PROBLEM', cell: ({ problem }) => problem ?? '', isFlexible: true },
  ];
}

function sum(drops: Record<string, number>): number {
  return Object.values(drops).reduce((total, packets) => total + packets, 0);
}

function traffic(terminal: Terminal, { traffic: { outbound, inbound } }: Status): string {
  const rows = [
    { direction: 'outbound', ...outbound },
    { direction: 'inbound', ...inbound },
  ];
  return formatTable(
    terminal,
    [
      { title: 'TRAFFIC', cell: ({ direction }) => direction },
      { title: 'PACKETS', cell: ({ packets }) => count(terminal, packets), align: 'right' },
      { title: 'BYTES', cell: (row) => bytes(terminal, row.bytes), align: 'right' },
      { title: 'DROPPED', cell: (row) => count(terminal, sum(row.drops)), align: 'right' },
    ],
    rows,
  );
}

function drops(terminal: Terminal, { traffic: { outbound, inbound } }: Status): string {
  const rows = [
    ...Object.entries(outbound.drops).map(([reason, packets]) => ({
      reason,
      direction: 'outbound',
      packets,
    })),
    ...Object.entries(inbound.drops).map(([reason, packets]) => ({ reason, direction: 'inbound', packets })),
  ].filter(({ packets }) => packets > 0);
  return table(
    terminal,
    [
      { title: 'DROPPED', cell: ({ direction }) => direction },
      { title: 'REASON', cell: ({ reason }) => reason },
      { title: 'PACKETS', cell: ({ packets }) => count(terminal, packets), align: 'right' },
    ],
    rows,
  );
}
