import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import type { PeerRow } from '../../src/admin/view.ts';
import { formatAddress, parseAddress } from '../../src/base/address.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { type TwoClusters, twoClusters } from '../../src/measure/two-clusters.ts';
import { DROP_REASONS } from '../../src/packet/verdict.ts';
import type { CheckTotals, MalformedAgent } from './malformed/agent-commands.ts';
import { MALFORMED_AGENT } from './malformed/agent-commands.ts';
import { WAYS, type Way, type World } from './malformed/traffic.ts';
import { GatewayProcess } from './topology/gateway-process.ts';
import { inScene, systemTest } from './topology/scene.ts';
import { BATCH, PACKET, RAW_SOCKET, type Variant } from './topology/variants.ts';

/** `npm run soak:malformed` sends 2.5 million, so that well over a million are malformed and still reach the gateway. */
const PACKETS = Number(process.env.ISTHMUS_TEST_MALFORMED ?? 100_000);
const SEED = Number(process.env.ISTHMUS_TEST_SEED ?? 20_030_301);
const RSS_GROWTH_BYTES_MAX = 5 << 20;
/** The queue of the tunnel device holds 500, and nothing may be lost. */
const BURST = 250;
const ROUNDS = 10;
/** By then the packet path is compiled and the heap has the size it keeps. */
const WARM_ROUNDS = 3;
const SHARE: Readonly<Record<Way, number>> = {
  device: 0.37,
  pod: 0.1,
  tunnel: 0.36,
  outer: 0.15,
  icmp: 0.02,
};
const PATH_MTU_BYTES_MIN = 596;

interface Scene extends TwoClusters {
  readonly gateway: GatewayProcess;
  readonly world: World;
}

/** A gateway, a pod, and in the place of the other gateway a machine that says what it likes. */
async function make(variant: Variant): Promise<Scene> {
  const scene = await twoClusters({ flat: true });
  const gateway = new GatewayProcess(scene.topology, scene.a.gateways[0]!);
  // Nobody answers probes there, and what the gateway sends by itself is in no oracle.
  gateway.configure(scene.a, scene.b, { ...variant.change, health: { probes: 'off' } });
  gateway.start();
  try {
    await gateway.ready();
    // What comes out of the tunnel would be answered into it, by the kernel and the pod, and be counted among what the test sends.
    await scene.a.pods[0]!.machine.ip('route del default');
    await nft(gateway.machine, 'output', 'oifname isthmus0 drop');
    // Past the tunnel the kernel routes too; only what the gateway forwards is looked at.
    await nft(gateway.machine, 'forward', 'iifname under0 drop; oifname under0 drop');
    await nft(scene.b.gateways[0]!.machine, 'input', 'ip protocol 4 drop');
  } catch (error) {
    await scene.topology.close();
    throw error;
  }
  const world = {
    ours: parseAddress(scene.a.gateways[0]!.address),
    gateway: parseAddress(scene.b.gateways[0]!.address),
    stranger: parseAddress(scene.stranger.address),
    pod: parseAddress(scene.a.pods[0]!.address),
    remotePod: parseAddress(scene.b.pods[0]!.address),
  };
  return { ...scene, gateway, world };
}

async function nft(machine: Machine, hook: string, rule: string): Promise<void> {
  const chain = `chain ${hook} { type filter hook ${hook} priority 0; ${rule}; };`;
  await machine.exec('nft', `table ip malformed { ${chain} }`);
}

async function macOf(machine: Machine, device: string): Promise<string> {
  const [link] = await machine.ipJson<{ address?: string }>('link', 'show', 'dev', device);
  return link?.address ?? '00:00:00:00:00:00';
}

interface Agents {
  markers: number;
  readonly senders: Readonly<Record<Way, MalformedAgent>>;
  readonly checkers: Readonly<Record<Way, MalformedAgent>>;
}

async function openAgents(scene: Scene): Promise<Agents> {
  const { world, gateway } = scene;
  const sender = async (from: Machine, device: string, mac: string): Promise<MalformedAgent> => {
    const agent = await from.agent(MALFORMED_AGENT);
    await agent.call('openSender', { world, device, mac });
    return agent;
  };
  const checker = async (
    device: string,
    direction: 'in' | 'out',
    protocol: number,
  ): Promise<MalformedAgent> => {
    const agent = await gateway.machine.agent(MALFORMED_AGENT);
    await agent.call('openCheck', { world, device, direction, protocol });
    return agent;
  };
  const underlay = await macOf(gateway.machine, 'under0');
  const device = await sender(gateway.machine, 'isthmus0', '00:00:00:00:00:00');
  const pod = await sender(scene.a.pods[0]!.machine, 'eth0', await macOf(gateway.machine, 'pod1'));
  const peer = await sender(scene.b.gateways[0]!.machine, 'under0', underlay);
  const out = await checker('under0', 'out', 4);
  const into = await checker('isthmus0', 'in', 0);
  return {
    markers: 0,
    senders: { device, pod, tunnel: peer, outer: peer, icmp: peer },
    checkers: { device: out, pod: out, tunnel: into, outer: into, icmp: into },
  };
}

/** Sends packets `from` … `to - 1` of a way; each burst when what the one before came to is known. */
async function sendAll(agents: Agents, way: Way, from: number, to: number): Promise<void> {
  for (let next = from; next < to; next += BURST) {
    const count = Math.min(BURST, to - next);
    const burst = { way, seed: SEED, from: next, count, marker: agents.markers++ % 65_536 };
    const [{ refused }] = await Promise.all([
      agents.senders[way].call('send', burst),
      agents.checkers[way].call('check', burst),
    ]);
    assert.deepEqual(refused, []);
  }
}

function residentBytes(gateway: GatewayProcess): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${gateway.daemon.pid}/status`, 'utf8'));
  return Number(kilobytes![1]) * 1024;
}

interface Counted {
  readonly received: number;
  readonly forwarded: number;
  readonly drops: readonly number[];
}

async function counted(gateway: GatewayProcess, direction: 'inbound' | 'outbound'): Promise<Counted> {
  const metrics = await gateway.metrics();
  const of = (name: string, more = ''): number =>
    metrics.get(`${name}{direction="${direction}"${more}}`) ?? 0;
  return {
    received: of('isthmus_received_packets_total'),
    forwarded: of('isthmus_packets_total'),
    drops: DROP_REASONS.map(({ name }) => of('isthmus_dropped_packets_total', `,reason="${name}"`)),
  };
}

function assertCounters(direction: string, gateway: Counted, check: CheckTotals): void {
  const dropped = gateway.drops.reduce((sum, count) => sum + count, 0);
  assert.equal(gateway.received, gateway.forwarded + dropped, `${direction}: received = forwarded + dropped`);
  assert.equal(gateway.forwarded, check.arrived, `${direction}: what was counted as forwarded came out`);
  for (const { verdict, name } of DROP_REASONS.slice(1)) {
    const [least, most] = [check.certain[verdict]!, check.certain[verdict]! + check.possible[verdict]!];
    const count = gateway.drops[verdict]!;
    assert.ok(least <= count && count <= most, `${direction} ${name}: ${count}, not ${least} … ${most}`);
  }
}

function describe(direction: string, { received, forwarded, drops }: Counted): string {
  const reasons = DROP_REASONS.filter(({ verdict }) => drops[verdict]! > 0);
  const list = reasons.map(({ verdict, name }) => `${name} ${drops[verdict]}`);
  return `${direction}: ${received} received, ${forwarded} forwarded, dropped: ${list.join(', ')}`;
}

async function soak(t: TestContext, scene: Scene, packets: number): Promise<void> {
  const { gateway } = scene;
  const agents = await openAgents(scene);
  const share = (way: Way): number => Math.round((packets * SHARE[way]) / ROUNDS);
  const resident: number[] = [];
  const begin = performance.now();
  for (let round = 0; round < ROUNDS; round++) {
    for (const way of WAYS) {
      // What they make the gateway learn of the path is not in the oracle's model: after all others.
      if (way !== 'icmp') await sendAll(agents, way, round * share(way), (round + 1) * share(way));
    }
    resident.push(residentBytes(gateway));
  }
  await sendAll(agents, 'icmp', 0, ROUNDS * share('icmp'));
  resident.push(residentBytes(gateway));
  const seconds = (performance.now() - begin) / 1000;

  const [out, into] = [
    await agents.checkers.device.call('totals', null),
    await agents.checkers.tunnel.call('totals', null),
  ];
  const [outbound, inbound] = [await counted(gateway, 'outbound'), await counted(gateway, 'inbound')];
  const megabytes = resident.map((bytes) => (bytes / 1048576).toFixed(1));
  const sent = ROUNDS * WAYS.reduce((sum, way) => sum + share(way), 0);
  t.diagnostic(
    `${sent} malformed packets and ${agents.markers} markers in ${seconds.toFixed(1)} s, seed ${SEED}`,
  );
  t.diagnostic(describe('outbound', outbound));
  t.diagnostic(describe('inbound', inbound));
  t.diagnostic(`resident after each round, MiB: ${megabytes.join(' ')}`);

  assert.ok(gateway.daemon.isRunning, 'the gateway lives');
  for (const check of [out, into]) {
    assert.equal(check.unexpected + check.missing, 0, check.examples.join('\n'));
  }
  assertCounters('outbound', outbound, out);
  assertCounters('inbound', inbound, into);
  const growth = resident.at(-1)! - resident[WARM_ROUNDS - 1]!;
  assert.ok(
    growth <= RSS_GROWTH_BYTES_MAX,
    `the gateway grew by ${growth} bytes: ${megabytes.join(' ')} MiB`,
  );
  await assertStillSane(scene);
}

/** ICMP errors that nobody has to prove may lower a path MTU, but not below what every link carries. */
async function assertStillSane({ gateway, world }: Scene): Promise<void> {
  assert.equal((await gateway.readiness()).ready, true);
  const peers = (await gateway.api('/api/v1/peers')) as PeerRow[];
  assert.deepEqual(
    peers.map(({ address }) => address),
    [formatAddress(world.gateway)],
  );
  assert.ok(peers[0]!.pathMtuBytes >= PATH_MTU_BYTES_MIN, `path MTU ${peers[0]!.pathMtuBytes}`);
  await poll('the end on SIGTERM', 5000, async () => (await gateway.kill('SIGTERM')) === 0);
}

/** One worker each, so that a burst is done when its marker comes out. */
const RUNS: readonly (readonly [Variant, number])[] = [
  [BATCH, PACKETS],
  [PACKET, PACKETS / 10],
  [RAW_SOCKET, PACKETS / 10],
];

for (const [variant, packets] of RUNS) {
  systemTest(
    `a gateway survives malformed packets, forwards none it should not, and counts each once (${variant.name})`,
    async (t) =>
      inScene(
        () => make(variant),
        (scene) => soak(t, scene, packets),
      ),
    lacking('nft', 'nftables') ?? lacking('python3', 'python3') ?? variant.skip,
  );
}
