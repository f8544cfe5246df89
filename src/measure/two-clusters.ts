import { type Machine, Topology } from './topology.ts';

/**
 * Two clusters, a gateway each, and between the gateways a router that knows the underlay and none of the overlay addresses:
 *
 *   podA1 ── gwA ──── router ──── gwB ── podB1
 *   10.1.1.2  172.31.1.2   172.31.2.2   10.2.1.2
 *
 * Pod k of a cluster has a cable of its own, network 10.<cluster>.<k>.0/24, and its gateway as the default route. A second gateway of a
 * cluster hangs on the same underlay network and has a second cable to every pod, which spreads its flows over both.
 */
export interface TwoClustersOptions {
  /** Pods in each cluster. */
  readonly pods?: number;
  readonly podMtuBytes?: number;
  readonly underlayMtuBytes?: number;
  /** MTU between the router and the gateways of B, where it differs: a path that is narrower than the link of A. */
  readonly farMtuBytes?: number;
  /** All gateways on one segment, the router only a bridge. */
  readonly flat?: boolean;
  /** Clusters that get a second gateway. */
  readonly secondGateway?: readonly ClusterName[];
}

export type ClusterName = 'a' | 'b';

export interface ClusterMachines {
  /** Of the configuration: `east` and `west`. */
  readonly name: string;
  readonly cidr: string;
  readonly pods: readonly PodMachine[];
  readonly gateways: readonly GatewayMachine[];
}

export interface PodMachine {
  readonly machine: Machine;
  readonly address: string;
}

export interface GatewayMachine {
  readonly machine: Machine;
  /** On the underlay. */
  readonly address: string;
  /** Its underlay device. */
  readonly device: string;
}

export interface TwoClusters {
  readonly topology: Topology;
  readonly a: ClusterMachines;
  readonly b: ClusterMachines;
  readonly router: Machine;
  /** The router's device towards the gateways of A: where captures see every packet between the clusters. */
  readonly routerDevice: string;
  /** Something on the underlay that is no gateway, on the network of A. */
  readonly stranger: GatewayMachine;
}

const NUMBER = { a: 1, b: 2 } as const;
const NAME = { a: 'east', b: 'west' } as const;
const UNDERLAY_DEVICE = 'under0';

const ROUTER_SYSCTLS = {
  'net.ipv4.ip_forward': 1,
  'net.ipv4.conf.all.rp_filter': 1,
  'net.ipv4.conf.default.rp_filter': 1,
};

export async function twoClusters(options: TwoClustersOptions = {}): Promise<TwoClusters> {
  const topology = new Topology();
  try {
    const router = await makeRouter(topology, options);
    const [a, b] = [
      await makeCluster(topology, router, 'a', options),
      await makeCluster(topology, router, 'b', options),
    ];
    const stranger = await makeUnderlayHost(topology, router, 'a', 'stranger', 9, options);
    const routerDevice = options.flat === true ? 'segment' : 'segment1';
    return { topology, a, b, router, routerDevice, stranger };
  } catch (error) {
    await topology.close();
    throw error;
  }
}

/** Bridges, because a cluster may have several gateways; with one flat segment there is just one, and nothing to route. */
async function makeRouter(topology: Topology, options: TwoClustersOptions): Promise<Machine> {
  const router = await topology.machine('router');
  await router.sysctl(ROUTER_SYSCTLS);
  const segments = options.flat === true ? ['segment'] : ['segment1', 'segment2'];
  for (const [index, segment] of segments.entries()) {
    const mtu = index === 1 ? farMtu(options) : (options.underlayMtuBytes ?? 1500);
    await router.ip(`link add ${segment} type bridge`, `link set ${segment} mtu ${mtu} up`);
    if (options.flat !== true) await router.ip(`addr add 172.31.${index + 1}.1/24 dev ${segment}`);
  }
  return router;
}

function farMtu(options: TwoClustersOptions): number {
  return options.farMtuBytes ?? options.underlayMtuBytes ?? 1500;
}

async function makeUnderlayHost(
  topology: Topology,
  router: Machine,
  cluster: ClusterName,
  name: string,
  host: number,
  options: TwoClustersOptions,
): Promise<GatewayMachine> {
  const machine = await topology.machine(name);
  const flat = options.flat === true;
  const number = NUMBER[cluster];
  // On a flat segment the clusters' gateways must not share host numbers.
  const address = flat ? `172.31.0.${host + 10 * number}` : `172.31.${number}.${host}`;
  const mtuBytes = cluster === 'b' ? farMtu(options) : (options.underlayMtuBytes ?? 1500);
  const port = `to-${name}`;
  await topology.cable(
    { machine, device: UNDERLAY_DEVICE, addresses: [`${address}/24`], mtuBytes },
    { machine: router, device: port, mtuBytes },
  );
  await router.ip(`link set ${port} master ${flat ? 'segment' : `segment${number}`}`);
  if (!flat) await machine.ip(`route add default via 172.31.${number}.1`);
  return { machine, address, device: UNDERLAY_DEVICE };
}

async function makeCluster(
  topology: Topology,
  router: Machine,
  cluster: ClusterName,
  options: TwoClustersOptions,
): Promise<ClusterMachines> {
  const letter = cluster.toUpperCase();
  const gateways: GatewayMachine[] = [];
  const names =
    options.secondGateway?.includes(cluster) === true ? [`gw${letter}`, `gw${letter}2`] : [`gw${letter}`];
  for (const [index, name] of names.entries()) {
    const gateway = await makeUnderlayHost(topology, router, cluster, name, 2 + index, options);
    await gateway.machine.sysctl(ROUTER_SYSCTLS);
    gateways.push(gateway);
  }
  const pods: PodMachine[] = [];
  for (let pod = 1; pod <= (options.pods ?? 1); pod++) {
    pods.push(await makePod(topology, gateways, cluster, pod, options));
  }
  return { name: NAME[cluster], cidr: `10.${NUMBER[cluster]}.0.0/16`, pods, gateways };
}

async function makePod(
  topology: Topology,
  gateways: readonly GatewayMachine[],
  cluster: ClusterName,
  pod: number,
  options: TwoClustersOptions,
): Promise<PodMachine> {
  const machine = await topology.machine(`pod${cluster.toUpperCase()}${pod}`);
  const network = `10.${NUMBER[cluster]}.${pod}`;
  const address = `${network}.2`;
  const mtuBytes = options.podMtuBytes ?? 1500;
  const hops: string[] = [];
  for (const [index, gateway] of gateways.entries()) {
    const device = `eth${index}`;
    const via = `${network}.${index === 0 ? 1 : 254}`;
    await topology.cable(
      // On the second cable the same address again, as a host address: only the first cable carries the network's route.
      { machine, device, addresses: [index === 0 ? `${address}/24` : `${address}/32`], mtuBytes },
      { machine: gateway.machine, device: `pod${pod}`, addresses: [`${via}/24`], mtuBytes },
    );
    hops.push(`nexthop via ${via} dev ${device} onlink`);
  }
  await machine.ip(`route add default ${hops.join(' ')}`);
  // Spread by ports, not only by addresses: two pods are one pair of addresses.
  if (gateways.length > 1) await machine.sysctl({ 'net.ipv4.fib_multipath_hash_policy': 1 });
  return { machine, address };
}
