import type { Buffer } from 'node:buffer';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isInsideSandbox, lacking, probeSandbox, sandboxEnvironment } from '../../src/measure/sandbox.ts';
import { poll } from '../../src/measure/topology.ts';
import { TRAFFIC_AGENT, type TrafficAgent } from './topology/agent-commands.ts';
import type { GatewayProcess, JoinedClusters } from './topology/gateway-process.ts';
import { joinedWithWatchedFiles, LATE_ADDRESS, LATE_CIDR, lateNetwork } from './topology/late-network.ts';
import { addressText, IP_HEADER_BYTES, PROTOCOL } from './topology/packet-builder.ts';
import { Tap } from './topology/tap.ts';

/**
 * `npm run demo`: two clusters, two real gateways, real packets, in namespaces that are gone afterwards. Exit status 0 only if every
 * step held. Needs Node, the compiled addon and iproute2; shows the packets on the underlay where tcpdump or tshark is installed.
 */
const TRANSFER_BYTES = 64 << 20;
const PINGS = 500;

let failed = 0;

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function indent(text: string): string {
  return text.trimEnd().replaceAll(/^/gm, '      ');
}

/** One step of the story: its line is written when it is known whether it held. */
async function step(title: string, body: () => Promise<string>): Promise<void> {
  try {
    const figure = await body();
    say(`  ✓ ${title}${figure === '' ? '' : `: ${figure}`}`);
  } catch (error) {
    failed++;
    say(`  ✗ ${title}: ${(error as Error).message}`);
  }
}

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise);
}

async function pings(agent: TrafficAgent, destination: string): Promise<string> {
  const answer = await agent.call('ping', {
    ...{ destination, count: PINGS, intervalMs: 1, sizeBytes: 84, seed: 1, timeoutMs: 1000 },
  });
  expect(answer.corrupted === 0, `${answer.corrupted} of ${answer.sent} came back changed`);
  expect(answer.lost.length === 0, `${answer.lost.length} of ${answer.sent} lost`);
  const { median, p99 } = answer.roundTripMs;
  return `${answer.received} of ${answer.sent} at 1 ms, round trip ${median.toFixed(2)} ms (99 %: ${p99.toFixed(2)} ms)`;
}

async function transfer(scene: JoinedClusters, client: TrafficAgent, server: TrafficAgent): Promise<string> {
  await server.call('tcpSink', { port: 5001 });
  const destination = scene.b.pods[0]!.address;
  const answer = await client.call('tcpSend', {
    ...{ destination, port: 5001, bytes: TRANSFER_BYTES, connections: 1, seed: 2 },
  });
  const [received] = answer.received;
  expect(received?.bytes === TRANSFER_BYTES, `${received?.bytes} of ${TRANSFER_BYTES} bytes arrived`);
  expect(received?.firstDifference === -1, `differs from byte ${received?.firstDifference}`);
  return `${TRANSFER_BYTES >> 20} MiB arrived unchanged, ${answer.megabitsPerSecond.toFixed(0)} Mbit/s`;
}

interface Decoder {
  readonly name: string;
  options(device: string): string[];
}

/** Decoders in the order we like to show them; both print one packet in one or two lines. */
const DECODERS: readonly Decoder[] = [
  {
    name: 'tcpdump',
    // Started by root it becomes the user tcpdump. That one cannot be had in the namespace of an ordinary user, and not even root
    // itself, for it would call setgroups(2): there tshark is next.
    options: (device) => ['-Z', 'root', '-n', '-t', '-v', '-l', '-c', '4', '-i', device, 'ip proto 4'],
  },
  { name: 'tshark', options: (device) => ['-n', '-l', '-c', '4', '-i', device, '-f', 'ip proto 4'] },
];

/** Starts a decoder on the router's device, makes traffic, and returns what it printed; rejects when it shows no packet of ours. */
async function decodeBy(decoder: Decoder, scene: JoinedClusters, agent: TrafficAgent): Promise<string> {
  const [from, to] = [scene.a.pods[0]!.address, scene.b.pods[0]!.address];
  const listening = scene.router.start(decoder.name, [decoder.name, ...decoder.options(scene.routerDevice)]);
  try {
    const isListening = (): boolean => !listening.isRunning || /listening|Capturing/i.test(listening.log());
    await poll(`${decoder.name} listening`, 5000, isListening);
    await poll('four packets', 5000, async () => {
      if (listening.isRunning) await pings(agent, to);
      return !listening.isRunning;
    });
  } finally {
    await listening.kill('SIGKILL');
  }
  const inside = new RegExp(`${from.replaceAll('.', '\\.')} (?:>|→) ${to.replaceAll('.', '\\.')}`);
  expect(
    inside.test(listening.stdout()),
    `it showed no inner packet: ${listening.log().replaceAll('\n', ' / ')}`,
  );
  return listening.stdout();
}

function describePacket(packet: Buffer): string {
  const payload = packet.subarray(IP_HEADER_BYTES);
  const line = (header: Buffer): string =>
    `${addressText(header, 12)} → ${addressText(header, 16)} protocol ${header[9]} TTL ${header[8]}, ${header.readUInt16BE(2)} bytes`;
  return `${line(packet)}\n    ${line(payload)}`;
}

/** What a raw socket of B's gateway hears: needs nothing that is not here anyway. */
async function decodeOurselves(scene: JoinedClusters, agent: TrafficAgent): Promise<string> {
  const tap = await Tap.open(scene.gwB.machine, PROTOCOL.IPIP);
  await pings(agent, scene.b.pods[0]!.address);
  const packets = (await tap.packets()).slice(0, 4);
  await tap.close();
  const [first] = packets;
  expect(first !== undefined, 'no packet of protocol 4 came to the other gateway');
  const at = { source: IP_HEADER_BYTES + 12, destination: IP_HEADER_BYTES + 16 };
  expect(
    addressText(first!, at.source) === scene.a.pods[0]!.address &&
      addressText(first!, at.destination) === scene.b.pods[0]!.address,
    `not what was sent: ${describePacket(first!)}`,
  );
  return packets.map(describePacket).join('\n');
}

/** Shows packets of the underlay. A capture tool that is missing or fails here is no fault of the gateways: it is said, and passed over. */
async function decode(scene: JoinedClusters, agent: TrafficAgent): Promise<void> {
  const title = 'IPIP packets between the gateways';
  for (const decoder of DECODERS) {
    const reason = lacking(decoder.name, decoder.name);
    if (reason !== undefined) {
      say(`  – not decoded by ${decoder.name}: ${reason}`);
      continue;
    }
    try {
      const text = await decodeBy(decoder, scene, agent);
      say(`  ✓ ${title}, decoded by ${decoder.name}: \n${indent(text)}`);
      return;
    } catch (error) {
      say(`  – not decoded by ${decoder.name}: ${(error as Error).message}`);
    }
  }
  await step(
    `${title}, as the other gateway receives them`,
    async () => `\n${indent(await decodeOurselves(scene, agent))}`,
  );
}

/** Edits the watched file of A's gateway while pings flow on a route that the edit does not touch. */
async function editUnderTraffic(
  scene: JoinedClusters,
  agent: TrafficAgent,
  other: TrafficAgent,
): Promise<string> {
  const request = { count: 20_000, intervalMs: 1, sizeBytes: 84, seed: 3, timeoutMs: 1000 };
  const steady = agent.call('ping', { ...request, destination: scene.b.pods[0]!.address });
  const late = other.call('ping', { ...request, destination: LATE_ADDRESS, timeoutMs: 100 });
  const received = (of: TrafficAgent, count: number) => async (): Promise<boolean> =>
    (await of.call('pingProgress', null)).received >= count;
  await poll('traffic before the edit', 5000, received(agent, 200));
  expect(
    (await other.call('pingProgress', null)).received === 0,
    `${LATE_CIDR} was reachable before the edit`,
  );
  const editedAt = Date.now();
  scene.gwA.writeWatched([lateNetwork(scene)]);
  await poll(`${LATE_CIDR} reachable after the edit`, 5000, received(other, 200));
  await Promise.all([agent, other].map((each) => each.call('stop', null)));
  const [kept, added] = await Promise.all([steady, late]);
  expect(kept.lost.length === 0, `${kept.lost.length} of ${kept.sent} pings lost on the other route`);
  const first =
    Array.from({ length: added.sent }, (_, number) => number).find((n) => !added.lost.includes(n)) ?? 0;
  const tookMs = added.startedAt + first - editedAt;
  return `reached after ${tookMs.toFixed(0)} ms, 0 of ${kept.sent} pings lost on the route that was there`;
}

async function leavesNothing(gateway: GatewayProcess): Promise<string> {
  const start = performance.now();
  const status = await gateway.kill('SIGTERM');
  const tookMs = performance.now() - start;
  expect(status === 0, `ended with ${status}\n${gateway.daemon.log()}`);
  const links = await gateway.machine.exec('ip', '-o', 'link', 'show');
  const routes = await gateway.machine.exec('ip', 'route', 'show', 'table', 'all', 'proto', '73');
  expect(!links.includes('isthmus'), `left a device:\n${links}`);
  expect(routes.trim() === '', `left routes:\n${routes}`);
  return `stopped in ${tookMs.toFixed(0)} ms, no device and no route left`;
}

async function show(scene: JoinedClusters): Promise<void> {
  const { a, b, gwA, gwB } = scene;
  const [podA, podB] = [a.pods[0]!, b.pods[0]!];
  const [agentA, agentB, second] = [
    await podA.machine.agent(TRAFFIC_AGENT),
    await podB.machine.agent(TRAFFIC_AGENT),
    await podA.machine.agent(TRAFFIC_AGENT),
  ];
  say(
    `\n  The configuration file of ${gwA.machine.name}:\n\n${indent(readFileSync(gwA.configurationFile, 'utf8'))}\n`,
  );
  await step(`ping from ${podA.address} to ${podB.address}`, () => pings(agentA, podB.address));
  await step(`ping from ${podB.address} to ${podA.address}`, () => pings(agentB, podA.address));
  await step(`TCP from ${podA.address} to ${podB.address}`, () => transfer(scene, agentA, agentB));
  await decode(scene, agentA);
  await step(`${LATE_CIDR} added to the watched file while traffic flows`, () =>
    editUnderTraffic(scene, agentA, second),
  );
  for (const gateway of [gwA, gwB]) {
    await step(
      `isthmus status of ${gateway.machine.name}`,
      async () => `\n${indent(await gateway.command('status'))}`,
    );
  }
  for (const gateway of [gwA, gwB])
    await step(`SIGTERM to ${gateway.machine.name}`, () => leavesNothing(gateway));
}

const PICTURE = `
  Two clusters; the router between their gateways knows none of the overlay addresses:

    east 10.1.0.0/16                                                west 10.2.0.0/16
    podA1 ─────── gwA ═══════════════ router ═══════════════ gwB ─────── podB1
    10.1.1.2      172.31.1.2           IPIP           172.31.2.2      10.2.1.2
`;

async function main(): Promise<void> {
  say(PICTURE);
  let scene: JoinedClusters | undefined;
  await step('two gateways run and are ready', async () => {
    const start = performance.now();
    scene = await joinedWithWatchedFiles();
    return `machines and gateways in ${((performance.now() - start) / 1000).toFixed(1)} s`;
  });
  if (scene === undefined) return;
  try {
    await show(scene);
  } catch (error) {
    failed++;
    say(`  ✗ ${(error as Error).stack}`);
  }
  if (failed > 0) say(`\n${scene.topology.logs()}`);
  await step('everything taken down', async () => {
    await scene!.topology.close();
    return '';
  });
}

/** Runs this program again inside the sandbox; returns its exit status. */
function runInSandbox(): number {
  const sandbox = probeSandbox();
  if (!sandbox.possible) {
    process.stderr.write(`demo: ${sandbox.reason}\n`);
    return 1;
  }
  const [program, ...words] = [
    ...sandbox.command,
    process.execPath,
    '--enable-source-maps',
    fileURLToPath(import.meta.url),
  ];
  const { status } = spawnSync(program!, words, { stdio: 'inherit', env: sandboxEnvironment() });
  return status ?? 1;
}

if (isInsideSandbox()) {
  await main();
  say(failed === 0 ? '\nAll held.' : `\n${failed} ${failed === 1 ? 'step' : 'steps'} failed.`);
  process.exit(failed === 0 ? 0 : 1);
} else {
  process.exitCode = runInSandbox();
}
