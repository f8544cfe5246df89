import {
  type ClusterEntry,
  type ConfigurationChange,
  entryOf,
} from '../../../src/measure/shipped-gateway.ts';
import { twoClusters } from '../../../src/measure/two-clusters.ts';
import { type JoinedClusters, joinClusters } from './gateway-process.ts';

/** A network of B that A's gateway is told of by its watched file only, while traffic flows. */
export const LATE_CIDR = '10.3.0.0/24';
/** The first pod of B has it beside its own address. */
export const LATE_ADDRESS = '10.3.0.2';

/** Two joined clusters whose gateways watch a file each, empty at first; `prepare` may make something else to watch in a gateway's folder. */
export async function joinedWithWatchedFiles(
  further: ConfigurationChange = {},
  prepare: (folder: string) => void = () => {},
): Promise<JoinedClusters> {
  const scene = await twoClusters();
  const pod = scene.b.pods[0]!;
  await pod.machine.ip(`addr add ${LATE_ADDRESS}/32 dev eth0`);
  await scene.b.gateways[0]!.machine.ip(`route add ${LATE_CIDR} via ${pod.address}`);
  // So slow a poll that only the kernel's word of a change can explain a fast reaction.
  const change = { watch: [{ kind: 'file', path: 'clusters.yaml', pollInterval: '60s' }], ...further };
  return joinClusters(scene, change, (gateway, local, remote) => {
    gateway.writeWatched([]);
    prepare(gateway.folder);
    if (local === scene.b) {
      const cluster = { name: local.name, cidrs: [local.cidr, LATE_CIDR] };
      gateway.configure(local, remote, { ...change, cluster });
    }
  });
}

/** The entry for the watched file of A's gateway. */
export function lateNetwork(scene: JoinedClusters): ClusterEntry {
  return { name: 'west-late', cidrs: [LATE_CIDR], gateways: entryOf(scene.b).gateways };
}
