import { existsSync } from 'node:fs';
import { type Cidr, cidrHolds, cidrKey, formatAddress, formatCidr, type IpAddress } from '../base/address.ts';
import { LOCAL } from '../config/cross-checks.ts';
import { formatPath, PROBLEMS_MAX, placesOf } from '../config/document.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { ConfigProblem } from '../config/problem.ts';
import type { Config } from '../config/schema.ts';
import { Table } from '../table/table.ts';
import { claimsOfClusters } from '../watch/cluster-claims.ts';

interface Warning {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/**
 * What is wrong with a valid configuration as far as it can be told without the host: no reason to refuse it, since a running gateway
 * refuses single claims and goes on. What becomes of the static clusters is asked of a table, as the gateway does.
 */
export function warningsAbout({ config, source }: LoadedConfig, file: string): ConfigProblem[] {
  const warnings = [
    ...refusedClaims(config),
    ...gatewaysInside(config),
    ...unknownTransit(config),
    ...missingPaths(config),
    ...everyRouteOurs(config),
  ];
  const shown = warnings.slice(0, PROBLEMS_MAX);
  const places =
    shown.length === 0
      ? []
      : placesOf(
          source,
          shown.map(({ path }) => path),
        );
  const rows = shown.map(({ path, message }, i) => ({
    file,
    line: places[i]?.line ?? 0,
    column: places[i]?.column ?? 0,
    field: formatPath(path),
    message,
  }));
  rows.sort((a, b) => a.line - b.line || a.column - b.column);
  const more = warnings.length - shown.length;
  return more === 0
    ? rows
    : [...rows, { file, line: 0, column: 0, field: '', message: `and ${more} more warnings` }];
}

function* refusedClaims({ cluster, clusters, underlay }: Config): Iterable<Warning> {
  const address = underlay.address === 'auto' ? null : underlay.address;
  const table = new Table({
    cluster: cluster.name,
    local: cluster.cidrs,
    ownAddresses: address === null ? [] : [address],
    underlay: address,
  });
  table.addSource('config', { priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 0 });
  table.apply('config', { kind: 'replace', claims: claimsOfClusters(clusters, '') }, 0, 0);
  const clusterIndex = new Map(clusters.map(({ name }, i) => [name, i]));
  for (const { cidr, cluster: name, reason, detail } of table.refusals()) {
    const i = clusterIndex.get(name) ?? 0;
    const j = clusters[i]?.cidrs.findIndex((each) => cidrKey(each) === cidrKey(cidr)) ?? 0;
    yield {
      path: ['clusters', i, 'cidrs', Math.max(j, 0)],
      message: `${formatCidr(cidr)} of ${name} will get no route (${reason}): ${detail}`,
    };
  }
}

/** Packets between gateways go through the underlay; an address of our own cluster is behind us. */
function* gatewaysInside({ cluster, clusters, underlay }: Config): Iterable<Warning> {
  const holding = (address: IpAddress): Cidr | undefined =>
    cluster.cidrs.find((cidr) => cidrHolds(cidr, address));
  const ours = underlay.address === 'auto' ? undefined : holding(underlay.address);
  if (ours !== undefined && underlay.address !== 'auto') {
    yield {
      path: ['underlay', 'address'],
      message: `${formatAddress(underlay.address)} lies in ${formatCidr(ours)} of cluster.cidrs, which remote clusters reach only through the tunnel: it would have to carry itself`,
    };
  }
  for (const [i, { gateways }] of clusters.entries()) {
    for (const [j, { address }] of gateways.entries()) {
      const inside = holding(address);
      if (inside === undefined) continue;
      yield {
        path: ['clusters', i, 'gateways', j, 'address'],
        message: `${formatAddress(address)} lies in ${formatCidr(inside)} of cluster.cidrs, which is ours: a remote gateway is outside of it`,
      };
    }
  }
}

/** A watched source may add the cluster at any time; without one nobody does. */
function* unknownTransit({ clusters, security, watch }: Config): Iterable<Warning> {
  if (watch.length > 0) return;
  const known = new Set(clusters.map(({ name }) => name));
  for (const [i, name] of security.transit.entries()) {
    if (known.has(name)) continue;
    yield {
      path: ['security', 'transit', i],
      message: `there is no cluster "${name}", and no watched source that could add it`,
    };
  }
}

/** The word in these fields that stands for no file. */
const FILES_OF_SOURCES = {
  path: '',
  kubeconfig: 'in-cluster',
  passwordFile: 'none',
  caFile: 'none',
  certFile: 'none',
  keyFile: 'none',
};

/** Two gateways of ours that hear each other's announcements by BGP would each announce the remote clusters as their own. */
function* everyRouteOurs({ watch }: Config): Iterable<Warning> {
  for (const [i, source] of watch.entries()) {
    if (source.kind !== 'kernel-routes' || source.cluster !== LOCAL || source.within.length > 0) continue;
    yield {
      path: ['watch', i, 'within'],
      message:
        'empty: every route of these protocols becomes our own, also one to a remote cluster that another gateway of ours announced by BGP',
    };
  }
}

function* missingPaths({ watch }: Config): Iterable<Warning> {
  for (const [i, source] of watch.entries()) {
    const fields: Readonly<Record<string, unknown>> = source;
    for (const [field, none] of Object.entries(FILES_OF_SOURCES)) {
      const path = fields[field];
      if (typeof path === 'string' && path !== none && !existsSync(path))
        yield { path: ['watch', i, field], message: `${path} does not exist` };
    }
  }
}
