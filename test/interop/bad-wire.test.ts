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

/** Sums over both gateways and both pods, of all that tells what the wire does. */
interface Damage {
  readonly retransmitted: number;
  readonly duplicated: number;
  readonly outOfOrder: number;
  /** By a checksum or a header that cannot be. */
  readonly detected: number;
  readonly droppedByWire: number;
}

/** Counters of /proc/net/snmp or netstat, `Tcp.RetransSegs`: a line of names, then one of values. */
function counters(text: string): Map<string, number> {
  const lines = text.split('\n').map((line) => line.split(' '));
  return new Map(
    lines.flatMap(([group, ...names], i) => {
      const [next, ...values] = lines[i + 1] ?? [];
      return i % 2 === 0 && next === group
        ? names.map((name, k): [string, number] => [`${group!.replace(':', '.')}${name}`, Number(values[k])])
        : [];
    }),
  );
}

async function damage({ a, b, gateways, guest }: BadWire): Promise<Damage> {
  const machines = [a, b].flatMap(({ pods, gateways: [gateway] }) => [pods[0]!.machine, gateway!.machine]);
  const read = async (file: string): Promise<Map<string, number>[]> =>
    Promise.all(machines.map(async (machine) => counters(await machine.exec('cat', file))));
  const [snmp, netstat] = [await read('/proc/net/snmp'), await read('/proc/net/netstat')];
  const sum = (maps: readonly Map<string, number>[], name: string): number =>
    maps.reduce((total, map) => total + (map.get(name) ?? Number.NaN), 0);
  const drops = await Promise.all(
    gateways.map(async (gateway) => (await gateway.status()).traffic.inbound.drops),
  );
  const qdiscs = await guest.shell('tc -s qdisc show dev vec0; tc -s qdisc show dev vec1');
  return {
    retransmitted: sum(snmp, 'Tcp.RetransSegs'),
    duplicated: sum(netstat, 'TcpExt.TCPDSACKRecv'),
    outOfOrder: sum(netstat, 'TcpExt.TCPOFOQueue'),
    detected:
      drops.flatMap((each) => Object.values(each)).reduce((total, count) => total + count, 0) +
      sum(snmp, 'Tcp.InCsumErrors') +
      sum(snmp, 'Ip.InHdrErrors'),
    droppedByWire: [...qdiscs.matchAll(/dropped (\d+)/g)].reduce(
      (total, [, count]) => total + Number(count),
      0,
    ),
  };
}

/** The median of some round trips. What a busy machine adds only makes it longer. */
async function roundTripMs({ a, b }: BadWire): Promise<number> {
  const agent = await a.pods[0]!.machine.agent(TRAFFIC_AGENT);
  const request = { destination: b.pods[0]!.address, count: 21, intervalMs: 1, sizeBytes: 84, seed: 1 };
  const { roundTripMs } = await agent.call('ping', { ...request, timeoutMs: 5000 });
  await agent.close();
  return roundTripMs.median;
}

/** What each wire must have done, for else it would show nothing. */
const WIRES: readonly (readonly [
  name: string,
  rules: string,
  bytes: number,
  shows: readonly (keyof Damage)[],
])[] = [
  ['delay with jitter', 'delay 20ms 5ms', 4_000_003, ['outOfOrder']],
  ['loss', 'delay 2ms loss 2%', 2_000_003, ['droppedByWire', 'retransmitted']],
  ['duplicates', 'delay 2ms duplicate 20%', 4_000_003, ['duplicated']],
  ['another order', 'delay 5ms reorder 25% 50%', 2_000_003, ['outOfOrder']],
  ['flipped bits', 'delay 2ms corrupt 2%', 2_000_003, ['detected', 'retransmitted']],
  [
    'all of it',
    'delay 5ms 1ms loss 1% duplicate 2% reorder 10% 50% corrupt 1%',
    1_000_003,
    ['retransmitted', 'outOfOrder'],
  ],
];
const DELAYED_MS_MIN = 2 * (20 - 5);

suiteInScene('a bad wire between two gateways', { make, skip: LACKS_UML }, (check) => {
  for (const [seed, [name, rules, bytes, shows]] of WIRES.entries()) {
    check(`${name}: TCP arrives to the byte, both ways at once`, async (scene) => {
      await spoil(scene, rules);
      const before = await damage(scene);
      await streams(scene, bytes, seed * 10);
      const after = await damage(scene);
      for (const what of shows)
        assert.ok(after[what] > before[what], `${what}: ${before[what]} before, ${after[what]} after`);
      if (rules.startsWith('delay 20ms')) {
        const median = await roundTripMs(scene);
        assert.ok(median >= DELAYED_MS_MIN, `round trips of ${median} ms`);
      }
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
