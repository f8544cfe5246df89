import {
  type ClusterEntry,
  type ConfigurationChange,
  entryOf,
} from '../../../src/measure/shipped-gateway.ts';
import type { Machine } from '../../../src/measure/topology.ts';
import { type ClusterName, type GatewayMachine, twoClusters } from '../../../src/measure/two-clusters.ts';
import { GatewayProcess, type JoinedClusters, joinClusters } from './gateway-process.ts';

/**
 * The gateways of A and B on one segment, that of C behind a router. B's has a second cable to a network behind the router, too:
 *
 *   podA1 ── gwA ──┬── segment 172.31.0.0/24 ──┬── gwB ── podB1
 *                  └────── router .1 ──────────┘    │ under1 172.31.8.2
 *                           │ └──── 172.31.8.1 ─────┘
 *                           └── 172.31.9.0/24 ── gwC, which is its own pod 10.3.1.2
 */
export interface ThreeClusters extends JoinedClusters {
  readonly gwC: GatewayProcess;
}

export const C = { name: 'south', cidr: '10.3.0.0/16', pod: '10.3.1.2', gateway: '172.31.9.2' } as const;

/** The address of B's gateway behind the router. */
export const B_AWAY = '172.31.8.2';

const ROUTER = '172.31.0.1';
export const WATCHING: ConfigurationChange = {
  watch: [{ kind: 'file', path: 'clusters.yaml', pollInterval: '60s' }],
};

export interface ThreeClustersOptions {
  readonly mode?: 'always' | 'cross-subnet';
  readonly tunnel?: object;
  /** rp_filter of the gateways: 2, or 1 as strict distributions have it. */
  readonly reversePathFilter?: 1 | 2;
  readonly secondGateway?: readonly ClusterName[];
}

export async function threeClusters(options: ThreeClustersOptions = {}): Promise<ThreeClusters> {
  const { mode = 'cross-subnet', tunnel = {}, reversePathFilter = 2, secondGateway } = options;
  const scene = await twoClusters({ flat: true, ...(secondGateway && { secondGateway }) });
  const { topology, router, a, b } = scene;
  await router.ip(`addr add ${ROUTER}/24 dev segment`);
  // A gateway that is told a shorter way by the router would no longer be where the test has put it.
  await router.sysctl({ 'net.ipv4.conf.all.send_redirects': 0, 'net.ipv4.conf.segment.send_redirects': 0 });
  for (const { machine } of [...a.gateways, ...b.gateways]) {
    await machine.ip(`route add default via ${ROUTER}`);
    await machine.sysctl({ 'net.ipv4.conf.all.rp_filter': reversePathFilter });
  }
  await topology.cable(
    { machine: b.gateways[0]!.machine, device: 'under1', addresses: [`${B_AWAY}/24`] },
    { machine: router, device: 'to-away', addresses: ['172.31.8.1/24'] },
  );
  const gateway = await makeC(router, await topology.machine('gwC'), topology);
  const change = { tunnel: { mode, ...tunnel }, ...WATCHING };
  const joined = await joinClusters(scene, { ...change, clusters: [] }, (process, _local, remote) => {
    process.writeWatched([entryOf(remote), entryOfC()]);
  });
  const gwC = new GatewayProcess(topology, gateway);
  const local = { name: C.name, cidr: C.cidr, pods: [], gateways: [gateway] };
  gwC.configure(local, a, { ...change, clusters: [entryOf(a), entryOf(b)] });
  gwC.writeWatched([]);
  gwC.start();
  await gwC.ready();
  return { ...joined, gwC };
}

export function entryOfC(): ClusterEntry {
  return { name: C.name, cidrs: [C.cidr], gateways: [{ address: C.gateway }] };
}

async function makeC(
  router: Machine,
  machine: Machine,
  topology: JoinedClusters['topology'],
): Promise<GatewayMachine> {
  await topology.cable(
    { machine, device: 'under0', addresses: [`${C.gateway}/24`] },
    { machine: router, device: 'to-gwC', addresses: ['172.31.9.1/24'] },
  );
  await machine.ip(`addr add ${C.pod}/32 dev lo`, 'route add default via 172.31.9.1');
  await machine.sysctl({ 'net.ipv4.ip_forward': 1 });
  return { machine, address: C.gateway, device: 'under0' };
}
