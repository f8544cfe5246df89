import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { PeerRow } from '../../src/admin/view.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { poll } from '../../src/measure/topology.ts';
import { type TwoClusters, twoClusters } from '../../src/measure/two-clusters.ts';
import { type FlowSeen, TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { GatewayProcess, type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { inScene, systemTest } from './topology/scene.ts';

const PORT = 5003;

interface Load {
  readonly flows: number;
  readonly intervalMs: number;
}

/** As many packets a second either way, once with many flows and once with a fine measure of time. */
const MANY: Load = { flows: 1000, intervalMs: 200 };
const FINE: Load = { flows: 200, intervalMs: 40 };
const DEADLINE_MS = 15_000;

/** Far more than any failover takes; the figure itself is reported, not judged. */
const ROUNDS_MAX = 1000;

async function peerOf(gateway: GatewayProcess, address: string): Promise<PeerRow | undefined> {
  const rows = (await gateway.api('/api/v1/peers')) as PeerRow[];
  return rows.find((row) => row.address === address);
}

async function untilPeer(
  gateway: GatewayProcess,
  address: string,
  what: string,
  is: (row: PeerRow) => boolean,
): Promise<PeerRow> {
  return poll(what, DEADLINE_MS, async () => {
    const row = await peerOf(gateway, address);
    return row !== undefined && is(row) ? row : undefined;
  });
}

/** Two gateways at B, both alive for A. */
async function makeScene(health: object = {}): Promise<JoinedClusters> {
  const scene = await joinClusters(await twoClusters({ secondGateway: ['b'] }), { health });
  for (const { address } of scene.b.gateways)
    await untilPeer(scene.gwA, address, `${address} answers`, (row) => row.health.state === 'alive');
  return scene;
}

interface Outcome {
  readonly load: Load;
  /** By flow: rounds that were lost before the last that came. */
  readonly kept: readonly FlowSeen[];
  readonly moved: readonly FlowSeen[];
}

/** Sends flows from A to B, does `breakIt` in the midst, and waits until every flow arrives again. */
async function underFlows(
  scene: JoinedClusters,
  load: Load,
  breakIt: () => Promise<unknown>,
): Promise<Outcome> {
  const [client, server] = [
    await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT),
    await scene.b.pods[0]!.machine.agent(TRAFFIC_AGENT),
  ];
  await server.call('flowSink', { port: PORT });
  const seen = () => server.call('flowsSeen', { port: PORT });
  const request = { destination: scene.b.pods[0]!.address, port: PORT, ...load };
  const sending = client.call('flowSend', { ...request, rounds: ROUNDS_MAX });
  const whole = async (from: number) => {
    const flows = await seen();
    return flows.length === load.flows && flows.every(({ last }) => last >= from) ? flows : undefined;
  };
  await poll('every flow arrives', DEADLINE_MS, () => whole(2));
  const brokenAt = Math.max(...(await seen()).map(({ last }) => last));
  await breakIt();
  // A flow that lost nothing has come this far; those of the broken gateway have not.
  await poll('the flows move', DEADLINE_MS, async () => {
    const flows = await seen();
    return flows.every(({ last }) => last > brokenAt + 1) ? flows : undefined;
  });
  await client.call('stop', null);
  const { rounds } = await sending;
  const flows = await poll('the last round', DEADLINE_MS, () => whole(rounds - 2));
  await Promise.all([client.close(), server.close()]);
  return {
    load,
    kept: flows.filter(({ longestGap }) => longestGap === 0),
    moved: flows.filter(({ longestGap }) => longestGap > 0),
  };
}

function report(t: TestContext, { load, kept, moved }: Outcome): void {
  const gapMs = Math.max(...moved.map(({ longestGap }) => longestGap)) * load.intervalMs;
  t.diagnostic(
    `${kept.length} flows lost nothing, ${moved.length} moved, the last of them after ${gapMs} ms at most`,
  );
}

/** Each gateway had its share, those of the other one lost nothing, and each that moved was away only once. */
function check({ load, kept, moved }: Outcome): void {
  assert.equal(kept.length + moved.length, load.flows);
  assert.ok(kept.length > load.flows / 4, `${kept.length} flows were of the gateway that stayed`);
  assert.ok(moved.length > load.flows / 4, `${moved.length} flows were of the gateway that died`);
  for (const { port, missing, longestGap } of moved)
    assert.equal(missing, longestGap, `flow ${port} was away once`);
}

systemTest(
  '1,000 flows and a gateway that is killed: those of the other lose nothing, its own move',
  async (t) => {
    await inScene(makeScene, async (scene) => {
      const dying = scene.gatewaysB[1]!;
      const outcome = await underFlows(scene, MANY, () => dying.kill('SIGKILL'));
      report(t, outcome);
      check(outcome);
      const { address } = scene.b.gateways[1]!;
      assert.equal((await peerOf(scene.gwA, address))?.health.state, 'dead');
      assert.match(await scene.gwA.command('peers'), /dead/);
      dying.start();
      await dying.ready();
      const back = await untilPeer(scene.gwA, address, 'it is used again', ({ alive }) => alive);
      assert.equal(back.health.state, 'alive');
    });
  },
);

systemTest(
  'with health.interval 50ms and deadAfter 250ms flows move from a machine that is cut off',
  async (t) => {
    const health = { interval: '50ms', deadAfter: '250ms', hold: '500ms' };
    await inScene(
      () => makeScene(health),
      async (scene) => {
        const outcome = await underFlows(scene, FINE, () => cut(scene, 'down'));
        report(t, outcome);
        check(outcome);
        await cut(scene, 'up');
        const { address } = scene.b.gateways[1]!;
        await untilPeer(scene.gwA, address, 'it is used again', ({ alive }) => alive);
      },
    );
  },
);

function cut(scene: TwoClusters, state: 'up' | 'down'): Promise<void> {
  return scene.router.ip(`link set to-gwB2 ${state}`);
}

systemTest(
  'with all gateways dead the route stays: fail-closed answers, fail-open goes on sending',
  async () => {
    const health = { interval: '50ms', deadAfter: '250ms', hold: '500ms' };
    await inScene(
      () => joinWith(health),
      async (scene) => {
        const { gwA } = scene;
        const { address } = scene.b.gateways[0]!;
        await untilPeer(gwA, address, 'it answers', (row) => row.health.state === 'alive');
        await scene.gwB.kill('SIGKILL');
        await untilPeer(gwA, address, 'it is dead', ({ alive }) => !alive);
        assert.deepEqual(await gwA.routes(), [scene.b.cidr]);
        const client = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
        const ping = { count: 3, intervalMs: 5, sizeBytes: 100, seed: 1, timeoutMs: 200 };
        await client.call('ping', { ...ping, destination: scene.b.pods[0]!.address });
        const drops = async () => (await gwA.status()).traffic.outbound.drops['no-gateway'] ?? 0;
        assert.equal(await drops(), 3);
        gwA.configure(scene.a, scene.b, { health: { ...health, allDead: 'fail-open' } });
        await gwA.command('reload');
        const before = (await gwA.status()).traffic.outbound.packets;
        await client.call('ping', { ...ping, destination: scene.b.pods[0]!.address });
        assert.equal(await drops(), 3);
        assert.equal((await gwA.status()).traffic.outbound.packets, before + 3);
      },
    );
  },
);

async function joinWith(health: object): Promise<JoinedClusters> {
  return joinClusters(await twoClusters(), { health });
}

systemTest('a gateway that is no Isthmus is probed by what it reflects, and its path too', async () => {
  await inScene(
    async () => {
      const scene = await twoClusters({ flat: true });
      const gwA = new GatewayProcess(scene.topology, scene.a.gateways[0]!);
      gwA.configure(scene.a, scene.b, { health: { interval: '50ms', deadAfter: '250ms', hold: '500ms' } });
      gwA.start();
      await gwA.ready();
      return { ...scene, gwA };
    },
    async ({ gwA, b }) => {
      const { machine, address } = b.gateways[0]!;
      assert.equal((await peerOf(gwA, address))?.health.state, 'unknown');
      assert.equal((await peerOf(gwA, address))?.alive, true, 'it may be one that cannot answer');
      const peer = await machine.agent(TRAFFIC_AGENT);
      await peer.call('decapsulate', null);
      const isFound = ({ health, pathMtuSource }: PeerRow) =>
        health.state === 'alive' && health.answers === 'reflected' && pathMtuSource === 'probe';
      const row = await untilPeer(gwA, address, 'it answers', isFound);
      assert.equal(row.pathMtuBytes, 1500);
      assert.ok(row.health.roundTripMs !== null && row.health.roundTripMs > 0);
      await peer.close();
      await untilPeer(gwA, address, 'it is dead', ({ alive, health }) => !alive && health.state === 'dead');
    },
  );
});

systemTest(
  'protocol 4 that is blocked on the way is told from a gateway that is down',
  async () => {
    await inScene(twoClusters, async (scene) => {
      const drop =
        'table ip blocked { chain f { type filter hook forward priority 0; meta l4proto 4 drop; }; }';
      await scene.router.exec('nft', drop);
      const { gwA, gwB, b } = await joinClusters(scene, { health: { interval: '50ms', deadAfter: '250ms' } });
      const { address } = b.gateways[0]!;
      await untilPeer(gwA, address, 'only plain UDP gets through', ({ health }) => health.answersPlainOnly);
      await assert.rejects(gwA.command('doctor'), /wrong +UDP gets there and back, IP protocol 4 does not/);
      await scene.router.exec('nft', 'delete table ip blocked');
      await untilPeer(gwA, address, 'it answers', ({ health }) => health.state === 'alive');
      assert.match(await gwA.command('doctor'), /ok +answers/);
      await gwB.kill('SIGKILL');
      await untilPeer(
        gwA,
        address,
        'it is dead',
        ({ health }) => health.state === 'dead' && !health.answersPlainOnly,
      );
      await assert.rejects(gwA.command('doctor'), /neither in the tunnel nor by plain UDP/);
    });
  },
  lacking('nft', 'nftables'),
);
