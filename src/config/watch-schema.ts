import { z } from 'zod';
import { GATEWAY_WEIGHT_MAX, GATEWAYS_MAX, LOCAL_CIDRS_MAX } from '../base/limits.ts';
import { eachGatewayOnce } from './cross-checks.ts';
import { choice, cidr, flag, gatewayChoice, integer, ipAddress, label, path, pathOr } from './fields.ts';
import { contextOr, endpoint, keyPrefix, routingProtocol, userOr } from './fields-of-sources.ts';
import { across, list, section } from './section.ts';
import { duration, durationOrNever } from './units.ts';

/** One after the other is tried; more than this are no cluster of etcd but a mistake. */
const ENDPOINTS_MAX = 16;
const PROTOCOLS_MAX = 16;

export const gatewaySchema = section({
  address: ipAddress().describe('underlay address of a gateway that decapsulates for the cluster'),
  weight: integer(0, GATEWAY_WEIGHT_MAX)
    .describe(
      'share of the flows, in proportion to the weights of the other gateways; 0 sends it none and still accepts what it sends',
    )
    .prefault(1),
});

/** A literal and no choice(), because zod picks the member of the union by it. */
const kind = <const K extends string>(name: K, description: string) =>
  z.literal(name).meta({ expected: name }).describe(description);

/** What every source has. A field that several kinds have is the same for all of them: the table in docs/configuration.md has one row for it. */
const everySource = {
  priority: integer(-1000, 1000)
    .describe(
      'among sources that claim the same CIDR for the same cluster, the highest decides on the gateways',
    )
    .prefault(0),
  staleAfter: durationOrNever(1000)
    .describe('how long the last claims of a source stay in force while it cannot be read')
    .prefault('never'),
  massWithdrawalHold: duration(0)
    .describe('how long the withdrawal of more than half of the claims waits before it is believed')
    .prefault('30s'),
};

const cluster = label()
  .describe(
    'kubernetes, calico, cilium, kernel-routes: whose CIDRs these are; local makes them our own, a name those of that remote cluster',
  )
  .prefault('local');

const gateways = gatewayChoice()
  .describe(
    'kubernetes, calico, cilium: which nodes are gateways of a remote cluster: all, those with a TunnelGateway object (objects), or those with labels (a=b,c!=d,e)',
  )
  .prefault('all');

const kubernetesAccess = {
  kubeconfig: pathOr('in-cluster')
    .describe(
      'kubernetes, calico, cilium: a kubeconfig with a token or a client certificate; in-cluster takes the ServiceAccount of the pod',
    )
    .prefault('in-cluster'),
  context: contextOr('current')
    .describe(
      'kubernetes, calico, cilium: which context of the kubeconfig; current takes its current-context',
    )
    .prefault('current'),
};

const etcdAccess = {
  username: userOr('none')
    .describe('etcd, calico: user of etcd; none where it asks for none')
    .prefault('none'),
  passwordFile: pathOr('none').describe("etcd, calico: file with the user's password").prefault('none'),
  caFile: pathOr('none')
    .describe(
      'etcd, calico: file with the certificates that sign those of etcd; none trusts those of the system',
    )
    .prefault('none'),
  certFile: pathOr('none').describe('etcd, calico: file with our client certificate').prefault('none'),
  keyFile: pathOr('none')
    .describe('etcd, calico: file with the key of our client certificate')
    .prefault('none'),
};

const fileSource = section({
  kind: kind('file', 'a YAML or JSON file, or a folder of them, that lists remote clusters'),
  path: path().describe(
    'file: the file or folder; a relative path starts at the folder of the configuration file',
  ),
  ...everySource,
  pollInterval: duration(100)
    .describe('file: how often it is compared in case the kernel reported no change')
    .prefault('5s'),
});

const kubernetesSource = section({
  kind: kind('kubernetes', 'Nodes, ServiceCIDRs and our own objects of a Kubernetes API server'),
  cluster,
  ...kubernetesAccess,
  gateways,
  serviceCidrs: list(cidr(), 'CIDRs', 0, LOCAL_CIDRS_MAX)
    .describe('kubernetes: service CIDRs where the API server has no ServiceCIDR objects (before 1.33)')
    .prefault([]),
  pods: flag()
    .describe(
      'kubernetes: claim the podCIDRs of Nodes; false where Calico or Cilium give pods their addresses',
    )
    .prefault(true),
  addressType: choice(['InternalIP', 'ExternalIP'])
    .describe('kubernetes: which address of a node is its underlay address')
    .prefault('InternalIP'),
  remoteClusters: flag()
    .describe(
      'kubernetes: read RemoteCluster objects, and the clusters that they lead to; only for our own cluster',
    )
    .prefault(true),
  ...everySource,
});

const calicoSource = section({
  kind: kind('calico', 'IPPools and BlockAffinities of Calico'),
  cluster,
  datastore: choice(['kubernetes', 'etcd'])
    .describe('calico: where Calico keeps its objects')
    .prefault('kubernetes'),
  ...kubernetesAccess,
  // None by default here, since the Kubernetes datastore needs none; a cross-check asks for one where etcd is the datastore.
  endpoints: list(endpoint(), 'endpoints', 0, ENDPOINTS_MAX)
    .describe('etcd, calico: addresses of etcd, tried one after the other')
    .prefault([]),
  ...etcdAccess,
  aggregate: choice(['pool', 'block'])
    .describe(
      'calico: routes for whole pools behind the gateways, or for each block to the node that holds it',
    )
    .prefault('pool'),
  gateways,
  ...everySource,
});

const ciliumSource = section({
  kind: kind('cilium', 'CiliumNodes of Cilium'),
  cluster,
  ...kubernetesAccess,
  gateways,
  ...everySource,
});

const etcdSource = section({
  kind: kind('etcd', 'gateways that register themselves in etcd, as this one does'),
  endpoints: list(endpoint(), 'endpoints', 0, ENDPOINTS_MAX)
    .describe('etcd, calico: addresses of etcd, tried one after the other')
    .prefault([]),
  ...etcdAccess,
  prefix: keyPrefix().describe('etcd: what all our keys begin with').prefault('/isthmus/'),
  register: flag().describe('etcd: announce this gateway and our own CIDRs to the others').prefault(true),
  leaseTime: duration(2000)
    .describe('etcd: how long after its last sign of life a gateway that died is taken out')
    .prefault('10s'),
  weight: integer(0, GATEWAY_WEIGHT_MAX)
    .describe('etcd: the share of the flows that this gateway asks the others for')
    .prefault(1),
  ...everySource,
});

const kernelRoutesSource = section({
  kind: kind('kernel-routes', 'routes that BIRD, FRR or somebody else put into a routing table of this host'),
  cluster,
  table: integer(1, 0xffff_ffff).describe('kernel-routes: the routing table; 254 is main').prefault(254),
  protocols: list(routingProtocol(), 'protocols', 1, PROTOCOLS_MAX)
    .describe('kernel-routes: who installed the routes that count, by name or number of the routing protocol')
    .prefault(['bird', 'bgp']),
  within: list(cidr(), 'CIDRs', 0, LOCAL_CIDRS_MAX)
    .describe('kernel-routes: only routes inside one of these count; empty: all')
    .prefault([]),
  via: across(list(gatewaySchema, 'gateways', 0, GATEWAYS_MAX), eachGatewayOnce)
    .describe('kernel-routes: gateways of a remote cluster; empty takes the next hop of each route')
    .prefault([]),
  ...everySource,
});

export const watchSchema = z.discriminatedUnion('kind', [
  fileSource,
  kubernetesSource,
  calicoSource,
  ciliumSource,
  etcdSource,
  kernelRoutesSource,
]);

export type WatchConfig = z.output<typeof watchSchema>;
