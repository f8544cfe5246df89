import { lacking } from '../../src/measure/sandbox.ts';
import type { ConfigurationChange } from '../../src/measure/shipped-gateway.ts';
import type { GatewayMachine, TwoClusters } from '../../src/measure/two-clusters.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT, type TrafficAgent } from '../../test/system/topology/agent-commands.ts';
import { joinClusters } from '../../test/system/topology/gateway-process.ts';
import { RAW_SOCKET } from '../../test/system/topology/variants.ts';

/** The port that floods go to. */
export const SINK_PORT = 9;

/**
 * One way for packets from a pod of A to a pod of B. Each has machines of its own, all made by the same function: nothing that one path
 * leaves behind (path-MTU exceptions, routes, a cold gateway) reaches another, and an idle path takes no processor time.
 */
export interface Path {
  readonly scene: TwoClusters;
  readonly sender: TrafficAgent;
  readonly receiver: TrafficAgent;
}

/** A path, with or without the offloads of the underlay devices. */
export interface Variant {
  readonly name: string;
  readonly path: PathName;
  /** Segmentation offload of the gateways' underlay devices: without it every packet is at most 1,500 bytes, as on a real wire. */
  readonly offloads: boolean;
  /** The variant of plain forwarding that it is compared with. */
  readonly reference: string;
}

export type PathName = 'direct' | 'isthmus' | 'rawSocket' | 'vxlan';

const DIRECT = 'plain forwarding';
const DIRECT_W = 'plain forwarding, W';

export const VARIANTS: readonly Variant[] = [
  { name: DIRECT, path: 'direct', offloads: true, reference: DIRECT },
  { name: DIRECT_W, path: 'direct', offloads: false, reference: DIRECT_W },
  { name: 'Isthmus', path: 'isthmus', offloads: true, reference: DIRECT },
  { name: 'Isthmus, W', path: 'isthmus', offloads: false, reference: DIRECT_W },
  { name: 'Isthmus on the package raw-socket, W', path: 'rawSocket', offloads: false, reference: DIRECT_W },
  { name: 'kernel VXLAN', path: 'vxlan', offloads: true, reference: DIRECT },
  { name: 'kernel VXLAN, W', path: 'vxlan', offloads: false, reference: DIRECT_W },
];

const MAKERS: Readonly<Record<PathName, () => Promise<TwoClusters>>> = {
  direct: directClusters,
  isthmus: () => isthmusClusters({ tunnel: {} }),
  rawSocket: () => isthmusClusters(RAW_SOCKET.change),
  vxlan: vxlanClusters,
};

/** Why a variant cannot be measured here, or undefined. */
export function variantLacks(variant: Variant): string | undefined {
  if (!variant.offloads) {
    const missing = lacking('ethtool', 'ethtool');
    if (missing !== undefined) return missing;
  }
  return variant.path === 'rawSocket' ? RAW_SOCKET.skip : undefined;
}

export async function openPath(name: PathName): Promise<Path> {
  const scene = await MAKERS[name]();
  try {
    const [podA, podB] = [scene.a.pods[0]!, scene.b.pods[0]!];
    const [sender, receiver] = await Promise.all([
      podA.machine.agent(TRAFFIC_AGENT),
      podB.machine.agent(TRAFFIC_AGENT),
    ]);
    await receiver.call('udpSink', { port: SINK_PORT });
    return { scene, sender, receiver };
  } catch (error) {
    await scene.topology.close();
    throw error;
  }
}

/** Packets to the other cluster's gateway are known to the router too: the same machines and cables, without any tunnel. */
async function directClusters(): Promise<TwoClusters> {
  const scene = await twoClusters();
  await scene.router.ip(
    `route add ${scene.a.cidr} via ${scene.a.gateways[0]!.address}`,
    `route add ${scene.b.cidr} via ${scene.b.gateways[0]!.address}`,
  );
  return scene;
}

async function isthmusClusters(change: ConfigurationChange): Promise<TwoClusters> {
  return joinClusters(await twoClusters(), change);
}

async function vxlanClusters(): Promise<TwoClusters> {
  const scene = await twoClusters();
  const [a, b] = [scene.a.gateways[0]!, scene.b.gateways[0]!];
  try {
    await joinByVxlan(a, b, '10.255.0.1', '10.255.0.2', scene.b.cidr);
    await joinByVxlan(b, a, '10.255.0.2', '10.255.0.1', scene.a.cidr);
  } catch (error) {
    await scene.topology.close();
    throw error;
  }
  return scene;
}

async function joinByVxlan(
  own: GatewayMachine,
  other: GatewayMachine,
  ownAddress: string,
  otherAddress: string,
  remote: string,
): Promise<void> {
  await own.machine.ip(
    `link add vxlan0 type vxlan id 42 local ${own.address} remote ${other.address} dstport 4789 dev ${own.device}`,
    `addr add ${ownAddress}/30 dev vxlan0`,
    'link set vxlan0 up',
    `route add ${remote} via ${otherAddress}`,
  );
}

/** Sets the offloads of both gateways' underlay devices, and forgets what the pods have learnt of the path. */
export async function setOffloads(path: Path, on: boolean): Promise<void> {
  const { a, b } = path.scene;
  if (lacking('ethtool', 'ethtool') === undefined) {
    const state = on ? 'on' : 'off';
    for (const { machine, device } of [a.gateways[0]!, b.gateways[0]!]) {
      await machine.exec('ethtool', '-K', device, 'tso', state, 'gso', state);
    }
  }
  for (const { machine } of [a.pods[0]!, b.pods[0]!]) await machine.ip('route flush cache');
}
