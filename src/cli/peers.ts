import { Command } from 'commander';
import type { PeerRow } from '../admin/view.ts';
import { bytes, count, milliseconds, percent } from './human.ts';
import { type AdminOptions, adminOption, clientOf, jsonOption, printJson } from './options.ts';
import { type Column, formatTable } from './table.ts';
import type { Terminal } from './terminal.ts';

export function peersCommand(terminal: Terminal): Command {
  return new Command('peers')
    .summary('list the gateways that packets are exchanged with')
    .description(
      'Lists the gateways that packets are exchanged with: whether flows are sent to them, whether it answers probes and how fast, path MTU, traffic and drops. One that never answered a probe is unknown: with "health.probes: auto" it is in use, since not every gateway can answer.',
    )
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (options: AdminOptions) => {
      const rows = await clientOf(options).get<PeerRow[]>('/api/v1/peers');
      if (options.json === true) printJson(terminal, rows);
      else terminal.out(formatPeers(terminal, rows));
    });
}

export function formatPeers(terminal: Terminal, rows: readonly PeerRow[]): string {
  if (rows.length === 0 && terminal.isTty) return 'no gateway is known\n';
  const number = (title: string, cell: (row: PeerRow) => string): Column<PeerRow> => ({
    title,
    cell,
    align: 'right',
  });
  const columns: readonly Column<PeerRow>[] = [
    { title: 'PEER', cell: ({ address }) => address },
    { title: 'CLUSTERS', cell: ({ clusters }) => clusters.join(',') },
    {
      title: 'IN-USE',
      cell: ({ alive }) => (alive ? 'yes' : 'no'),
      style: ({ alive }) => (alive ? 'green' : 'red'),
    },
    {
      title: 'HEALTH',
      cell: ({ health }) => health.state,
      style: ({ health: { state } }) =>
        state === 'alive' ? 'green' : state === 'unknown' ? undefined : 'red',
    },
    number('RTT', ({ health }) => (health.roundTripMs === null ? '' : milliseconds(health.roundTripMs))),
    number('LOSS', ({ health }) => (health.loss === null ? '' : percent(health.loss))),
    number('PATH-MTU', ({ pathMtuBytes }) => String(pathMtuBytes)),
    { title: 'FROM', cell: ({ pathMtuSource }) => pathMtuSource },
    { title: 'BY', cell: ({ transmit }) => transmit },
    number('OUT-PACKETS', ({ outbound }) => count(terminal, outbound.packets)),
    number('OUT-BYTES', ({ outbound }) => bytes(terminal, outbound.bytes)),
    number('OUT-DROPS', ({ outbound }) => count(terminal, outbound.drops)),
    number('IN-PACKETS', ({ inbound }) => count(terminal, inbound.packets)),
    number('IN-BYTES', ({ inbound }) => bytes(terminal, inbound.bytes)),
    number('IN-DROPS', ({ inbound }) => count(terminal, inbound.drops)),
    { title: 'LAST-ERROR', cell: ({ lastError }) => lastError ?? '', isFlexible: true },
  ];
  return formatTable(terminal, columns, rows);
}
