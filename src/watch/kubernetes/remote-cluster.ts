import type { Cidr, IpAddress } from '../../base/address.ts';
import { GATEWAY_WEIGHT_MAX, GATEWAYS_MAX } from '../../base/limits.ts';
import type { Gateway } from '../../table/claim.ts';
import { type GatewaySelection, parseSelector } from '../gateway-selection.ts';
import type { KubernetesObject, Resource } from '../kubernetes-api/resource.ts';
import type { Malformed } from '../last-good.ts';
import { eitherAddressOf, fieldAt, listAt, misfit, textAt, wellFormed } from '../object-fields.ts';
import { listedCidrs } from './objects.ts';

export const REMOTE_CLUSTERS: Resource = {
  group: 'isthmus.network',
  version: 'v1alpha1',
  plural: 'remoteclusters',
};

export type ClusterSource = 'Kubernetes' | 'Calico' | 'Cilium';

export interface ClusterAccess {
  readonly secret: { readonly namespace: string; readonly name: string };
  /** What its CIDRs are taken from. */
  readonly source: ClusterSource;
  readonly aggregate: 'pool' | 'block';
}

/** A RemoteCluster object (isthmus.network/v1alpha1), without its status. */
export interface RemoteCluster {
  /** undefined: it is not read, but stands in the object. */
  readonly access: ClusterAccess | undefined;
  readonly cidrs: readonly Cidr[];
  /** undefined: those that are found. */
  readonly gateways: readonly Gateway[] | undefined;
  readonly selection: GatewaySelection;
  readonly serviceCidrs: readonly Cidr[] | undefined;
  readonly dns: { readonly address: string; readonly domain: string } | null;
}

/** Written by hand, and part of every word on the cluster; a cluster that has more is read through its API server. */
export const REMOTE_CIDRS_MAX = 4096;

/** As config/fields.ts asks of the names of clusters. */
const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** What sources call our own cluster in the configuration. */
const RESERVED = 'local';

const SOURCES: readonly ClusterSource[] = ['Kubernetes', 'Calico', 'Cilium'];

export function remoteClusterOf(object: KubernetesObject): RemoteCluster | Malformed {
  const { name } = object.metadata;
  return wellFormed(`RemoteCluster/${name}`, () => {
    if (!NAME.test(name) || name === RESERVED) {
      const expected = `a name of lower-case letters, digits and inner hyphens, 63 characters at most, and not ${RESERVED}`;
      throw misfit('metadata.name', name, expected);
    }
    const cidrs = limited(object, 'spec.cidrs');
    const gateways = fieldAt(object, 'spec.gateways') === undefined ? undefined : gatewaysOf(object);
    const access = fieldAt(object, 'spec.access') === undefined ? undefined : accessOf(object);
    if (access === undefined && cidrs.length === 0)
      throw misfit('spec.cidrs', undefined, 'spec.access, or spec.cidrs and spec.gateways');
    if (access === undefined && gateways === undefined)
      throw misfit('spec.gateways', undefined, 'spec.access, or spec.cidrs and spec.gateways');
    const serviceCidrs =
      fieldAt(object, 'spec.serviceCidrs') === undefined ? undefined : limited(object, 'spec.serviceCidrs');
    return { access, cidrs, gateways, selection: selectionOf(object), serviceCidrs, dns: dnsOf(object) };
  });
}

function limited(object: KubernetesObject, path: string): Cidr[] {
  const listed = listedCidrs(object, path);
  if (listed.length > REMOTE_CIDRS_MAX)
    throw misfit(path, `a list of ${listed.length}`, `at most ${REMOTE_CIDRS_MAX} CIDRs`);
  return listed.map(({ cidr }) => cidr);
}

function gatewaysOf(object: KubernetesObject): Gateway[] {
  const path = 'spec.gateways';
  const listed = listAt(object, path, 'a list of gateways');
  if (listed.length === 0 || listed.length > GATEWAYS_MAX)
    throw misfit(path, `a list of ${listed.length}`, `1 to ${GATEWAYS_MAX} gateways`);
  const byAddress = new Map<IpAddress, Gateway>();
  for (const [i, entry] of listed.entries()) {
    const field = `${path}[${i}].address`;
    const address = eitherAddressOf(fieldAt(entry, 'address'), field);
    const weight = fieldAt(entry, 'weight') ?? 1;
    if (!Number.isInteger(weight) || Number(weight) < 0 || Number(weight) > GATEWAY_WEIGHT_MAX)
      throw misfit(`${path}[${i}].weight`, weight, `a whole number from 0 to ${GATEWAY_WEIGHT_MAX}`);
    if (byAddress.has(address))
      throw misfit(field, fieldAt(entry, 'address'), 'an address that is not listed before');
    byAddress.set(address, { address, weight: Number(weight) });
  }
  return [...byAddress.values()];
}

function accessOf(object: KubernetesObject): ClusterAccess {
  const path = 'spec.access';
  const source = textAt(object, `${path}.source`, SOURCES.join(', ')) ?? 'Kubernetes';
  if (!isSource(source)) throw misfit(`${path}.source`, source, SOURCES.join(', '));
  const aggregate = textAt(object, `${path}.aggregate`, 'Pool or Block') ?? 'Pool';
  if (aggregate !== 'Pool' && aggregate !== 'Block')
    throw misfit(`${path}.aggregate`, aggregate, 'Pool or Block');
  return {
    secret: {
      namespace: needed(object, `${path}.secretRef.namespace`, 'the namespace of a Secret'),
      name: needed(object, `${path}.secretRef.name`, 'the name of a Secret'),
    },
    source,
    aggregate: aggregate === 'Pool' ? 'pool' : 'block',
  };
}

function isSource(text: string): text is ClusterSource {
  return SOURCES.some((source) => source === text);
}

function selectionOf(object: KubernetesObject): GatewaySelection {
  const path = 'spec.gatewaySelection';
  const mode = textAt(object, `${path}.mode`, 'All, Objects or Labels') ?? 'All';
  if (mode === 'All') return { kind: 'all' };
  if (mode === 'Objects') return { kind: 'objects' };
  if (mode !== 'Labels') throw misfit(`${path}.mode`, mode, 'All, Objects or Labels');
  const selector = needed(object, `${path}.selector`, 'labels such as role=edge,!spot');
  const matcher = parseSelector(selector);
  if (typeof matcher === 'string')
    throw misfit(`${path}.selector`, selector, `labels such as role=edge,!spot (${matcher})`);
  return { kind: 'labels', selector };
}

function dnsOf(object: KubernetesObject): RemoteCluster['dns'] {
  if (fieldAt(object, 'spec.dns') === undefined) return null;
  const address = needed(object, 'spec.dns.address', 'the address of a resolver, such as 10.112.0.10');
  eitherAddressOf(address, 'spec.dns.address');
  return { address, domain: needed(object, 'spec.dns.domain', 'a domain such as cluster.local') };
}

function needed(object: KubernetesObject, path: string, expected: string): string {
  const text = textAt(object, path, expected);
  if (text === undefined || text === '') throw misfit(path, text, expected);
  return text;
}
