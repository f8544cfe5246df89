import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import type { NatKeeperRequest } from './nat-keeper.ts';
import type { Daemon } from './topology/daemon.ts';
import { type IptablesFlavour, natTable, restoreTable } from './topology/kube-proxy.ts';
import { lacking } from './topology/sandbox.ts';
import { suiteInScene } from './topology/scene.ts';
import {
  SERVICE_PORT,
  type ServiceCluster,
  type ServiceClusters,
  serviceClusters,
} from './topology/service-clusters.ts';
import { type Machine, poll } from './topology/topology.ts';
import type { PodMachine } from './topology/two-clusters.ts';

const KEEPER = fileURLToPath(new URL('./nat-keeper.js', import.meta.url));
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

/** Keeps our rules on a cluster's first node while `body` runs. */
async function withRules(
  cluster: ServiceCluster,
  wish: Partial<NatKeeperRequest>,
  body: () => Promise<void>,
): Promise<void> {
  const keeper = await startKeeper(cluster, wish);
  try {
    await body();
  } finally {
    assert.equal(await keeper.kill('SIGTERM'), 0, keeper.log());
  }
}

async function startKeeper(cluster: ServiceCluster, wish: Partial<NatKeeperRequest> = {}): Promise<Daemon> {
  const request: NatKeeperRequest = {
    device: 'isthmus0',
    masquerade: 'auto',
    services: [cluster.serviceCidr],
    local: [cluster.cidr, cluster.serviceCidr],
    keepSource: false,
    underlayDevice: cluster.gateways[0]!.device,
    ...wish,
  };
  const { machine } = cluster.gateways[0]!;
  const keeper = machine.start('NAT rules', [process.execPath, KEEPER, JSON.stringify(request)]);
  await poll('the NAT rules are in force', READY_MS, () => {
    if (!keeper.isRunning) throw new Error(`the keeper of NAT rules ended:\n${keeper.log()}`);
    return keeper.stdout().includes('\nin force') || keeper.stdout().startsWith('in force');
  });
  return keeper;
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
    check('without our rules kube-proxy takes clients of another cluster for strangers', async ({ a, b }) => {
      await proxy(flavour, b, [b.pods[0]!]);
      const answers = await ask(a.pods[0]!.machine, b.serviceAddress);
      assert.deepEqual(answers, ['podB1 10.2.1.1']);
    });

    check('each cluster reaches the service of the other, and its server sees the pod', async ({ a, b }) => {
      await proxy(flavour, a, [a.pods[0]!]);
      await proxy(flavour, b, [b.pods[0]!]);
      await withRules(a, {}, () =>
        withRules(b, {}, async () => {
          assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress), [`podB1 ${a.pods[0]!.address}`]);
          assert.deepEqual(await ask(b.pods[0]!.machine, a.serviceAddress), [`podA1 ${b.pods[0]!.address}`]);
        }),
      );
    });

    check('auto: an endpoint on another node answers through this gateway, not by its own', async (scene) => {
      const { a, b } = scene;
      const [gateway] = b.gateways;
      await proxy(flavour, b, [b.pods[1]!]);
      await withRules(b, { masquerade: 'never' }, async () => {
        assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress, 1, 1000), ['no answer']);
      });
      await withRules(b, {}, async () => {
        assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress), [`podB2 ${gateway!.address}`]);
      });
    });

    check(
      'auto: of two endpoints the one on this node sees the pod, the other this node',
      async ({ a, b }) => {
        await proxy(flavour, b, b.pods);
        await withRules(b, {}, async () => {
          const answers = await ask(a.pods[0]!.machine, b.serviceAddress, 40);
          const expected = [`podB1 ${a.pods[0]!.address}`, `podB2 ${b.gateways[0]!.address}`];
          assert.deepEqual([...new Set(answers)].sort(), expected);
        });
      },
    );

    check('always: the server sees this node even where it is on it', async ({ a, b }) => {
      await proxy(flavour, b, [b.pods[0]!]);
      await withRules(b, { masquerade: 'always' }, async () => {
        assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress), ['podB1 10.2.1.1']);
      });
    });

    check('never: every server sees the pod, where the nodes lead replies back here', async ({ a, b }) => {
      const [first, second] = b.gateways;
      await second!.machine.ip(`route add ${a.cidr} via ${first!.address} metric 50`);
      await proxy(flavour, b, b.pods);
      await withRules(b, { masquerade: 'never' }, async () => {
        const answers = await ask(a.pods[0]!.machine, b.serviceAddress, 40);
        const client = a.pods[0]!.address;
        assert.deepEqual([...new Set(answers)].sort(), [`podB1 ${client}`, `podB2 ${client}`]);
      });
      await second!.machine.ip(`route del ${a.cidr} via ${first!.address} metric 50`);
    });

    check(
      'keepSource: a CNI that masquerades what leaves the cluster does not hide pods',
      async ({ a, b }) => {
        // As flannel and Calico's natOutgoing have it: whatever leaves the pod network.
        const leaving = `-s ${a.cidr} ! -d ${a.cidr} -m comment --comment "flanneld masq" -j MASQUERADE --random-fully`;
        await proxy(flavour, a, [a.pods[0]!], [leaving]);
        await proxy(flavour, b, [b.pods[0]!]);
        await withRules(b, {}, async () => {
          await withRules(a, { keepSource: true }, async () => {
            const answers = await ask(a.pods[0]!.machine, b.serviceAddress);
            assert.deepEqual(answers, [`podB1 ${a.pods[0]!.address}`]);
          });
          // The kernel takes the underlay address for want of one on the device, and a tunnel carries no packet of its own end.
          assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress, 1, 1000), ['no answer']);
        });
        await proxy(flavour, a, [a.pods[0]!]);
      },
    );

    check('a pod that came later sees its clients too', async ({ a, b, topology }) => {
      const node = b.gateways[0]!.machine;
      await withRules(b, {}, async () => {
        const pod = await topology.machine('podB3');
        await topology.cable(
          { machine: pod, device: 'eth0', addresses: ['10.2.3.2/24'] },
          { machine: node, device: 'cali3', addresses: ['10.2.3.1/24'] },
        );
        await pod.ip('route add default via 10.2.3.1');
        await poll('the device is near', READY_MS, async () =>
          (await node.exec('nft', 'list', 'set', 'ip', 'isthmus', 'near')).includes('"cali3"'),
        );
        const later = { machine: pod, address: '10.2.3.2' };
        const server = pod.start('web server', [process.execPath, SERVER, 'podB3', String(TARGET_PORT)]);
        await poll('the web server listens', READY_MS, () => server.stdout().includes('listening'));
        await proxy(flavour, b, [later]);
        assert.deepEqual(await ask(a.pods[0]!.machine, b.serviceAddress), [`podB3 ${a.pods[0]!.address}`]);
      });
    });

    check('the table goes with the gateway, and what a killed one left is replaced', async ({ b }) => {
      const { machine } = b.gateways[0]!;
      assert.deepEqual(await tables(machine), []);
      const killed = await startKeeper(b, { masquerade: 'always' });
      await killed.kill('SIGKILL');
      assert.match(await machine.exec('nft', 'list', 'table', 'ip', 'isthmus'), /masquerade/);
      await withRules(b, { masquerade: 'never' }, async () => {
        assert.doesNotMatch(await machine.exec('nft', 'list', 'table', 'ip', 'isthmus'), /masquerade/);
      });
      assert.deepEqual(await tables(machine), []);
    });
  });
}

suiteInScene(
  'NAT rules that somebody removes',
  { make: serviceClusters, skip: lacking('nft', 'nftables') },
  (check) => {
    check("are put back, and nobody else's are touched", async ({ b }) => {
      const { machine } = b.gateways[0]!;
      const keeper = await startKeeper(b);
      const before = await machine.exec('nft', '-s', 'list', 'ruleset');
      await machine.exec('nft', 'flush', 'ruleset');
      await machine.exec('nft', 'add', 'table', 'ip', 'somebody');
      const others = await machine.exec('nft', '-s', 'list', 'ruleset');
      await poll('the rules are back', PUT_BACK_MS, async () => (await tables(machine)).length === 1);
      await poll('both tables are whole', READY_MS, async () => {
        const after = await machine.exec('nft', '-s', 'list', 'ruleset');
        return after.includes(before.trim()) && after.includes(others.trim());
      });
      assert.equal(await keeper.kill('SIGTERM'), 0);
      assert.equal(await machine.exec('nft', '-s', 'list', 'ruleset'), others);
    });
  },
);
