import { isDeepStrictEqual } from 'node:util';
import { type Cidr, cidrContains, formatCidr, parseCidr } from '../base/address.ts';
import { GatewayError } from '../base/errors.ts';
import { fieldOf, type KubernetesObject } from '../watch/kubernetes-api/resource.ts';
import type { ClusterApi } from './cluster-api.ts';
import { CLUSTER_LABEL, EXTERNAL_NODES, felixConfiguration, ipPool, isOurs, objectPath } from './objects.ts';
import type { Writer } from './writer.ts';

/** What Calico has to be told of a peer: accept IPIP from its gateways, and leave the source of packets to it alone. */

/** Felix makes a rule of an ipset entry for each; a pool for each CIDR that nodes get theirs from is a handful. */
const EXTERNAL_NODES_MAX = 4096;
export const IP_POOLS_MAX = 64;
/** Somebody else writes the same object at the same moment; more often is no coincidence. */
const MERGES_MAX = 5;
export const REMOTE_CLUSTERS = '/apis/isthmus.network/v1alpha1/remoteclusters';

export interface ExternalNodes {
  /** The whole list, of whomever. */
  readonly list: readonly string[];
  /** Those of it that are there because of this peer. */
  readonly ours: readonly string[];
}

/**
 * The list with what one peer needs: what somebody else put there stays, entries that we added and that are needed no more go, unless
 * another peer (`others`) needs them too.
 */
export function mergeExternalNodes(
  list: readonly string[],
  recorded: readonly string[],
  others: readonly string[],
  wanted: readonly string[],
): ExternalNodes {
  const dropped = new Set(recorded.filter((entry) => !wanted.includes(entry) && !others.includes(entry)));
  const kept = list.filter((entry) => !dropped.has(entry));
  const added = wanted.filter((entry) => !kept.includes(entry));
  const ours = wanted.filter(
    (entry) => added.includes(entry) || recorded.includes(entry) || others.includes(entry),
  );
  return { list: [...kept, ...added], ours };
}

/** What is recorded on RemoteCluster objects: for `peer`, and for all others. */
export async function recordedExternalNodes(
  api: ClusterApi,
  peer: string,
): Promise<{ recorded: string[]; others: string[] }> {
  const clusters = (await api.list(REMOTE_CLUSTERS)) ?? [];
  const entries = (object: KubernetesObject): string[] =>
    (object.metadata.annotations?.[EXTERNAL_NODES] ?? '').split(',').filter((entry) => entry !== '');
  return {
    recorded: clusters.filter(({ metadata }) => metadata.name === peer).flatMap(entries),
    others: clusters.filter(({ metadata }) => metadata.name !== peer).flatMap(entries),
  };
}

export async function readExternalNodes(api: ClusterApi, group: string): Promise<string[]> {
  const felix = await api.find(objectPath(felixConfiguration(group, [])));
  return listOf(felix);
}

function listOf(felix: KubernetesObject | undefined): string[] {
  const list = fieldOf(felix?.spec, 'externalNodesList');
  return Array.isArray(list) ? list.filter((entry) => typeof entry === 'string') : [];
}

/** What the peer's gateways are called in the list. */
export function entriesOf(gateways: readonly string[], peer: string): string[] {
  if (gateways.length <= EXTERNAL_NODES_MAX) return gateways.map((address) => `${address}/32`);
  throw new GatewayError(
    'ISTHMUS_ERR_JOIN',
    `${peer} has ${gateways.length} gateways, and Calico's externalNodesList takes at most ${EXTERNAL_NODES_MAX} of them from us; choose fewer with --gateways`,
  );
}

/**
 * Brings the list to what `change` makes of it. The CRD has it as one value, so that whoever applies it owns all of it: hence read, change, and
 * write under the condition that nobody else wrote meanwhile.
 */
export async function updateExternalNodes(
  writer: Writer,
  group: string,
  change: (list: readonly string[]) => readonly string[],
): Promise<void> {
  const { api, cluster, ledger } = writer;
  const path = objectPath(felixConfiguration(group, []));
  const title = 'FelixConfiguration/default';
  for (let attempt = 0; attempt < MERGES_MAX; attempt++) {
    const before = await api.find(path);
    const list = listOf(before);
    const next = change(list);
    if (isDeepStrictEqual(next, list)) {
      ledger.step(cluster, before === undefined ? 'absent' : 'unchanged', title);
      return;
    }
    if (before === undefined) {
      await writer.apply(felixConfiguration(group, next), externalNodesText(next));
      return;
    }
    if (next.length === 0 && isOurs(before) && Object.keys(before.spec as object).length === 1) {
      await writer.remove(before);
      return;
    }
    const { resourceVersion } = before.metadata;
    const spec = { externalNodesList: next.length === 0 ? null : next };
    if (await api.merge(path, { metadata: { resourceVersion }, spec })) {
      ledger.step(cluster, 'changed', title, externalNodesText(next));
      return;
    }
  }
  throw new GatewayError(
    'ISTHMUS_ERR_JOIN',
    `${title} of ${cluster} was changed by somebody else ${MERGES_MAX} times in a row`,
  );
}

function externalNodesText(list: readonly string[]): string {
  return `externalNodesList has ${list.length} entries`;
}

/** The pools that exempt `cidrs` from Calico's outgoing NAT, less those that pools of somebody else cover already. */
export async function wantedPools(
  api: ClusterApi,
  group: string,
  peer: string,
  cidrs: readonly Cidr[],
): Promise<KubernetesObject[]> {
  if (cidrs.length > IP_POOLS_MAX) {
    throw new GatewayError(
      'ISTHMUS_ERR_JOIN',
      `${peer} has ${cidrs.length} CIDRs that lie apart, more than the ${IP_POOLS_MAX} IPPools that are made for one cluster; name the range that its nodes get theirs from with --pod-cidrs or --peer-pod-cidrs`,
    );
  }
  const foreign = ((await api.list(`/apis/${group}/ippools`)) ?? [])
    .filter((pool) => !isOurs(pool) && fieldOf(pool.spec, 'disabled') === true)
    .flatMap((pool) => readCidr(fieldOf(pool.spec, 'cidr')));
  return cidrs
    .filter((cidr) => !foreign.some((pool) => cidrContains(pool, cidr)))
    .map((cidr) => ipPool(group, peer, cidr));
}

/** Makes those, and removes those of ours for this peer that are not among them. */
export async function updatePools(
  writer: Writer,
  group: string,
  peer: string,
  wanted: readonly KubernetesObject[],
): Promise<void> {
  const query = { labelSelector: `${CLUSTER_LABEL}=${peer}` };
  const there = (await writer.api.list(`/apis/${group}/ippools`, query)) ?? [];
  const names = new Set(wanted.map(({ metadata }) => metadata.name));
  // First away with the old: Calico refuses a pool that overlaps another.
  for (const pool of there) {
    const object = { ...pool, apiVersion: group, kind: 'IPPool' };
    if (!names.has(pool.metadata.name)) await writer.remove(object);
  }
  for (const pool of wanted) await writer.apply(pool, `${formatPool(pool)} keeps its source addresses`);
}

function formatPool(pool: KubernetesObject): string {
  return String(fieldOf(pool.spec, 'cidr'));
}

function readCidr(text: unknown): Cidr[] {
  try {
    return [parseCidr(String(text))];
  } catch {
    return [];
  }
}

/** Shown to whoever applies by hand. */
export function calicoHint(gateways: readonly string[], cidrs: readonly Cidr[]): string[] {
  return [
    `FelixConfiguration/default: add to spec.externalNodesList, keeping what is there: ${gateways.map((address) => `${address}/32`).join(', ')}`,
    `one IPPool for each of these CIDRs, with disabled: true, natOutgoing: false, ipipMode: Never, vxlanMode: Never: ${cidrs.map(formatCidr).join(', ')}`,
  ];
}
