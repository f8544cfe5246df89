import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import type { NatWish } from '../../src/host/nat-table.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import type { PodMachine } from '../../src/measure/two-clusters.ts';
import type { GatewayProcess } from './topology/gateway-process.ts';
import { type IptablesFlavour, natTable, restoreTable } from './topology/kube-proxy.ts';
import { suiteInScene } from './topology/scene.ts';
import {
  configure,
  SERVICE_PORT,
  type ServiceCluster,
  type ServiceClusters,
  serviceClusters,
} from './topology/service-clusters.ts';

const SERVER = fileURLToPath(new URL('./topology/web-server.js', import.meta.url));
const CLIENT = fileURLToPath(new URL('./topology/web-client.js', import.meta.url));
const TARGET_PORT = 8080;
const READY_MS = 10_000;
/** The rules are looked at every 10 s. */
const PUT_BACK_MS = 25_000;

async function startServers(scene: ServiceClusters): Promise<ServiceClusters> {
  for (const { machine } of [...scene.a.pods, ...scene.b.pods]) {
    const server = machine.start('web server', [process.execPath, SERVER, machine.name, String(TARGET_PORT)]);
    await poll('the web server listens', READY_MS, () => server.stdout().includes('listening'));
  }
  return scene;
}

/** Writes kube-proxy's rules on both nodes: the service of the cluster has these endpoints. */
async function proxy(
  flavour: IptablesFlavour,
  cluster: ServiceCluster,
  endpoints: readonly PodMachine[],
  alsoPostrouting: readonly string[] = [],
): Promise<void> {
  const service = {
    address: cluster.serviceAddress,
    port: SERVICE_PORT,
    endpoints: endpoints.map(({ address }) => address),
    targetPort: TARGET_PORT,
    clusterCidr: cluster.cidr,
  };
  for (const { machine } of cluster.gateways)
    await restoreTable(machine, flavour, natTable(service, alsoPostrouting));
}

interface Services {
  readonly cidrs?: readonly string[];
  readonly masquerade?: NatWish['masquerade'];
  readonly keepSource?: boolean;
}

/** What the listing of our table has to hold, and must not, once such a wish is in force. */
const LISTED: Readonly<Record<NatWish['masquerade'], readonly [has: string, lacks: string]>> = {
  auto: ['oifname @near', 'nothing of this kind'],
  always: ['masquerade', 'oifname @near'],
  never: ['snat to ip saddr', 'masquerade'],
};

/** Gives the first gateway of a cluster this section `services`, and waits until its rules are in the kernel. */
async function serve(
  gateway: GatewayProcess,
  local: ServiceCluster,
  remote: ServiceCluster,
  services: Services,
): Promise<void> {
  configure(gateway, local, remote, services);
  await gateway.command('reload');
  const { masquerade = 'auto', keepSource = false, cidrs } = services;
  const [has, lacks] = LISTED[masquerade];
  await poll('the NAT rules are as wished', READY_MS, async () => {
    if (cidrs?.length === 0) return (await tables(gateway.machine)).length === 0;
    const table = await listing(gateway.machine);
    return (
      table.includes(has) && !table.includes(lacks) && table.includes('oifname "isthmus0"') === keepSource
    );
  });
}

async function listing(machine: Machine): Promise<string> {
  return (await tables(machine)).length === 0 ? '' : machine.exec('nft', 'list', 'table', 'ip', 'isthmus');
}

/** `server client` of each connection from a pod to an address. */
async function ask(from: Machine, address: string, connections = 1, limitMs = 5000): Promise<string[]> {
  const words = [address, SERVICE_PORT, connections, limitMs].map(String);
  return (await from.exec(process.execPath, CLIENT, ...words)).trim().split('\n');
}

/** Our tables on a machine. */
async function tables(machine: Machine): Promise<string[]> {
  const text = await machine.exec('nft', 'list', 'tables');
  return text.split('\n').filter((line) => line.includes('isthmus'));
}

for (const flavour of ['iptables-nft', 'iptables-legacy'] as const) {
  const skip = lacking(`${flavour}-restore`, 'iptables') ?? lacking('nft', 'nftables');
  const make = async () => startServers(await serviceClusters());

  suiteInScene(`services behind kube-proxy's rules (${flavour})`, { make, skip }, (check) => {
    check('without our rules kube-proxy takes clients of another cluster for strangers', async (scene) => {
      const { a, b, gwB } = scene;
      await serve(gwB, b, a, { cidrs: [] });
      await proxy(flavour, b, [b.pods[0]!]);
      assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress), ['podB1 10.2.1.1']);
    });

    check('each cluster reaches the service of the other, and its server sees the pod', async (scene) => {
      const { a, b, gwA, gwB } = scene;
      await proxy(flavour, a, [a.pods[0]!]);
      await proxy(flavour, b, [b.pods[0]!]);
      await serve(gwA, a, b, {});
      await serve(gwB, b, a, {});
      assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress), [`podB1 ${a.pods[0]!.address}`]);
      assert.deepEqual(await ask(b.pods[0]!.machine, a.serviceAddress), [`podA1 ${b.pods[0]!.address}`]);
    });

    check('auto: an endpoint on another node answers through this gateway, not by its own', async (scene) => {
      const { a, b, gwB } = scene;
      await proxy(flavour, b, [b.pods[1]!]);
      await serve(gwB, b, a, { masquerade: 'never' });
      assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress, 1, 1000), ['no answer']);
      await serve(gwB, b, a, {});
      const answers = await ask(a.pods[0]!.machine, b.serviceAddress);
      assert.deepEqual(answers, [`podB2 ${b.gateways[0]!.address}`]);
    });

    check('auto: of two endpoints the one on this node sees the pod, the other this node', async (scene) => {
      const { a, b, gwB } = scene;
      await proxy(flavour, b, b.pods);
      await serve(gwB, b, a, {});
      const answers = await ask(a.pods[0]!.machine, b.serviceAddress, 40);
      const expected = [`podB1 ${a.pods[0]!.address}`, `podB2 ${b.gateways[0]!.address}`];
      assert.deepEqual([...new Set(answers)].sort(), expected);
    });

    check('always: the server sees this node even where it is on it', async ({ a, b, gwB }) => {
      await proxy(flavour, b, [b.pods[0]!]);
      await serve(gwB, b, a, { masquerade: 'always' });
      assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress), ['podB1 10.2.1.1']);
    });

    check('never: every server sees the pod, where the nodes lead replies back here', async (scene) => {
      const { a, b, gwB } = scene;
      const [first, second] = b.gateways;
      await second!.machine.ip(`route add ${a.cidr} via ${first!.address} metric 50`);
      await proxy(flavour, b, b.pods);
      await serve(gwB, b, a, { masquerade: 'never' });
      const answers = await ask(a.pods[0]!.machine, b.serviceAddress, 40);
      const client = a.pods[0]!.address;
      assert.deepEqual([...new Set(answers)].sort(), [`podB1 ${client}`, `podB2 ${client}`]);
      await second!.machine.ip(`route del ${a.cidr} via ${first!.address} metric 50`);
    });

    check('keepSource: a CNI that masquerades what leaves the cluster does not hide pods', async (scene) => {
      const { a, b, gwA, gwB } = scene;
      // As flannel and Calico's natOutgoing have it: whatever leaves the pod network.
      const leaving = `-s ${a.cidr} ! -d ${a.cidr} -m comment --comment "flanneld masq" -j MASQUERADE --random-fully`;
      await proxy(flavour, a, [a.pods[0]!], [leaving]);
      await proxy(flavour, b, [b.pods[0]!]);
      await serve(gwB, b, a, {});
      await serve(gwA, a, b, { keepSource: true });
      assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress), [`podB1 ${a.pods[0]!.address}`]);
      // The kernel takes the underlay address for want of one on the device, and a tunnel carries no packet of its own end.
      await serve(gwA, a, b, { keepSource: false });
      assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress, 1, 1000), ['no answer']);
      await proxy(flavour, a, [a.pods[0]!]);
    });

    check('a pod that came later sees its clients too', async ({ a, b, gwB, topology }) => {
      await serve(gwB, b, a, {});
      const pod = await topology.machine('podB3');
      await topology.cable(
        { machine: pod, device: 'eth0', addresses: ['10.2.3.2/24'] },
        { machine: gwB.machine, device: 'cali3', addresses: ['10.2.3.1/24'] },
      );
      await pod.ip('route add default via 10.2.3.1');
      await poll('the device is near', READY_MS, async () =>
        (await listing(gwB.machine)).includes('"cali3"'),
      );
      const server = pod.start('web server', [process.execPath, SERVER, 'podB3', String(TARGET_PORT)]);
      await poll('the web server listens', READY_MS, () => server.stdout().includes('listening'));
      await proxy(flavour, b, [{ machine: pod, address: '10.2.3.2' }]);
      assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress), [`podB3 ${a.pods[0]!.address}`]);
    });

    check('the rules go with the gateway, and those of a killed one are replaced', async (scene) => {
      const { a, b, gwB } = scene;
      await serve(gwB, b, a, { masquerade: 'always' });
      await gwB.kill('SIGKILL');
      assert.match(await listing(gwB.machine), /masquerade/);
      configure(gwB, b, a, { masquerade: 'never' });
      gwB.start();
      await gwB.ready();
      await poll('what was left is replaced', READY_MS, async () => {
        const table = await listing(gwB.machine);
        return table.includes('snat to ip saddr') && !table.includes('masquerade');
      });
      assert.equal(await gwB.kill('SIGTERM'), 0);
      assert.deepEqual(await tables(gwB.machine), []);
    });
  });
}

suiteInScene(
  'NAT rules that somebody removes',
  { make: serviceClusters, skip: lacking('nft', 'nftables') },
  (check) => {
    check("are put back, and nobody else's are touched", async ({ gwB }) => {
      const { machine } = gwB;
      await poll('the NAT rules are there', READY_MS, async () => (await listing(machine)) !== '');
      const before = await machine.exec('nft', '-s', 'list', 'ruleset');
      await machine.exec('nft', 'flush', 'ruleset');
      await machine.exec('nft', 'add', 'table', 'ip', 'somebody');
      const others = await machine.exec('nft', '-s', 'list', 'ruleset');
      await poll('both tables are whole', PUT_BACK_MS, async () => {
        const after = await machine.exec('nft', '-s', 'list', 'ruleset');
        return after.includes(before.trim()) && after.includes(others.trim());
      });
      assert.equal(await gwB.kill('SIGTERM'), 0);
      assert.equal(await machine.exec('nft', '-s', 'list', 'ruleset'), others);
    });
  },
);
