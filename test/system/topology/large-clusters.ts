import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatAddress, parseCidr4 } from '../../../src/base/address.ts';
import { entryOf } from '../../../src/measure/shipped-gateway.ts';
import { type TwoClusters, twoClusters } from '../../../src/measure/two-clusters.ts';
import { installCalicoCrds } from '../../fixtures/calico-crds.ts';
import { KubeApiServer } from '../../fixtures/kube-api-server.ts';
import {
  createBlocks,
  createNodes,
  NODE_NETWORK,
  type PlannedNode,
  planNodes,
} from '../../fixtures/many-nodes.ts';
import { GatewayProcess } from './gateway-process.ts';

/**
 * Remote clusters of many nodes, each with a real API server behind the router, that the gateway of A reads:
 *
 *   podA1 ── gwA ──── router ──── gwB ── podB1, which is a pod of the last node of each cluster
 *                    │  │  │
 *               api-c1 api-c2 api-c3
 *
 * The address of those last nodes is that of gwB. What goes to any other node is dropped silently by the router.
 */
export interface LargeClusters extends TwoClusters {
  readonly gwA: GatewayProcess;
  readonly gwB: GatewayProcess;
  readonly clusters: readonly LargeCluster[];
}

export interface LargeCluster {
  readonly name: string;
  readonly api: KubeApiServer;
  /** For the administrator. */
  readonly kubeconfig: string;
  readonly nodes: readonly PlannedNode[];
  /** The name of the node that gwB is. */
  readonly lastNode: string;
  /** Of a pod of that node, which answers. */
  readonly pod: string;
}

export interface LargeClustersOptions {
  readonly clusters: number;
  /** In each cluster. */
  readonly nodes: number;
  /** Whether each node holds a block of Calico as well. */
  readonly blocks: boolean;
}

export async function largeClusters(options: LargeClustersOptions): Promise<LargeClusters> {
  const scene = await twoClusters();
  const servers: KubeApiServer[] = [];
  const close = scene.topology.close.bind(scene.topology);
  scene.topology.close = async () => {
    for (const server of servers) await server.close();
    await close();
  };
  try {
    await scene.router.ip(`route add blackhole ${NODE_NETWORK}`);
    const clusters: LargeCluster[] = [];
    for (let number = 0; number < options.clusters; number++)
      clusters.push(await makeCluster(scene, number, options, servers));
    const gwA = new GatewayProcess(scene.topology, scene.a.gateways[0]!);
    return { ...scene, gwA, gwB: await startFarGateway(scene, clusters), clusters };
  } catch (error) {
    await scene.topology.close();
    throw error;
  }
}

async function makeCluster(
  scene: TwoClusters,
  number: number,
  { nodes: count, blocks }: LargeClustersOptions,
  servers: KubeApiServer[],
): Promise<LargeCluster> {
  const { topology, router, b } = scene;
  const name = `c${number + 1}`;
  const machine = await topology.machine(`api-${name}`);
  const network = `172.31.${21 + number}`;
  await topology.cable(
    { machine, device: 'under0', addresses: [`${network}.2/24`] },
    { machine: router, device: `to-api-${name}`, addresses: [`${network}.1/24`] },
  );
  await machine.ip(`route add default via ${network}.1`);
  const folder = join(topology.folder, `api-${name}`);
  const api = await KubeApiServer.start({ folder, machine, address: `${network}.2` });
  servers.push(api);
  const planned = planNodes(number, number * count, count);
  const last = { ...planned.at(-1)!, address: b.gateways[0]!.address };
  const nodes = [...planned.slice(0, -1), last];
  await createNodes(api, nodes);
  if (blocks) {
    await installCalicoCrds(api.admin);
    await createBlocks(api, nodes);
  }
  const kubeconfig = join(folder, 'admin.kubeconfig');
  writeFileSync(kubeconfig, api.kubeconfig());
  const pod = formatAddress(parseCidr4(last.podCidr).address + 2);
  return { name, api, kubeconfig, nodes, lastNode: last.name, pod };
}

/** The gateway of B serves the last node of every cluster, whose pods are all podB1. */
async function startFarGateway(
  { topology, a, b }: TwoClusters,
  clusters: readonly LargeCluster[],
): Promise<GatewayProcess> {
  const [pod] = b.pods;
  const gateway = new GatewayProcess(topology, b.gateways[0]!);
  const cidrs = clusters.map(({ nodes }) => nodes.at(-1)!.podCidr);
  await pod!.machine.ip(...clusters.map((cluster) => `addr add ${cluster.pod}/32 dev eth0`));
  await gateway.machine.ip(...cidrs.map((cidr) => `route add ${cidr} via ${pod!.address}`));
  gateway.configure(b, a, {
    cluster: { name: b.name, cidrs: [b.cidr, ...cidrs] },
    clusters: [entryOf(a)],
  });
  gateway.start();
  await gateway.ready();
  return gateway;
}

/** Has gwA read all clusters with sources of this kind; without any state of an earlier run. */
export function configureReader(
  { gwA, a, b, clusters }: LargeClusters,
  source: { readonly kind: 'kubernetes' } | { readonly kind: 'calico'; readonly aggregate: 'block' },
): void {
  gwA.configure(a, b, {
    clusters: [],
    watch: clusters.map(({ name, kubeconfig }) => ({ ...source, cluster: name, kubeconfig })),
    state: { directory: 'none' },
  });
}
