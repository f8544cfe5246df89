import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { Daemon } from '../../../src/measure/daemon.ts';
import { PROGRAM } from '../../../src/measure/shipped-gateway.ts';
import {
  type ClusterMachines,
  type TwoClusters,
  type TwoClustersOptions,
  twoClusters,
} from '../../../src/measure/two-clusters.ts';
import { KubeApiServer } from '../../fixtures/kube-api-server.ts';
import type { KubeClient, KubeObject } from '../../fixtures/kube-client.ts';
import { GatewayProcess } from './gateway-process.ts';

/**
 * Two clusters, each with a real API server on its first gateway machine, where its own gateways and, over the underlay, those of the other
 * reach it. Gateways run with what deploy/base gives the DaemonSet's pods: a ServiceAccount's token and its RBAC.
 */
export interface KubernetesClusters extends TwoClusters {
  readonly east: KubernetesSide;
  readonly west: KubernetesSide;
}

export interface KubernetesSide {
  readonly cluster: ClusterMachines;
  readonly api: KubeApiServer;
  readonly gateways: readonly GatewayProcess[];
  /** For the administrator, and for the gateways. */
  readonly adminKubeconfig: string;
  readonly kubeconfig: string;
  readonly serviceCidr: string;
}

/** As in the DaemonSet. */
const ACCOUNT = { namespace: 'isthmus-system', name: 'isthmus' };
const MANIFESTS = ['base/namespace.yaml', 'base/rbac.yaml'];
const SERVICE_CIDRS = { a: '10.101.0.0/16', b: '10.102.0.0/16' } as const;

/** Pods' gateways are Nodes: `node-1` is the first gateway machine with the network of pod 1, and so on. */
export async function kubernetesClusters(options: TwoClustersOptions = {}): Promise<KubernetesClusters> {
  const scene = await twoClusters(options);
  const servers: KubeApiServer[] = [];
  try {
    // One after the other: two at once take longer on a small machine.
    const [east, west] = [await makeSide(scene, 'a', servers), await makeSide(scene, 'b', servers)];
    const close = scene.topology.close.bind(scene.topology);
    scene.topology.close = async () => {
      for (const server of servers) await server.close();
      await close();
    };
    return { ...scene, east, west };
  } catch (error) {
    for (const server of servers) await server.close();
    await scene.topology.close();
    throw error;
  }
}

async function makeSide(
  scene: TwoClusters,
  side: 'a' | 'b',
  servers: KubeApiServer[],
): Promise<KubernetesSide> {
  const cluster = scene[side];
  const [first] = cluster.gateways;
  if (first === undefined) throw new Error('a cluster has at least one gateway');
  const folder = join(scene.topology.folder, `api-${cluster.name}`);
  const api = await KubeApiServer.start({
    folder,
    machine: first.machine,
    address: first.address,
    serviceCidr: SERVICE_CIDRS[side],
  });
  servers.push(api);
  for (const manifest of MANIFESTS) await applyManifest(api.admin, manifest);
  const adminKubeconfig = join(folder, 'admin.kubeconfig');
  const kubeconfig = join(folder, 'gateway.kubeconfig');
  writeFileSync(adminKubeconfig, api.kubeconfig());
  writeFileSync(kubeconfig, api.kubeconfig(await api.serviceAccountToken(ACCOUNT.namespace, ACCOUNT.name)));
  for (const [index, gateway] of cluster.gateways.entries()) {
    const pod = cluster.pods[index];
    const podCidr = pod?.address.replace(/\.\d+$/, '.0/24');
    await api.admin.createNode(`node-${index + 1}`, {
      ...(podCidr !== undefined && { podCidr }),
      address: gateway.address,
    });
  }
  const gateways = cluster.gateways.map((gateway, index) => {
    const process = new GatewayProcess(scene.topology, gateway);
    process.configure(cluster, cluster, {
      cluster: { name: cluster.name, cidrs: [cluster.cidr], gateway: `node-${index + 1}` },
      underlay: { address: gateway.address },
      clusters: [],
      watch: [{ kind: 'kubernetes', kubeconfig, serviceCidrs: [SERVICE_CIDRS[side]] }],
    });
    return process;
  });
  return { cluster, api, gateways, adminKubeconfig, kubeconfig, serviceCidr: SERVICE_CIDRS[side] };
}

const COLLECTIONS: Readonly<Record<string, string>> = {
  Namespace: '/api/v1/namespaces',
  ServiceAccount: '/api/v1/namespaces/isthmus-system/serviceaccounts',
  ClusterRole: '/apis/rbac.authorization.k8s.io/v1/clusterroles',
  ClusterRoleBinding: '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
  Role: '/apis/rbac.authorization.k8s.io/v1/namespaces/isthmus-system/roles',
  RoleBinding: '/apis/rbac.authorization.k8s.io/v1/namespaces/isthmus-system/rolebindings',
};

/** A manifest of deploy/, as it is shipped. */
async function applyManifest(client: KubeClient, manifest: string): Promise<void> {
  const text = readFileSync(new URL(`../../../../deploy/${manifest}`, import.meta.url), 'utf8');
  for (const document of parseAllDocuments(text)) {
    const object = document.toJS() as KubeObject;
    const collection = COLLECTIONS[object.kind];
    if (collection === undefined) throw new Error(`${manifest}: no collection is known for ${object.kind}`);
    await client.createIfAbsent(collection, object);
  }
}

/** Runs `isthmus join`, `leave` and the like on the first gateway machine of east, which reaches both API servers. */
export async function isthmusOf(
  { east, west }: KubernetesClusters,
  command: string,
  ...more: readonly string[]
): Promise<string> {
  const words = [
    ...[command, '--name', east.cluster.name, '--kubeconfig', east.adminKubeconfig],
    ...['--peer-name', west.cluster.name, '--peer-kubeconfig', west.adminKubeconfig],
    ...more,
  ];
  const { machine } = east.cluster.gateways[0]!;
  const daemon = machine.start(`isthmus ${command}`, [process.execPath, PROGRAM, ...words], {
    KUBECONFIG: '/dev/null',
    NO_PROXY: '*',
    no_proxy: '*',
  });
  return endOf(daemon, command);
}

async function endOf(daemon: Daemon, command: string): Promise<string> {
  const status = await daemon.exited;
  if (status !== 0) throw new Error(`isthmus ${command} ended with ${status}\n${daemon.log()}`);
  return daemon.stdout();
}
