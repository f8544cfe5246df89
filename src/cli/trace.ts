import { Command, InvalidArgumentError, Option } from 'commander';
import type { Trace } from '../admin/view.ts';
import { formatAddress, parseIpAddress } from '../base/address.ts';
import { GatewayError, messageOf } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { percent } from './human.ts';
import { type AdminOptions, adminOption, clientOf, jsonOption, printJson, wholeNumber } from './options.ts';
import { formatRefused } from './routes.ts';
import { formatPairs, formatTable } from './table.ts';
import { type Style, styled, type Terminal } from './terminal.ts';

interface TraceOptions extends AdminOptions {
  readonly source?: string;
  readonly protocol?: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

export function traceCommand(terminal: Terminal): Command {
  return new Command('trace')
    .summary('tell what becomes of a packet to an address')
    .description(
      'Tells what becomes of a packet to an address: which prefix, cluster and gateway, the path MTU, and why not where not. With --source, the gateway of exactly that flow. Exit code 1 when the tunnel carries it nowhere.',
    )
    .argument('<address>', 'inner destination', overlayAddress)
    .addOption(new Option('--source <address>', 'inner source').argParser(overlayAddress))
    .addOption(new Option('--protocol <name>', 'tcp, udp, icmp or a number').argParser(protocol))
    .addOption(new Option('--source-port <n>', 'source port').argParser(wholeNumber(0, 65_535)))
    .addOption(new Option('--destination-port <n>', 'destination port').argParser(wholeNumber(0, 65_535)))
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (destination: string, options: TraceOptions) => {
      const { source, protocol, sourcePort, destinationPort } = options;
      const flow = { protocol, sourcePort, destinationPort };
      if (source === undefined && Object.values(flow).some((value) => value !== undefined)) {
        throw new GatewayError(
          'ISTHMUS_ERR_USAGE',
          'a protocol or port makes a flow only together with --source',
        );
      }
      const query = { destination, source, ...flow };
      const trace = await clientOf(options).get<Trace>('/api/v1/trace', query);
      if (options.json === true) printJson(terminal, trace);
      else terminal.out(formatTrace(terminal, trace));
      if (trace.verdict === 'unreachable') process.exitCode = 1;
    });
}

function overlayAddress(text: string): string {
  try {
    return formatAddress(parseIpAddress(text));
  } catch (error) {
    throw new InvalidArgumentError(`${messageOf(error)}.`);
  }
}

function protocol(text: string): string {
  if (['tcp', 'udp', 'icmp'].includes(text) || (/^\d{1,3}$/.test(text) && Number(text) <= 255)) return text;
  throw new InvalidArgumentError('Expected tcp, udp, icmp or a number from 0 to 255.');
}

const VERDICT_STYLES: Record<Trace['verdict'], Style> = {
  remote: 'green',
  local: 'green',
  unreachable: 'red',
};

export function formatTrace(terminal: Terminal, trace: Trace): string {
  const verdict = styled(terminal, VERDICT_STYLES[trace.verdict], trace.verdict);
  const sections = [
    `${styled(terminal, 'bold', trace.destination)}: ${verdict}\n${printable(trace.reason)}\n`,
  ];
  if (trace.cidr !== null) sections.push(formatPairs(terminal, factsOf(trace)));
  if (trace.gateways.length > 0) {
    sections.push(
      formatTable(
        terminal,
        [
          { title: 'GATEWAY', cell: ({ address }) => address },
          { title: 'WEIGHT', cell: ({ weight }) => String(weight), align: 'right' },
          {
            title: 'IN-USE',
            cell: ({ alive }) => (alive ? 'yes' : 'no'),
            style: ({ alive }) => (alive ? 'green' : 'red'),
          },
          { title: 'PATH-MTU', cell: ({ pathMtuBytes }) => String(pathMtuBytes), align: 'right' },
          { title: 'SHARE', cell: ({ share }) => percent(share), align: 'right' },
        ],
        trace.gateways,
      ),
    );
  }
  if (trace.candidates.length > 0) {
    sections.push(
      formatTable(
        terminal,
        [
          { title: 'CANDIDATE', cell: ({ cidr }) => cidr },
          { title: 'CLUSTER', cell: ({ cluster }) => cluster },
          { title: 'USED', cell: ({ used }) => (used ? 'yes' : 'no') },
          { title: 'WHY', cell: ({ why }) => why, isFlexible: true },
        ],
        trace.candidates,
      ),
    );
  }
  if (trace.refused.length > 0) {
    sections.push(
      `${styled(terminal, 'bold', 'refused claims that would hold it')}\n${formatRefused(terminal, trace.refused)}`,
    );
  }
  return sections.join('\n');
}

function factsOf(trace: Trace): [string, string][] {
  const facts: [string, string][] = [['prefix', trace.cidr ?? '']];
  if (trace.cluster !== null) facts.push(['cluster', trace.cluster]);
  if (trace.gateway !== null) facts.push(['gateway', trace.gateway]);
  else if (trace.gateways.length > 1) {
    facts.push(['gateway', 'depends on the flow; name one with --source, --protocol and the ports']);
  }
  if (trace.innerMtuBytes !== null) facts.push(['inner MTU', String(trace.innerMtuBytes)]);
  return facts;
}
