import { Command, InvalidArgumentError } from 'commander';
import type { ClusterDetail, Trace } from '../admin/view.ts';
import { formatAddress, parseAddress } from '../base/address.ts';
import { GatewayError, messageOf } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { type AdminOptions, adminOption, clientOf, jsonOption, printJson } from './options.ts';
import type { Terminal } from './terminal.ts';

/** What Kubernetes calls its domain unless told otherwise (kubelet's clusterDomain). */
const USUAL_DOMAIN = 'cluster.local';

/** ICANN keeps .internal out of the public DNS for good (board resolution of 29 July 2024); .local is multicast DNS (RFC 6762). */
const OWN_ZONE = 'clusterset.internal';

interface DnsOptions extends AdminOptions {
  readonly cluster: string;
  readonly server?: string;
  readonly domain?: string;
  readonly remoteDomain?: string;
  readonly ownDomain: string;
}

/** How names of another cluster are asked for here. */
export interface DnsRecipe {
  readonly cluster: string;
  /** Service address of the other cluster's resolver. */
  readonly server: string;
  /** Under which the other cluster's names are asked for here. */
  readonly domain: string;
  /** Which the other cluster's resolver answers for. */
  readonly remoteDomain: string;
}

export function dnsCommand(terminal: Terminal): Command {
  return new Command('dns')
    .summary('print the CoreDNS configuration that resolves names of another cluster')
    .description(
      'Prints a server block for the Corefile of this cluster: names of the other cluster are asked of its own resolver, through the tunnel. Where both clusters call themselves the same, its names are rewritten. The resolver is what the running gateway knows of the cluster; with --server nobody is asked. Changes nothing.',
    )
    .requiredOption('--cluster <name>', 'the other cluster')
    .option('--server <address>', "service address of the other cluster's resolver", addressOption)
    .option(
      '--domain <name>',
      `its names here (default: its own domain, or NAME.${OWN_ZONE} where that is ours too)`,
      domainOption,
    )
    .option('--remote-domain <name>', `what it calls itself (default: ${USUAL_DOMAIN})`, domainOption)
    .option('--own-domain <name>', 'what this cluster calls itself', domainOption, USUAL_DOMAIN)
    .addOption(adminOption())
    .addOption(jsonOption())
    .action(async (options: DnsOptions) => {
      const known = options.server === undefined ? await askGateway(options) : undefined;
      const recipe = dnsRecipe({
        cluster: options.cluster,
        server: options.server ?? known?.address ?? '',
        remoteDomain: options.remoteDomain ?? known?.domain ?? USUAL_DOMAIN,
        ownDomain: options.ownDomain,
        ...(options.domain === undefined ? {} : { domain: options.domain }),
      });
      if (known !== undefined) await warnOfNoRoute(options, recipe, terminal);
      if (options.json === true) printJson(terminal, { ...recipe, corefile: corefileBlock(recipe) });
      else terminal.out(`${introduction(recipe)}${corefileBlock(recipe)}`);
    });
}

/** Chooses the domain here. Throws ISTHMUS_ERR_USAGE where its names would be ours. */
export function dnsRecipe(wish: {
  readonly cluster: string;
  readonly server: string;
  readonly domain?: string;
  readonly remoteDomain: string;
  readonly ownDomain: string;
}): DnsRecipe {
  const { cluster, server, remoteDomain, ownDomain } = wish;
  const isOurs = isWithin(remoteDomain, ownDomain) || isWithin(ownDomain, remoteDomain);
  const domain = wish.domain ?? (isOurs ? checkedDefault(cluster) : remoteDomain);
  if (isWithin(ownDomain, domain))
    throw new GatewayError(
      'ISTHMUS_ERR_USAGE',
      `--domain ${domain} would take our own names (${ownDomain}) away from this cluster; choose another, such as ${cluster}.${OWN_ZONE}`,
    );
  return { cluster, server, domain, remoteDomain };
}

/**
 * The server block. `rewrite` is before `forward` in CoreDNS's fixed order of plugins whatever their order here, and `cache` before both, so that
 * it keeps answers under the names that were asked. `answer auto` (from CoreDNS 1.8.5) turns the names in answers back.
 */
export function corefileBlock({ server, domain, remoteDomain }: DnsRecipe): string {
  const rewrite =
    domain === remoteDomain ? '' : `    rewrite name suffix .${domain} .${remoteDomain} answer auto\n`;
  return `${domain}:53 {
    errors
    cache 30
${rewrite}    forward . ${server}
}
`;
}

function introduction({ cluster, domain, server }: DnsRecipe): string {
  return `# Names of cluster ${cluster}, asked of its resolver ${server} through the tunnel.
# Add this beside the block ".:53" of the Corefile; CoreDNS reads it again by itself:
#   kubectl -n kube-system edit configmap coredns
# Then, for a service "db" of namespace "shop" there:
#   db.shop.svc.${domain}
`;
}

function isWithin(inner: string, outer: string): boolean {
  return inner === outer || inner.endsWith(`.${outer}`);
}

/** A name of a cluster may hold what a name of a domain may not. */
function checkedDefault(cluster: string): string {
  const domain = `${cluster.toLowerCase()}.${OWN_ZONE}`;
  if (!isDomain(domain))
    throw new GatewayError(
      'ISTHMUS_ERR_USAGE',
      `"${printable(cluster)}" cannot be part of a domain name; name the domain with --domain`,
    );
  return domain;
}

async function askGateway(options: DnsOptions): Promise<{ address: string; domain: string }> {
  const clusters = await clientOf(options).get<ClusterDetail[]>('/api/v1/clusters');
  const cluster = clusters.find(({ name }) => name === options.cluster);
  const elsewhere = `name its resolver with --server ADDRESS`;
  if (cluster === undefined) {
    const known = clusters.map(({ name }) => printable(name)).join(', ') || 'none';
    throw new GatewayError(
      'ISTHMUS_ERR_USAGE',
      `the gateway knows no cluster "${printable(options.cluster)}" (known: ${known}); ${elsewhere}`,
    );
  }
  if (cluster.dns === null)
    throw new GatewayError(
      'ISTHMUS_ERR_USAGE',
      `the gateway does not know the resolver of cluster ${printable(options.cluster)}; ${elsewhere}, or write spec.dns into its RemoteCluster`,
    );
  // The other cluster chose these texts, and somebody is about to paste them into a Corefile.
  try {
    return { address: addressOption(cluster.dns.address), domain: domainOption(cluster.dns.domain) };
  } catch (thrown) {
    throw new GatewayError(
      'ISTHMUS_ERR_USAGE',
      `what cluster ${printable(options.cluster)} says of its resolver is wrong: ${printable(messageOf(thrown))}; ${elsewhere} --remote-domain NAME`,
    );
  }
}

/** A recipe that cannot work yet is printed all the same: the routes may come later. */
async function warnOfNoRoute(
  options: DnsOptions,
  { cluster, server }: DnsRecipe,
  terminal: Terminal,
): Promise<void> {
  const trace = await clientOf(options).get<Trace>('/api/v1/trace', { destination: server });
  if (trace.verdict === 'remote' && trace.cluster === cluster) return;
  terminal.error(
    `isthmus: no route of cluster ${cluster} leads to ${server}: ${printable(trace.reason)}; are its service CIDRs among what it announces?\n`,
  );
}

function addressOption(text: string): string {
  try {
    return formatAddress(parseAddress(text));
  } catch (cause) {
    throw new InvalidArgumentError(messageOf(cause));
  }
}

/** Lower case, without the dot at the end. */
function domainOption(text: string): string {
  const domain = text.toLowerCase().replace(/\.$/, '');
  if (!isDomain(domain))
    throw new InvalidArgumentError(`Expected a domain name such as cluster.local, got "${text}".`);
  return domain;
}

/** RFC 1035 §2.3.4: 63 octets a label, 253 characters in all; the letters of RFC 1123 §2.1. */
function isDomain(text: string): boolean {
  const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
  return text.length <= 253 && text.split('.').every((part) => label.test(part));
}
