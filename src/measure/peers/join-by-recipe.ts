import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { poll } from '../topology.ts';
import type { ClusterMachines, TwoClusters } from '../two-clusters.ts';
import { type EndSetup, QUEUE_LENGTH, type Recipe, type TunnelEnd } from './recipe.ts';

/** Longer than a daemon takes on a busy machine: tinc's two ends agree on keys over TCP first. */
const DEVICE_MS = 5000;
const REACHABLE_MS = 10_000;

/**
 * Exits with 0 once a connection to the address is refused by the host that has it: then packets pass in both directions. No program has
 * to listen for that, and no `ping` has to be installed.
 */
const REACHABLE = `
const [address, ms] = process.argv.slice(1);
const deadline = Date.now() + Number(ms);
const attempt = () => {
  const socket = require('node:net').connect({ host: address, port: 1, timeout: 500 });
  const again = (what) => {
    socket.destroy();
    if (what === 'ECONNREFUSED') process.exit(0);
    if (Date.now() > deadline) { console.error(what); process.exit(1); }
    setTimeout(attempt, 20);
  };
  socket.once('connect', () => again('ECONNREFUSED'));
  socket.once('timeout', () => again('no answer'));
  socket.once('error', (error) => again(error.code));
};
attempt();
`;

/** Joins two clusters by a tunnel between their first gateways and waits until packets pass. What it starts ends with the topology. */
export async function joinByRecipe(scene: TwoClusters, recipe: Recipe): Promise<void> {
  const [a, b] = [endOf(scene, 'a', scene.a, scene.b), endOf(scene, 'b', scene.b, scene.a)];
  const [setupA, setupB] = recipe.setUp(a, b);
  // One after the other: a tinc that finds no other end when it starts tries again after five seconds.
  await setUpEnd(scene.b, b, setupB, recipe.mtuBytes);
  await setUpEnd(scene.a, a, setupA, recipe.mtuBytes);
  const destination = scene.b.pods[0]!.address;
  const probe = [process.execPath, '-e', REACHABLE, destination, String(REACHABLE_MS)];
  try {
    await scene.a.pods[0]!.machine.exec(...probe);
  } catch {
    throw new Error(
      `${recipe.name}: ${destination} is not reached within ${REACHABLE_MS} ms\n${scene.topology.logs()}`,
    );
  }
}

function endOf(
  scene: TwoClusters,
  name: 'a' | 'b',
  local: ClusterMachines,
  remote: ClusterMachines,
): TunnelEnd {
  const folder = join(scene.topology.folder, `tunnel-${name}`);
  mkdirSync(folder, { recursive: true });
  return {
    ...{ name, folder, localCidr: local.cidr, remoteCidr: remote.cidr },
    underlay: local.gateways[0]!.address,
    remoteUnderlay: remote.gateways[0]!.address,
    // Namespaces have unique names (`t12-gwA`), and a device's name may have 15 characters.
    device: `tun-${local.gateways[0]!.machine.namespace}`.slice(0, 15),
  };
}

async function setUpEnd(
  cluster: ClusterMachines,
  end: TunnelEnd,
  setup: EndSetup,
  mtuBytes: number,
): Promise<void> {
  const { machine } = cluster.gateways[0]!;
  for (const { path, text } of setup.files) {
    const file = join(end.folder, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text, { mode: 0o600 });
  }
  if (setup.before !== undefined) await machine.ip(...setup.before);
  if (setup.daemon !== undefined) {
    const daemon = machine.start(setup.daemon[0]!, setup.daemon, setup.environment);
    await poll(`${daemon.name}: device ${end.device}`, DEVICE_MS, async () => {
      if (!daemon.isRunning)
        throw new Error(`${daemon.name} ended with ${await daemon.exited}\n${daemon.log()}`);
      return (await machine.ipJson<{ ifname: string }>('link')).some(({ ifname }) => ifname === end.device);
    });
  }
  if (setup.configure !== undefined) await machine.exec(...setup.configure);
  await machine.ip(
    `link set ${end.device} mtu ${mtuBytes} txqueuelen ${QUEUE_LENGTH} up`,
    `route add ${end.remoteCidr} dev ${end.device}`,
  );
}
