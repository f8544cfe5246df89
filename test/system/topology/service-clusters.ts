import type { Topology } from '../../../src/measure/topology.ts';
import {
  type ClusterMachines,
  type ClusterName,
  type GatewayMachine,
  type PodMachine,
  twoClusters,
} from '../../../src/measure/two-clusters.ts';
import { type GatewayProcess, type JoinedClusters, joinClusters } from './gateway-process.ts';

/**
 * Two clusters as Kubernetes makes them: two nodes each, a pod on each node, and services whose addresses exist only in kube-proxy's rules.
 *
 *   podA1 ── gwA  ─┐            ┌─ gwB  ── podB1
 *                  ├── router ──┤
 *   podA2 ── gwA2 ─┘            └─ gwB2 ── podB2
 *
 * Pod k hangs on node k only; the nodes of a cluster reach each other's pods by routes over the underlay, as flannel's host-gw has it.
 */
export interface ServiceCluster extends ClusterMachines {
  readonly serviceCidr: string;
  readonly serviceAddress: string;
}

export const SERVICE_PORT = 80;

const SERVICE_NUMBER = { a: 101, b: 102 } as const;
const POD_NUMBER = { a: 1, b: 2 } as const;

export interface ServiceClusters extends JoinedClusters {
  readonly a: ServiceCluster;
  readonly b: ServiceCluster;
}

/** Starts a gateway on every node. Cluster A sends to the first gateway of B only, so that a test knows where its packets come in, and back. */
export async function serviceClusters(): Promise<ServiceClusters> {
  const scene = await twoClusters({ pods: 0, secondGateway: ['a', 'b'] });
  const { topology } = scene;
  try {
    const a = await withNodes(topology, scene.a, 'a');
    const b = await withNodes(topology, scene.b, 'b');
    const joined = await joinClusters({ ...scene, a, b }, {}, (gateway, local, remote) =>
      configure(gateway, local === a ? a : b, remote === b ? b : a),
    );
    return { ...joined, a, b };
  } catch (error) {
    await topology.close();
    throw error;
  }
}

/** Configures a gateway of `local`, with whatever else a test wants. */
export function configure(
  gateway: GatewayProcess,
  local: ServiceCluster,
  remote: ServiceCluster,
  services: object = {},
): void {
  gateway.configure(local, remote, {
    cluster: { name: local.name, cidrs: [local.cidr, local.serviceCidr] },
    clusters: [
      {
        name: remote.name,
        cidrs: [remote.cidr, remote.serviceCidr],
        gateways: [{ address: remote.gateways[0]!.address }],
      },
    ],
    services: { cidrs: [local.serviceCidr], ...services },
  });
}

async function withNodes(
  topology: Topology,
  cluster: ClusterMachines,
  name: ClusterName,
): Promise<ServiceCluster> {
  const network = (pod: number) => `10.${POD_NUMBER[name]}.${pod}`;
  const pods: PodMachine[] = [];
  for (const [index, node] of cluster.gateways.entries()) {
    pods.push(await makePod(topology, node, `pod${name.toUpperCase()}${index + 1}`, network(index + 1)));
    for (const [other, { address }] of cluster.gateways.entries())
      if (other !== index) await node.machine.ip(`route add ${network(other + 1)}.0/24 via ${address}`);
  }
  const services = `10.${SERVICE_NUMBER[name]}.0`;
  return { ...cluster, pods, serviceCidr: `${services}.0/16`, serviceAddress: `${services}.10` };
}

async function makePod(
  topology: Topology,
  node: GatewayMachine,
  name: string,
  network: string,
): Promise<PodMachine> {
  const machine = await topology.machine(name);
  await topology.cable(
    { machine, device: 'eth0', addresses: [`${network}.2/24`] },
    { machine: node.machine, device: `cali${name}`, addresses: [`${network}.1/24`] },
  );
  await machine.ip(`route add default via ${network}.1`);
  return { machine, address: `${network}.2` };
}
