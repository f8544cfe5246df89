import { resolve } from 'node:path';
import { type Cidr, cidrHolds, formatAddress, type IpAddress } from '../base/address.ts';
import { PROBE_PORT } from '../base/limits.ts';
import type { Complaint } from './section.ts';
import { type SourceKey, sourceName } from './source-name.ts';
import { ofOneFamily } from './underlay-family.ts';
import { DURATION_MS_MAX, formatDuration } from './units.ts';

/** In sources: our own cluster. */
export const LOCAL = 'local';

/** What a check may find in a mapping of which some fields could not be read. */
type Draft = { readonly [field: string]: unknown };

function mapping(value: unknown): Draft {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Draft) : {};
}

function isAddress(value: unknown): value is IpAddress {
  return typeof value === 'number' || typeof value === 'bigint';
}

function elements(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** The same cluster twice: which of them holds would depend on the order of the file. */
export function* eachNameOnce(clusters: unknown): Iterable<Complaint> {
  const seen = new Map<string, number>();
  for (const [i, cluster] of elements(clusters).entries()) {
    const { name } = mapping(cluster);
    if (typeof name !== 'string') continue;
    const first = seen.get(name);
    if (first === undefined) seen.set(name, i);
    else {
      yield {
        path: [i, 'name'],
        message: `expected each cluster once, got "${name}" again (first at element ${first}); put its CIDRs and gateways together`,
      };
    }
  }
}

/** The same gateway twice in a cluster: its weights would contradict each other. */
export function* eachGatewayOnce(gateways: unknown): Iterable<Complaint> {
  const seen = new Map<IpAddress, number>();
  for (const [i, gateway] of elements(gateways).entries()) {
    const { address } = mapping(gateway);
    if (!isAddress(address)) continue;
    const first = seen.get(address);
    if (first === undefined) seen.set(address, i);
    else {
      yield {
        path: [i, 'address'],
        message: `expected each gateway once, got ${formatAddress(address)} again (first at element ${first}); put what concerns it together`,
      };
    }
  }
}

/** The same source twice: its two entries would withdraw each other's claims. `folder` is where relative paths start. */
export function* eachWatchOnce(config: unknown, folder: string): Iterable<Complaint> {
  const seen = new Map<string, number>();
  for (const [i, value] of elements(mapping(config).watch).entries()) {
    const source = mapping(value);
    if (typeof source.kind !== 'string') continue;
    const isFile = source.kind === 'file';
    if (isFile && typeof source.path !== 'string') continue;
    const key = { ...source, ...(isFile && { path: resolve(folder, String(source.path)) }) } as SourceKey;
    const name = sourceName(key);
    const first = seen.get(name);
    if (first === undefined) seen.set(name, i);
    else {
      yield {
        path: ['watch', i, isFile ? 'path' : 'kind'],
        message: isFile
          ? `expected each file or folder once, got ${key.path} again (first at element ${first})`
          : `expected each source once, got ${name} again (first at element ${first})`,
      };
    }
  }
}

/** Mistakes that only show when two sections are compared. Overlaps of CIDRs are not here: the table judges them for every source alike. */
export function* acrossSections(config: unknown): Iterable<Complaint> {
  const { cluster, underlay, tunnel, clusters, security, health, watch } = mapping(config);
  yield* ownName(mapping(cluster).name);
  yield* sources(watch, mapping(cluster).name);
  yield* ownCidrs(mapping(cluster).cidrs, watch);
  yield* remoteClusters(mapping(cluster).name, mapping(underlay).address, clusters);
  yield* transitClusters(mapping(cluster).name, mapping(security).transit);
  yield* tunnelAgainstUnderlay(mapping(tunnel), mapping(underlay));
  yield* ofOneFamily({
    ...{ underlay: mapping(underlay), tunnel: mapping(tunnel), security: mapping(security) },
    clusters: elements(clusters).map(mapping),
  });
  yield* tunnelAddressInside(mapping(tunnel).address, mapping(cluster).cidrs);
  yield* deathAfterProbes(mapping(health));
}

/** On one lost probe a gateway would be given up. */
function* deathAfterProbes({ interval, deadAfter }: Draft): Iterable<Complaint> {
  // A number that could not be read as a duration is complained about already.
  if (typeof interval !== 'number' || interval > DURATION_MS_MAX) return;
  if (typeof deadAfter !== 'number' || deadAfter >= 2 * interval) return;
  yield {
    path: ['health', 'deadAfter'],
    message: `expected at least twice health.interval (${formatDuration(interval)}), got ${formatDuration(deadAfter)}`,
  };
}

/** A source says `local` of what is ours. */
function* ownName(name: unknown): Iterable<Complaint> {
  if (name !== LOCAL) return;
  yield {
    path: ['cluster', 'name'],
    message: `expected another name, got "${LOCAL}", which stands for our own cluster in sources`,
  };
}

/** Without any, nothing that comes out of the tunnel would be for us. */
function* ownCidrs(cidrs: unknown, watch: unknown): Iterable<Complaint> {
  if (!Array.isArray(cidrs) || cidrs.length > 0) return;
  if (elements(watch).some((source) => mapping(source).cluster === LOCAL)) return;
  yield {
    path: ['cluster', 'cidrs'],
    message: 'expected one or more CIDRs, got none; no source in `watch` learns those of our own cluster',
  };
}

function* sources(watch: unknown, ourName: unknown): Iterable<Complaint> {
  for (const [i, value] of elements(watch).entries()) {
    const { kind, cluster, datastore, endpoints, gateways, certFile, keyFile, via } = mapping(value);
    const at = (field: string, message: string): Complaint => ({ path: ['watch', i, field], message });
    if (cluster !== undefined && cluster === ourName)
      yield at(
        'cluster',
        `expected ${LOCAL} or the name of a remote cluster, got "${ourName}", which is our own (cluster.name)`,
      );
    const isEtcd = kind === 'etcd' || (kind === 'calico' && datastore === 'etcd');
    if (isEtcd && elements(endpoints).length === 0)
      yield at('endpoints', 'expected at least one endpoint of etcd, got none');
    if (kind === 'calico' && datastore === 'etcd' && gateways === 'objects')
      yield at(
        'gateways',
        'expected all or labels, got objects; TunnelGateway objects are in Kubernetes, not in etcd',
      );
    if (
      isEtcd &&
      typeof certFile === 'string' &&
      typeof keyFile === 'string' &&
      (certFile === 'none') !== (keyFile === 'none')
    )
      yield at(
        certFile === 'none' ? 'certFile' : 'keyFile',
        'expected a file, got none; certificate and key belong together',
      );
    if (kind === 'kernel-routes' && cluster === LOCAL && elements(via).length > 0)
      yield at(
        'via',
        'expected none, since our own CIDRs are behind no gateway; name a remote cluster in `cluster`',
      );
  }
}

function* remoteClusters(ourName: unknown, ourAddress: unknown, clusters: unknown): Iterable<Complaint> {
  for (const [i, value] of elements(clusters).entries()) {
    const { name, gateways } = mapping(value);
    if (typeof name === 'string' && name === ourName) {
      yield {
        path: ['clusters', i, 'name'],
        message: `expected the name of a remote cluster, got "${name}", which is our own (cluster.name)`,
      };
    }
    for (const [j, gateway] of elements(gateways).entries()) {
      const { address } = mapping(gateway);
      if (isAddress(address) && address === ourAddress) {
        yield {
          path: ['clusters', i, 'gateways', j, 'address'],
          message: `expected the address of a remote gateway, got ${formatAddress(address)}, which is our own (underlay.address)`,
        };
      }
    }
  }
}

/** Whether a remote cluster of the name exists is not asked: a watched source may add it at any time. */
function* transitClusters(ourName: unknown, names: unknown): Iterable<Complaint> {
  for (const [i, name] of elements(names).entries()) {
    if (typeof name !== 'string' || name !== ourName) continue;
    yield {
      path: ['security', 'transit', i],
      message: `expected the name of a remote cluster, got "${name}", which is our own (cluster.name)`,
    };
  }
}

function* tunnelAgainstUnderlay(tunnel: Draft, underlay: Draft): Iterable<Complaint> {
  const { device, address, transmit, underlaySocket, encapsulation, fouPort } = tunnel;
  if (encapsulation === 'fou' && fouPort === PROBE_PORT) {
    yield {
      path: ['tunnel', 'fouPort'],
      message: `expected another port, got ${PROBE_PORT}, which is that of plain probes`,
    };
  }
  if (transmit === 'packet' && underlaySocket === 'raw-socket') {
    yield {
      path: ['tunnel', 'transmit'],
      message: 'expected raw, got packet; with underlaySocket raw-socket there is no packet socket',
    };
  }
  if (typeof device === 'string' && device === underlay.device) {
    yield {
      path: ['tunnel', 'device'],
      message: `expected a device of its own, got "${device}", which is underlay.device`,
    };
  }
  if (typeof address === 'number' && address === underlay.address) {
    yield {
      path: ['tunnel', 'address'],
      message: `expected an overlay address, got ${formatAddress(address)}, which is underlay.address (RFC 2003 §3.2 forbids to tunnel it)`,
    };
  }
}

/** A gateway that checks inner sources drops what this host sends from an address that is not in our CIDRs. */
function* tunnelAddressInside(address: unknown, cidrs: unknown): Iterable<Complaint> {
  if (typeof address !== 'number') return;
  const ours = elements(cidrs);
  const readable = ours.filter((cidr) =>
    ['number', 'bigint'].includes(typeof mapping(cidr).address),
  ) as Cidr[];
  if (readable.length === 0 || readable.length < ours.length) return;
  if (readable.some((cidr) => cidrHolds(cidr, address))) return;
  yield {
    path: ['tunnel', 'address'],
    message: `expected an address in one of cluster.cidrs, got ${formatAddress(address)}, from which remote gateways accept nothing`,
  };
}
