import assert from 'node:assert/strict';
import { type Machine, Topology } from '../../src/measure/topology.ts';
import type { ClusterMachines, TwoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from '../system/topology/agent-commands.ts';
import { GatewayProcess } from '../system/topology/gateway-process.ts';
import { suiteInScene } from '../system/topology/scene.ts';
import { LACKS_UML, UmlGuest } from './uml/guest.ts';

/**
 * Two gateways, and between them a kernel that routes, and spoils what it routes (netem):
 *
 *   podA ── gwA ── guest ── gwB ── podB
 */
interface BadWire extends Pick<TwoClusters, 'topology'> {
  readonly guest: UmlGuest;
  readonly a: ClusterMachines;
  readonly b: ClusterMachines;
  readonly gateways: readonly GatewayProcess[];
}

const PORT = 5001;

async function makeSide(topology: Topology, letter: 'A' | 'B', number: 1 | 2): Promise<ClusterMachines> {
  const [pod, gateway] = [await topology.machine(`pod${letter}`), await topology.machine(`gw${letter}`)];
  await topology.cable(
    { machine: pod, device: 'eth0', addresses: [`10.${number}.1.2/24`] },
    { machine: gateway, device: 'pod1', addresses: [`10.${number}.1.1/24`] },
  );
  await pod.ip(`route add default via 10.${number}.1.1`);
  await gateway.sysctl({ 'net.ipv4.ip_forward': 1 });
  return {
    name: number === 1 ? 'east' : 'west',
    cidr: `10.${number}.0.0/16`,
    pods: [{ machine: pod, address: `10.${number}.1.2` }],
    gateways: [{ machine: gateway, address: `172.31.${number}.2`, device: 'under0' }],
  };
}

async function make(): Promise<BadWire> {
  const topology = new Topology();
  try {
    const [a, b] = [await makeSide(topology, 'A', 1), await makeSide(topology, 'B', 2)];
    const ends = [a, b].map(({ gateways }) => ({ machine: gateways[0]!.machine, device: 'under0' }));
    const guest = await UmlGuest.boot(topology, 'wire', ends);
    await guest.shell(`
modprobe sch_netem || exit 1
echo 1 > /proc/sys/net/ipv4/ip_forward
for i in 1 2; do
  ip addr add 172.31.$i.1/24 dev vec$((i - 1))
  ip link set vec$((i - 1)) up
done`);
    for (const [i, { machine }] of ends.entries())
      await machine.ip(`addr add 172.31.${i + 1}.2/24 dev under0`, `route add default via 172.31.${i + 1}.1`);
    const gateways = [
      new GatewayProcess(topology, a.gateways[0]!),
      new GatewayProcess(topology, b.gateways[0]!),
    ];
    for (const [gateway, local, remote] of [
      [gateways[0]!, a, b],
      [gateways[1]!, b, a],
    ] as const) {
      gateway.configure(local, remote);
      gateway.start();
    }
    await Promise.all(gateways.map((gateway) => gateway.ready()));
    return { topology, guest, a, b, gateways };
  } catch (error) {
    await topology.close();
    throw error;
  }
}

/** `rules` of netem for what goes to B, and to A. Packets of the size of a merged one are spoilt one by one. */
async function spoil({ guest }: BadWire, rules: string): Promise<void> {
  await guest.shell(
    `for d in vec0 vec1; do tc qdisc replace dev $d root netem limit 10000 ${rules} || exit 1; done`,
  );
}

/** A stream each way at once; the far end compares every byte. */
async function streams({ a, b }: BadWire, bytes: number, seed: number): Promise<void> {
  const pods: readonly (readonly [Machine, string])[] = [
    [a.pods[0]!.machine, b.pods[0]!.address],
    [b.pods[0]!.machine, a.pods[0]!.address],
  ];
  const agents = await Promise.all(pods.map(([machine]) => machine.agent(TRAFFIC_AGENT)));
  await Promise.all(agents.map((agent) => agent.call('tcpSink', { port: PORT })));
  const answers = await Promise.all(
    agents.map((agent, i) =>
      agent.call('tcpSend', { destination: pods[i]![1], port: PORT, bytes, connections: 1, seed: seed + i }),
    ),
  );
  for (const { received } of answers) assert.deepEqual(received, [{ bytes, firstDifference: -1 }]);
  await Promise.all(agents.map((agent) => agent.close()));
}

const WIRES = [
  ['delay with jitter', 'delay 20ms 5ms', 4_000_003],
  ['loss', 'delay 2ms loss 2%', 2_000_003],
  ['duplicates', 'delay 2ms duplicate 20%', 4_000_003],
  ['another order', 'delay 5ms reorder 25% 50%', 2_000_003],
  ['flipped bits', 'delay 2ms corrupt 2%', 2_000_003],
  ['all of it', 'delay 5ms 1ms loss 1% duplicate 2% reorder 10% 50% corrupt 1%', 1_000_003],
] as const;

suiteInScene('a bad wire between two gateways', { make, skip: LACKS_UML }, (check) => {
  for (const [seed, [name, rules, bytes]] of WIRES.entries()) {
    check(`${name}: TCP arrives to the byte, both ways at once`, async (scene) => {
      await spoil(scene, rules);
      await streams(scene, bytes, seed * 10);
      const touched = await scene.guest.shell('tc -s qdisc show dev vec1');
      assert.match(touched, /Sent \d{6,} bytes/, 'the traffic went through the bad wire');
    });
  }

  check('both gateways live, are used, and have dropped nothing but what was damaged', async (scene) => {
    await spoil(scene, 'delay 1ms');
    const damage = new Set([
      'outer-malformed',
      'unknown-peer',
      'spoofed-source',
      'not-local',
      'martian',
      'nested',
    ]);
    for (const gateway of scene.gateways) {
      const { traffic, clusters } = await gateway.status();
      assert.equal(clusters[0]!.gatewaysAlive, 1);
      assert.deepEqual(traffic.outbound.drops, {});
      const others = Object.keys(traffic.inbound.drops).filter(
        (reason) => !damage.has(reason) && !reason.startsWith('inner-') && !reason.startsWith('ecn-'),
      );
      assert.deepEqual(others, []);
    }
  });
});
