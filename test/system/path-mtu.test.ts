import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { PeerRow, Trace } from '../../src/admin/view.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { inScene, systemTest } from './topology/scene.ts';

const PORT = 5001;
const WIDE_BYTES = 1500;
const NARROW_BYTES = 1327;
const OUTER_BYTES = 20;
/** More than a second of TCP, so that the path changes in its midst. */
const TRANSFER_BYTES = 600_000_000;
const DEADLINE_MS = 30_000;

async function peer(scene: JoinedClusters): Promise<PeerRow> {
  return ((await scene.gwA.api('/api/v1/peers')) as PeerRow[])[0]!;
}

async function untilPath(scene: JoinedClusters, bytes: number): Promise<void> {
  const isFound = async () => {
    const { pathMtuBytes, pathMtuSource } = await peer(scene);
    return pathMtuBytes === bytes && pathMtuSource === 'probe';
  };
  await poll(`a path MTU of ${bytes}`, DEADLINE_MS, isFound, 10);
}

/** The router's way to B carries this much; that to A stays as it is. */
async function setPath(scene: JoinedClusters, bytes: number): Promise<void> {
  await scene.router.ip(`link set segment2 mtu ${bytes}`);
}

const FILTER = `
table ip silent {
  chain output {
    type filter hook output priority 0;
    icmp type destination-unreachable drop
  }
}
`;

/** Every twentieth packet that comes in: of a loss where it leaves, the sender's kernel would be told. */
const LOSS = `
table ip loss {
  chain input {
    type filter hook prerouting priority -300;
    meta l4proto 4 numgen random mod 20 < 1 drop
  }
}
`;

async function filter(machine: Machine, rules: string): Promise<void> {
  await machine.exec('sh', '-c', `nft -f - <<'END'\n${rules}\nEND`);
}

async function make(): Promise<JoinedClusters> {
  const scene = await joinClusters(await twoClusters());
  await untilPath(scene, WIDE_BYTES);
  return scene;
}

/** A TCP transfer goes on over a path that becomes narrower in its midst, and nobody is told but by probes or the router's ICMP. */
async function transferOverChange(t: TestContext, scene: JoinedClusters, seed: number): Promise<void> {
  const [client, server] = [
    await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT),
    await scene.b.pods[0]!.machine.agent(TRAFFIC_AGENT),
  ];
  await server.call('tcpSink', { port: PORT });
  const destination = scene.b.pods[0]!.address;
  const request = { destination, port: PORT, bytes: TRANSFER_BYTES, connections: 1, seed };
  let isDone = false;
  const transfer = client.call('tcpSend', request).finally(() => {
    isDone = true;
  });
  const sent = async () => (await scene.gwA.status()).traffic.outbound.bytes;
  const before = await sent();
  await poll('the transfer runs', DEADLINE_MS, async () => (await sent()) > before + 10_000_000, 5);
  await setPath(scene, NARROW_BYTES);
  const narrowedMs = performance.now();
  assert.equal(isDone, false, 'the path changed while the transfer ran');
  await untilPath(scene, NARROW_BYTES);
  const foundMs = performance.now() - narrowedMs;
  const stuck = await sent();
  await poll(
    'the transfer goes on',
    DEADLINE_MS,
    async () => isDone || (await sent()) > stuck + 1_000_000,
    5,
  );
  const goesOnMs = performance.now() - narrowedMs;
  t.diagnostic(
    `path MTU ${NARROW_BYTES} found after ${Math.round(foundMs)} ms, TCP went on after ${Math.round(goesOnMs)} ms`,
  );
  const { received } = await transfer;
  assert.deepEqual(received, [{ bytes: TRANSFER_BYTES, firstDifference: -1 }]);
  await Promise.all([client.close(), server.close()]);
}

systemTest('an underlay that becomes narrower in mid-transfer, with ICMP on the path', async (t) => {
  await inScene(make, async (scene) => {
    await transferOverChange(t, scene, 31);
    const text = await scene.gwA.command('peers');
    assert.match(text, new RegExp(`${NARROW_BYTES}\\s+probe`));
    const trace = JSON.parse(await scene.gwA.command('trace', scene.b.pods[0]!.address, '--json')) as Trace;
    assert.equal(trace.innerMtuBytes, NARROW_BYTES - OUTER_BYTES);
    const metrics = await scene.gwA.metrics();
    const { address } = scene.b.gateways[0]!;
    assert.equal(
      metrics.get(`isthmus_peer_path_mtu_bytes{peer="${address}",cluster="${scene.b.name}"}`),
      NARROW_BYTES,
    );
    // And it becomes wider again, of which no ICMP ever tells.
    await setPath(scene, WIDE_BYTES);
    await untilPath(scene, WIDE_BYTES);
  });
});

const NFT = lacking('nft', 'nftables');

async function withoutIcmp(t: TestContext): Promise<void> {
  await inScene(make, async (scene) => {
    await filter(scene.router, FILTER);
    const heard = async () => (await scene.gwA.metrics()).get('isthmus_icmp_received_total{about="ours"}');
    // What was sent before the other gateway had its socket was answered by its kernel.
    const before = await heard();
    await transferOverChange(t, scene, 32);
    assert.equal(await heard(), before, 'no ICMP came through');
    await setPath(scene, WIDE_BYTES);
    await untilPath(scene, WIDE_BYTES);
  });
}

systemTest('an underlay that becomes narrower in mid-transfer, and ICMP is filtered', withoutIcmp, NFT);

async function lossy(): Promise<void> {
  await inScene(make, async (scene) => {
    for (const { machine } of [scene.a.gateways[0]!, scene.b.gateways[0]!]) await filter(machine, LOSS);
    const samples = new Set<string>();
    for (let i = 0; i < 50; i++) {
      const { health, pathMtuBytes, alive } = await peer(scene);
      samples.add(`${health.state} ${pathMtuBytes} ${alive}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.deepEqual([...samples], [`alive ${WIDE_BYTES} true`]);
    const { health } = await peer(scene);
    assert.ok(health.loss !== null && health.roundTripMs !== null && health.jitterMs !== null);
  });
}

systemTest('a path that loses packets keeps its MTU and its gateway', lossy, NFT);
