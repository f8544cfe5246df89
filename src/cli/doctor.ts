import { Command } from 'commander';
import type { PeerRow, Status } from '../admin/view.ts';
import { milliseconds, plural } from './human.ts';
import { type AdminOptions, adminOption, clientOf, jsonOption, printJson } from './options.ts';
import { type Column, formatTable } from './table.ts';
import type { Terminal } from './terminal.ts';

/** One thing that was looked at. */
interface Finding {
  readonly what: string;
  readonly ok: boolean;
  /** What is so, and where it is not ok, what to do. */
  readonly text: string;
}

export function doctorCommand(terminal: Terminal): Command {
  return new Command('doctor')
    .summary('find out what keeps packets from getting through')
    .description(
      'Asks the running gateway what it knows of itself, of its host and of each gateway that it probes, and says what is wrong and what to do. Ends with 1 when anything is.',
    )
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (options: AdminOptions) => {
      const client = clientOf(options);
      const status = await client.get<Status>('/api/v1/status');
      const peers = await client.get<PeerRow[]>('/api/v1/peers');
      const findings = diagnose(status, peers);
      if (options.json === true) printJson(terminal, findings);
      else terminal.out(formatFindings(terminal, findings));
      if (findings.some(({ ok }) => !ok)) process.exitCode = 1;
    });
}

export function diagnose(status: Status, peers: readonly PeerRow[]): Finding[] {
  const { tunnel, underlay, counts } = status;
  const { routes } = counts;
  const workers = plural(tunnel.workers, 'packet worker');
  const isRunning = (status.state === 'ok' || status.state === 'degraded') && tunnel.workers > 0;
  return [
    {
      what: 'gateway',
      ok: isRunning,
      text: `${status.state === 'degraded' ? 'forwarding' : status.state}, ${workers}, ${underlay.address} on ${underlay.device}`,
    },
    {
      what: 'routes',
      ok: routes > 0,
      text: routes > 0 ? `${routes}` : 'none: no source names a remote cluster, see isthmus clusters',
    },
    ...peers.map((peer) => ofPeer(peer, tunnel)),
    // What concerns one gateway has been said.
    ...status.problems
      .filter((problem) => !peers.some(({ address }) => problem.startsWith(`gateway ${address} `)))
      .map((problem) => ({ what: 'problem', ok: false, text: problem })),
  ];
}

function ofPeer(
  { address, clusters, health, pathMtuBytes, lastError }: PeerRow,
  tunnel: Status['tunnel'],
): Finding {
  const what = `${address} (${clusters.join(', ')})`;
  const said = lastError === null ? '' : `; last ICMP: ${lastError}`;
  if (health.answersPlainOnly) {
    return { what, ok: false, text: blockedText(tunnel) };
  }
  if (!health.isProbed) return { what, ok: true, text: `not probed (health.probes: off)${said}` };
  switch (health.state) {
    case 'alive': {
      const by = health.answers === 'isthmus' ? 'answers' : 'forwards what is addressed back to us';
      const roundTrip = health.roundTripMs === null ? '' : `, ${milliseconds(health.roundTripMs)}`;
      return { what, ok: true, text: `${by}${roundTrip}, path MTU ${pathMtuBytes}` };
    }
    case 'recovering':
      return { what, ok: true, text: 'answers again, and gets its flows back soon' };
    case 'dead':
      return {
        what,
        ok: false,
        text: `does not answer any more, neither in the tunnel nor by plain UDP${said}`,
      };
    default:
      return {
        what,
        ok: false,
        text: `never answered a probe, neither in the tunnel nor by plain UDP: it is down, cannot be reached, does not know us, or cannot answer (docs/health.md)${said}`,
      };
  }
}

function blockedText({ udpPort }: Status['tunnel']): string {
  return udpPort === null
    ? 'UDP gets there and back, IP protocol 4 does not: a firewall, a security group or the network drops it; open it, or set tunnel.encapsulation: fou on both gateways; docs/troubleshooting.md, "Protocol 4 is blocked"'
    : `other UDP gets there and back, but nothing in the tunnel, which is fou: UDP port ${udpPort} or the port of that gateway is dropped on the way, or it does not take fou there; docs/troubleshooting.md, "Protocol 4 is blocked"`;
}

export function formatFindings(terminal: Terminal, findings: readonly Finding[]): string {
  const columns: readonly Column<Finding>[] = [
    { title: 'WHAT', cell: ({ what }) => what },
    {
      title: 'STATE',
      cell: ({ ok }) => (ok ? 'ok' : 'wrong'),
      style: ({ ok }) => (ok ? 'green' : 'red'),
    },
    { title: 'WHY', cell: ({ text }) => text },
  ];
  return formatTable(terminal, columns, findings);
}
