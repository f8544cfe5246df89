import { readdirSync, readFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';
import { type Cidr, formatCidr } from '../base/address.ts';
import type { KubernetesObject } from '../watch/kubernetes-api/resource.ts';
import type { Side } from './side.ts';
import type { Survey } from './survey.ts';

/** What joining writes, as objects of the API. Pure, but for the CRDs, which are files of the package. */

export const NAMESPACE = 'isthmus-system';
export const MANAGED_BY = 'app.kubernetes.io/managed-by';
export const MANAGER = 'isthmus-join';
/** On everything that belongs to the joining with one cluster: that cluster's name. */
export const CLUSTER_LABEL = 'isthmus.network/cluster';
/** On a RemoteCluster: the entries of Calico's externalNodesList that were added for it, with commas between them. */
export const EXTERNAL_NODES = 'isthmus.network/external-nodes';
const OWN_API = 'isthmus.network/v1alpha1';

/** Collections by kind; those of Calico have their group from the object. */
const PLURALS: Readonly<Record<string, string>> = {
  Namespace: 'namespaces',
  CustomResourceDefinition: 'customresourcedefinitions',
  ServiceAccount: 'serviceaccounts',
  Secret: 'secrets',
  ClusterRole: 'clusterroles',
  ClusterRoleBinding: 'clusterrolebindings',
  RemoteCluster: 'remoteclusters',
  IPPool: 'ippools',
  FelixConfiguration: 'felixconfigurations',
};

export function collectionPath({ apiVersion = 'v1', kind = '', metadata }: KubernetesObject): string {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const within = metadata.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`;
  return `${root}${within}/${PLURALS[kind]}`;
}

export function objectPath(object: KubernetesObject): string {
  return `${collectionPath(object)}/${encodeURIComponent(object.metadata.name)}`;
}

export function titleOf({ kind, metadata: { name, namespace } }: KubernetesObject): string {
  return `${kind}/${name}${namespace === undefined ? '' : ` in ${namespace}`}`;
}

export function isOurs(object: KubernetesObject): boolean {
  return object.metadata.labels?.[MANAGED_BY] === MANAGER;
}

function labels(cluster?: string): Record<string, string> {
  const ours = { 'app.kubernetes.io/name': 'isthmus', [MANAGED_BY]: MANAGER };
  return cluster === undefined ? ours : { ...ours, [CLUSTER_LABEL]: cluster };
}

export function namespaceObject(): KubernetesObject {
  const metadata = {
    name: NAMESPACE,
    // As in deploy/base: the gateways' pods use the network of the host.
    labels: { ...labels(), 'pod-security.kubernetes.io/enforce': 'privileged' },
  };
  return { apiVersion: 'v1', kind: 'Namespace', metadata };
}

/** Those of deploy/crds, marked as made by us. */
export function crdObjects(): KubernetesObject[] {
  const folder = new URL('../../../deploy/crds/', import.meta.url);
  return readdirSync(folder)
    .filter((name) => name.endsWith('.yaml') && name !== 'kustomization.yaml')
    .toSorted()
    .map((name) => parse(readFileSync(new URL(name, folder), 'utf8')) as KubernetesObject)
    .map((crd) => ({ ...crd, metadata: { ...crd.metadata, labels: labels() } }));
}

/** Name of what lets `peer` read this cluster. */
export function accessName(peer: string): string {
  return `isthmus-access-${peer}`;
}

const READ = ['get', 'list', 'watch'];

/** Everything that another cluster's gateways read of this one. Neither Secrets nor any verb that writes. */
const READ_RULES = [
  { apiGroups: [''], resources: ['nodes'], verbs: READ },
  { apiGroups: ['networking.k8s.io'], resources: ['servicecidrs'], verbs: READ },
  { apiGroups: ['isthmus.network'], resources: ['tunnelgateways'], verbs: READ },
  {
    apiGroups: ['crd.projectcalico.org', 'projectcalico.org'],
    resources: ['ippools', 'blockaffinities'],
    verbs: READ,
  },
  { apiGroups: ['cilium.io'], resources: ['ciliumnodes'], verbs: READ },
];

/** The account by which `peer` reads this cluster, and its rights. One for each peer, so that leaving one revokes that one. */
export function accessObjects(peer: string): KubernetesObject[] {
  const name = accessName(peer);
  const metadata = { name, labels: labels(peer) };
  const rbac = 'rbac.authorization.k8s.io';
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { ...metadata, namespace: NAMESPACE } },
    { apiVersion: `${rbac}/v1`, kind: 'ClusterRole', metadata, rules: READ_RULES },
    {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRoleBinding',
      metadata,
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace: NAMESPACE }],
    },
    tokenSecret(peer),
  ];
}

/** Kubernetes fills in a token that does not expire; it does so no more by itself since 1.24, only when asked by such a Secret. */
export function tokenSecret(peer: string): KubernetesObject {
  const name = accessName(peer);
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: `${name}-token`,
      namespace: NAMESPACE,
      labels: labels(peer),
      annotations: { 'kubernetes.io/service-account.name': name },
    },
    type: 'kubernetes.io/service-account-token',
  };
}

export interface Access {
  readonly server: string;
  /** PEM; undefined where the system's own authorities count. */
  readonly ca: string | undefined;
  readonly tlsServerName: string | undefined;
  readonly skipsTlsVerify: boolean;
  readonly token: string;
}

/** The kubeconfig by which a gateway reads cluster `name`. */
export function kubeconfigOf(name: string, access: Access): string {
  const { server, ca, tlsServerName, skipsTlsVerify, token } = access;
  const cluster = {
    server,
    ...(ca !== undefined && { 'certificate-authority-data': Buffer.from(ca).toString('base64') }),
    ...(tlsServerName !== undefined && { 'tls-server-name': tlsServerName }),
    ...(ca === undefined && skipsTlsVerify && { 'insecure-skip-tls-verify': true }),
  };
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster }],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    'current-context': name,
  });
}

/** Holds the kubeconfig for cluster `name`. */
export function accessSecret(name: string, kubeconfig: string): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: `${name}-access`, namespace: NAMESPACE, labels: labels(name) },
    type: 'Opaque',
    data: { kubeconfig: Buffer.from(kubeconfig).toString('base64') },
  };
}

/** Cluster `of` as the other one sees it. */
export function remoteCluster(
  of: Side,
  survey: Survey,
  externalNodes: readonly string[] = [],
): KubernetesObject {
  const { name, gateways } = of;
  const metadata = {
    name,
    labels: labels(name),
    ...(externalNodes.length > 0 && { annotations: { [EXTERNAL_NODES]: externalNodes.join(',') } }),
  };
  const spec = {
    access: {
      secretRef: { namespace: NAMESPACE, name: `${name}-access` },
      source: survey.source,
      ...(survey.source === 'Calico' && { aggregate: of.aggregate ?? 'Pool' }),
    },
    ...(gateways.kind === 'addresses'
      ? { gateways: gateways.addresses.map((address) => ({ address })) }
      : { gatewaySelection: selectionOf(gateways) }),
    // Where the API has ServiceCIDR objects they are read there, and stay right when they change.
    ...((!survey.servesServiceCidrs || of.serviceCidrs.length > 0) &&
      survey.serviceCidrs.length > 0 && { serviceCidrs: survey.serviceCidrs.map(formatCidr) }),
    ...(survey.dns !== undefined && { dns: { address: survey.dns, domain: of.dnsDomain } }),
  };
  return { apiVersion: OWN_API, kind: 'RemoteCluster', metadata, spec };
}

function selectionOf(gateways: Exclude<Side['gateways'], { kind: 'addresses' }>): object {
  if (gateways.kind === 'labels') return { mode: 'Labels', selector: gateways.selector };
  return { mode: gateways.kind === 'all' ? 'All' : 'Objects' };
}

/**
 * A pool from which Calico gives nothing and which exempts the CIDR from its outgoing NAT: to a destination outside of every pool Calico rewrites
 * the source of packets to the node's.
 */
export function ipPool(group: string, peer: string, cidr: Cidr): KubernetesObject {
  const text = formatCidr(cidr);
  return {
    apiVersion: group,
    kind: 'IPPool',
    metadata: { name: `isthmus-${peer}-${text.replaceAll(/[./:]/g, '-')}`, labels: labels(peer) },
    spec: { cidr: text, disabled: true, natOutgoing: false, ipipMode: 'Never', vxlanMode: 'Never' },
  };
}

export function felixConfiguration(group: string, externalNodesList: readonly string[]): KubernetesObject {
  const metadata = { name: 'default', labels: labels() };
  return { apiVersion: group, kind: 'FelixConfiguration', metadata, spec: { externalNodesList } };
}
