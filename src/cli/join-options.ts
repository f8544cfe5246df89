import { type Command, Option } from 'commander';
import { type Cidr, parseAddress, parseCidr } from '../base/address.ts';
import { GatewayError } from '../base/errors.ts';
import { LOCAL } from '../config/cross-checks.ts';
import { ClusterApi } from '../join/cluster-api.ts';
import { logIn } from '../join/login.ts';
import { AGGREGATES, type GatewayChoice, type Side, SOURCES } from '../join/side.ts';
import { parseSelector } from '../watch/gateway-selection.ts';

/** Options of join, leave and grant. Those of the other cluster are called the same, with `peer-` before. */

export interface SideOptions {
  readonly name?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly server?: string;
  readonly gateways?: string;
  readonly podCidrs?: string;
  readonly serviceCidrs?: string;
  readonly source?: string;
  readonly aggregate?: string;
  readonly dnsDomain?: string;
}

const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const DEFAULT_DOMAIN = 'cluster.local';

/** Where a cluster is found: `prefix` is empty or `peer-`, `whose` completes the sentence. */
export function addPlaceOptions(command: Command, prefix: '' | 'peer-', whose: string): Command {
  return command
    .addOption(new Option(`--${prefix}name <name>`, `name of ${whose}`))
    .addOption(
      new Option(
        `--${prefix}kubeconfig <file>`,
        `kubeconfig of ${whose} (default: ${prefix === '' ? '$KUBECONFIG or ~/.kube/config' : 'as --kubeconfig'})`,
      ),
    )
    .addOption(
      new Option(`--${prefix}context <name>`, `context of that kubeconfig (default: its current one)`),
    );
}

/** What its API does not tell, or tells otherwise than it is meant. */
export function addSideOptions(command: Command, prefix: '' | 'peer-', whose: string): Command {
  return addPlaceOptions(command, prefix, whose)
    .addOption(
      new Option(
        `--${prefix}server <url>`,
        `URL of its API as gateways of the other reach it (default: that of the kubeconfig)`,
      ),
    )
    .addOption(
      new Option(
        `--${prefix}gateways <which>`,
        `its gateways: all nodes, objects (TunnelGateway), labels such as a=b,c, or addresses (default: all)`,
      ),
    )
    .addOption(
      new Option(`--${prefix}pod-cidrs <cidrs>`, `the range that its nodes get their pod CIDRs from`),
    )
    .addOption(
      new Option(`--${prefix}service-cidrs <cidrs>`, `its service CIDRs, where its API has no ServiceCIDRs`),
    )
    .addOption(
      new Option(
        `--${prefix}source <kind>`,
        `what tells where its pods are: ${SOURCES.join(', ')} (default: what is in use)`,
      ),
    )
    .addOption(
      new Option(
        `--${prefix}aggregate <how>`,
        'Calico: a route for each Pool, or each Block (default: Pool)',
      ),
    )
    .addOption(new Option(`--${prefix}dns-domain <domain>`, `its DNS domain (default: ${DEFAULT_DOMAIN})`));
}

/** The options of one side out of all: `peerName` becomes `name`. */
export function optionsOf(all: Readonly<Record<string, unknown>>, prefix: '' | 'peer-'): SideOptions {
  const names = [
    ...['name', 'kubeconfig', 'context', 'server', 'gateways'],
    ...['podCidrs', 'serviceCidrs', 'source', 'aggregate', 'dnsDomain'],
  ];
  const key = (name: string): string =>
    prefix === '' ? name : `peer${name.charAt(0).toUpperCase()}${name.slice(1)}`;
  return Object.fromEntries(
    names.map((name) => [name, all[key(name)]]).filter(([, value]) => value !== undefined),
  ) as SideOptions;
}

/** Throws ISTHMUS_ERR_USAGE. */
export function readName(name: string | undefined, option: string): string {
  if (name === undefined) throw usage(`${option} is missing: what is the cluster called?`);
  if (!NAME.test(name)) {
    throw usage(
      `${option} "${name}" is no name of a cluster: lower-case letters, digits and inner hyphens, 63 characters at most`,
    );
  }
  return name;
}

/** A name that is about to be given. What was joined under a bad one must still be able to leave, so `leave` does not ask this. */
export function readNewName(name: string | undefined, option: string): string {
  const read = readName(name, option);
  if (read === LOCAL) throw usage(`${option} "${LOCAL}" is what every gateway calls its own cluster`);
  return read;
}

/** Logs in. The peer's kubeconfig is ours where none is named. */
export async function openApi(options: SideOptions, fallback?: string): Promise<ClusterApi> {
  const kubeconfig = options.kubeconfig ?? fallback;
  return new ClusterApi(await logIn({ kubeconfig, context: options.context }));
}

/** One side as its options describe it, before anybody logs in: a plugin may ask a person for something. */
export function readSide(options: SideOptions, prefix: '' | 'peer-'): Omit<Side, 'api'> {
  const option = (name: string): string => `--${prefix}${name}`;
  return {
    name: readNewName(options.name, option('name')),
    server: options.server === undefined ? undefined : readServer(options.server, option('server')),
    gateways: readGateways(options.gateways ?? 'all', option('gateways')),
    podCidrs: readCidrs(options.podCidrs, option('pod-cidrs')),
    serviceCidrs: readCidrs(options.serviceCidrs, option('service-cidrs')),
    source: readWord(options.source, SOURCES, option('source')),
    aggregate: readWord(options.aggregate, AGGREGATES, option('aggregate')),
    dnsDomain: readDomain(options.dnsDomain ?? DEFAULT_DOMAIN, option('dns-domain')),
  };
}

function readDomain(text: string, option: string): string {
  if (text.length > 253 || !text.split('.').every((part) => NAME.test(part))) {
    throw usage(`${option} "${text}" is no DNS domain such as ${DEFAULT_DOMAIN}`);
  }
  return text;
}

function readServer(text: string, option: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:') throw usage(`${option} "${text}" is no URL such as https://10.0.0.1:6443`);
  return text;
}

function readCidrs(text: string | undefined, option: string): Cidr[] {
  if (text === undefined) return [];
  return text.split(',').map((part) => {
    try {
      return parseCidr(part.trim());
    } catch (cause) {
      throw usage(`${option}: ${(cause as Error).message}`);
    }
  });
}

export function readGateways(text: string, option: string): GatewayChoice {
  if (text === 'all' || text === 'objects') return { kind: text };
  const parts = text.split(',').map((part) => part.trim());
  if (parts.every((part) => /^[\d.]+$/.test(part))) {
    try {
      for (const part of parts) parseAddress(part);
    } catch (cause) {
      throw usage(`${option}: ${(cause as Error).message}`);
    }
    return { kind: 'addresses', addresses: [...new Set(parts)] };
  }
  const selector = parseSelector(text);
  if (typeof selector === 'string') {
    throw usage(
      `${option}: "${text}" is none of all, objects, addresses and labels such as a=b,c: ${selector}`,
    );
  }
  return { kind: 'labels', selector: text };
}

/** In any case: people write calico as well as Calico. */
function readWord<T extends string>(
  text: string | undefined,
  words: readonly T[],
  option: string,
): T | undefined {
  if (text === undefined) return undefined;
  const word = words.find((candidate) => candidate.toLowerCase() === text.toLowerCase());
  if (word === undefined) throw usage(`${option} "${text}" is none of ${words.join(', ')}`);
  return word;
}

function usage(message: string): GatewayError {
  return new GatewayError('ISTHMUS_ERR_USAGE', message);
}
