import { type Cidr, parseAddress, parseCidr } from '../base/address.ts';
import { GatewayError } from '../base/errors.ts';
import { fieldOf, type KubernetesObject } from '../watch/kubernetes-api/resource.ts';
import type { ClusterApi } from './cluster-api.ts';
import { mergeCidrs } from './prefixes.ts';
import type { GatewayChoice, Side, Source } from './side.ts';

/** What a cluster's API tells of it. */
export interface Survey {
  /** Of Namespace kube-system: tells one cluster from another whatever their addresses are. */
  readonly uid: string;
  readonly source: Source;
  /** `group/version` in which Calico's objects are written; undefined without Calico. */
  readonly calico: string | undefined;
  readonly podCidrs: readonly Cidr[];
  readonly serviceCidrs: readonly Cidr[];
  /** True where the API has ServiceCIDR objects, so that nobody has to be told. */
  readonly servesServiceCidrs: boolean;
  /** On the underlay. */
  readonly gateways: readonly string[];
  /** Of the cluster's DNS service. */
  readonly dns: string | undefined;
}

/** In the order of preference: behind v3 stands an API server of Calico's own, which checks what it is given. */
const CALICO_GROUPS = ['projectcalico.org/v3', 'crd.projectcalico.org/v1'] as const;
const SERVICE_CIDR_VERSIONS = ['v1', 'v1beta1'] as const;

export async function surveyCluster(side: Side): Promise<Survey> {
  const { api } = side;
  const system = await api.get('/api/v1/namespaces/kube-system');
  const calico = await calicoGroup(api);
  const pools = calico === undefined ? undefined : await api.list(`/apis/${calico}/ippools`);
  const ciliumNodes = await api.list('/apis/cilium.io/v2/ciliumnodes');
  const poolCidrs = readCidrs((pools ?? []).filter(isOwnPool).map((pool) => fieldOf(pool.spec, 'cidr')));
  const ciliumCidrs = readCidrs(
    (ciliumNodes ?? []).flatMap((node) => texts(fieldOf(fieldOf(node.spec, 'ipam'), 'podCIDRs'))),
  );
  const nodes = (await api.list('/api/v1/nodes')) ?? [];
  const nodeCidrs = readCidrs(nodes.flatMap(podCidrsOf));
  const seen: Source = poolCidrs.length > 0 ? 'Calico' : ciliumCidrs.length > 0 ? 'Cilium' : 'Kubernetes';
  const source = side.source ?? seen;
  const read = { Calico: poolCidrs, Cilium: ciliumCidrs, Kubernetes: nodeCidrs }[source];
  const serviceCidrs = await readServiceCidrs(api);
  return {
    uid: String(system.metadata.uid),
    source,
    calico,
    podCidrs: side.podCidrs.length > 0 ? mergeCidrs(side.podCidrs) : read,
    serviceCidrs: side.serviceCidrs.length > 0 ? mergeCidrs(side.serviceCidrs) : (serviceCidrs ?? []),
    servesServiceCidrs: serviceCidrs !== undefined,
    gateways: await readGateways(api, side.gateways, nodes),
    dns: await readDns(api),
  };
}

/** In which group Calico's objects are written here; undefined without Calico. */
export async function calicoGroup(api: ClusterApi): Promise<string | undefined> {
  for (const group of CALICO_GROUPS) {
    const served = await api.find(`/apis/${group}`);
    const resources = fieldOf(served, 'resources');
    if (Array.isArray(resources) && resources.some((resource) => fieldOf(resource, 'name') === 'ippools')) {
      return group;
    }
  }
  return undefined;
}

/** A disabled pool is a range that Calico gives nothing from: often another cluster's, put there against NAT. */
function isOwnPool(pool: KubernetesObject): boolean {
  return fieldOf(pool.spec, 'disabled') !== true;
}

function podCidrsOf(node: KubernetesObject): string[] {
  const all = texts(fieldOf(node.spec, 'podCIDRs'));
  return all.length > 0 ? all : texts([fieldOf(node.spec, 'podCIDR')]);
}

/** undefined where the server has no such objects (before 1.31, or with them switched off). */
async function readServiceCidrs(api: ClusterApi): Promise<Cidr[] | undefined> {
  for (const version of SERVICE_CIDR_VERSIONS) {
    const found = await api.list(`/apis/networking.k8s.io/${version}/servicecidrs`);
    if (found !== undefined) {
      return readCidrs(found.flatMap((object) => texts(fieldOf(object.spec, 'cidrs'))));
    }
  }
  return undefined;
}

async function readGateways(
  api: ClusterApi,
  choice: GatewayChoice,
  nodes: readonly KubernetesObject[],
): Promise<string[]> {
  if (choice.kind === 'addresses') return [...choice.addresses];
  if (choice.kind === 'all') return sorted(nodes.map(addressOf));
  if (choice.kind === 'labels') {
    // The server knows every form of selector; a bad one is refused by it, by name.
    const chosen = await api.list('/api/v1/nodes', { labelSelector: choice.selector });
    return sorted((chosen ?? []).map(addressOf));
  }
  const objects = (await api.list('/apis/isthmus.network/v1alpha1/tunnelgateways')) ?? [];
  const byName = new Map(nodes.map((node) => [node.metadata.name, addressOf(node)]));
  return sorted(
    objects.map(({ spec }) => {
      const address = fieldOf(spec, 'address');
      return typeof address === 'string' ? address : byName.get(String(fieldOf(spec, 'nodeName')));
    }),
  );
}

function addressOf(node: KubernetesObject): string | undefined {
  const addresses = fieldOf(node.status, 'addresses');
  if (!Array.isArray(addresses)) return undefined;
  const internal = addresses
    .filter((entry) => fieldOf(entry, 'type') === 'InternalIP')
    .map((entry) => fieldOf(entry, 'address'));
  return internal.find((address) => typeof address === 'string' && isAddress(address)) as string | undefined;
}

function sorted(addresses: readonly (string | undefined)[]): string[] {
  const known = addresses.filter((address) => address !== undefined && isAddress(address)) as string[];
  return [...new Set(known)].toSorted((a, b) => parseAddress(a) - parseAddress(b));
}

function isAddress(text: string): boolean {
  try {
    parseAddress(text);
    return true;
  } catch {
    return false;
  }
}

/** A convenience only: a cluster without kube-dns, or one that hides it from us, is joined all the same. */
async function readDns(api: ClusterApi): Promise<string | undefined> {
  try {
    const service = await api.find('/api/v1/namespaces/kube-system/services/kube-dns');
    const address = fieldOf(service?.spec, 'clusterIP');
    return typeof address === 'string' && isAddress(address) ? address : undefined;
  } catch (error) {
    if (error instanceof GatewayError && fieldOf(error, 'status') === 403) return undefined;
    throw error;
  }
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : [];
}

/** A text that is no CIDR is the gateway's to report, which reads it again. */
function readCidrs(found: readonly unknown[]): Cidr[] {
  return mergeCidrs(
    found.flatMap((text) => {
      try {
        return [parseCidr(String(text))];
      } catch {
        return [];
      }
    }),
  );
}
