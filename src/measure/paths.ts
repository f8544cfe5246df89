import { rawSocketLacks } from '../io/raw-socket-package.ts';
import type { PathKind } from './model.ts';
import { lacking } from './sandbox.ts';
import { type ConfigurationChange, startGateways } from './shipped-gateway.ts';
import { type GatewayMachine, type TwoClusters, twoClusters } from './two-clusters.ts';

/**
 * One way for packets from the pod of cluster A to the pod of cluster B. Each has machines of its own, all made by the same function:
 * nothing that one path leaves behind (path-MTU exceptions, routes, a cold gateway) reaches another, and an idle path takes no
 * processor time.
 */
export interface PathSpec {
  readonly name: string;
  readonly kind: PathKind;
  /**
   * Measured with the segmentation offload of the gateways' underlay devices too, not only without (`W`). Not worth its time for
   * what sends every packet by itself anyway.
   */
  readonly withOffloads: boolean;
  /** Why it cannot be measured here, with the package that is missing; undefined when nothing speaks against it. */
  lacks(): string | undefined;
  /** Inside the sandbox. What it rejects with is listed with the path's name. */
  open(): Promise<OpenPath>;
}

export interface OpenPath {
  readonly scene: TwoClusters;
  /** Ends its processes and takes its machines down. */
  close(): Promise<void>;
}

/** What rounds need to know of a path, wherever it is. */
export type Measurable = Pick<PathSpec, 'name' | 'kind' | 'lacks'>;

/** A path as it is measured: with or without offloads. */
export interface Variant<S extends Measurable = PathSpec> {
  readonly name: string;
  readonly spec: S;
  readonly offloads: boolean;
  /** The plain forwarding that it is compared with. */
  readonly reference: string;
}

export const REFERENCE = 'plain forwarding';
const WIRE = ', W';

export function variantsOf(specs: readonly PathSpec[]): Variant[] {
  return specs.flatMap((spec) => [
    ...(spec.withOffloads ? [{ name: spec.name, spec, offloads: true, reference: REFERENCE }] : []),
    { name: `${spec.name}${WIRE}`, spec, offloads: false, reference: `${REFERENCE}${WIRE}` },
  ]);
}

/** What is measured beside the peers, in the order of the table. */
export const PATHS: readonly PathSpec[] = [
  {
    name: REFERENCE,
    kind: 'reference',
    withOffloads: true,
    lacks: nothing,
    open: () => opened(forwardPlainly),
  },
  isthmus('Isthmus', {}, { withOffloads: true }),
  isthmus('Isthmus, packet sender', { tunnel: { transmit: 'packet' } }),
  isthmus(
    'Isthmus on the package raw-socket',
    { tunnel: { underlaySocket: 'raw-socket' } },
    { lacks: rawSocketLacks },
  ),
  {
    name: 'kernel VXLAN',
    kind: 'kernel',
    withOffloads: true,
    lacks: nothing,
    open: () => opened(joinByVxlan),
  },
];

function isthmus(
  name: string,
  change: ConfigurationChange,
  more: Partial<Pick<PathSpec, 'withOffloads' | 'lacks'>> = {},
): PathSpec {
  const open = (): Promise<OpenPath> => opened((scene) => startGateways(scene, change));
  return { name, kind: 'isthmus', withOffloads: false, lacks: nothing, open, ...more };
}

function nothing(): undefined {
  return undefined;
}

/** Machines that `join` has joined; none are left where it fails. */
export async function opened(join: (scene: TwoClusters) => Promise<void>): Promise<OpenPath> {
  const scene = await twoClusters();
  try {
    await join(scene);
  } catch (error) {
    await scene.topology.close();
    throw error;
  }
  return { scene, close: () => scene.topology.close() };
}

/** The router knows the pods too: the same machines and cables, without any tunnel. */
async function forwardPlainly({ router, a, b }: TwoClusters): Promise<void> {
  await router.ip(
    `route add ${a.cidr} via ${a.gateways[0]!.address}`,
    `route add ${b.cidr} via ${b.gateways[0]!.address}`,
  );
}

async function joinByVxlan({ a, b }: TwoClusters): Promise<void> {
  const [gatewayA, gatewayB] = [a.gateways[0]!, b.gateways[0]!];
  await addVxlan(gatewayA, gatewayB, ['10.255.0.1', '10.255.0.2'], b.cidr);
  await addVxlan(gatewayB, gatewayA, ['10.255.0.2', '10.255.0.1'], a.cidr);
}

async function addVxlan(
  own: GatewayMachine,
  other: GatewayMachine,
  [ownAddress, otherAddress]: readonly [string, string],
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
export async function setOffloads({ a, b }: TwoClusters, on: boolean): Promise<void> {
  if (lacking('ethtool', 'ethtool') === undefined) {
    const state = on ? 'on' : 'off';
    for (const { machine, device } of [a.gateways[0]!, b.gateways[0]!]) {
      await machine.exec('ethtool', '-K', device, 'tso', state, 'gso', state);
    }
  }
  for (const { machine } of [a.pods[0]!, b.pods[0]!]) await machine.ip('route flush cache');
}

/** Why a variant cannot be measured here, or undefined. */
export function variantLacks({ spec, offloads }: Variant<Measurable>): string | undefined {
  return (offloads ? undefined : lacking('ethtool', 'ethtool')) ?? spec.lacks();
}
