import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT, type TrafficAgent } from './topology/agent-commands.ts';
import { type GatewayProcess, type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { inScene, systemTest } from './topology/scene.ts';
import { BATCH, RAW_SOCKET, type Variant } from './topology/variants.ts';

/** Generous: the machine may have other work. */
const RECOVERY_MS_MAX = 10_000;

/** What a gateway puts into the kernel, by the protocol number of its routes and the name of its device. */
interface Footprint {
  readonly devices: readonly { ifname: string; ifindex: number }[];
  readonly routes: readonly string[];
}

async function footprint(machine: Machine): Promise<Footprint> {
  const links = await machine.ipJson<{ ifname: string; ifindex: number }>('link', 'show');
  const routes = await machine.exec('ip', 'route', 'show', 'table', 'all', 'proto', '73');
  return {
    devices: links
      .filter((link) => link.ifname.startsWith('isthmus'))
      .map(({ ifname, ifindex }) => ({ ifname, ifindex })),
    // Without a process the device has no carrier, and its routes say linkdown.
    routes: routes
      .replaceAll(' linkdown', '')
      .split('\n')
      .filter((line) => line.trim() !== '')
      .toSorted(),
  };
}

/** When a ping sent at or after `time` (wall clock) first came back, as ms after `time`. */
function firstReplyAfter(
  answer: { startedAt: number; sent: number; lost: readonly number[] },
  time: number,
): number {
  const lost = new Set(answer.lost);
  for (let number = Math.max(0, Math.ceil(time - answer.startedAt)); number < answer.sent; number++) {
    if (!lost.has(number)) return answer.startedAt + number - time;
  }
  return Number.POSITIVE_INFINITY;
}

async function received(agent: TrafficAgent, count: number): Promise<void> {
  await poll(
    `${count} replies`,
    10_000,
    async () => (await agent.call('pingProgress', null)).received >= count,
  );
}

/** Kills and starts a gateway while pings cross it; resolves with how long after the start they crossed again, in ms. */
async function restartUnderTraffic(scene: JoinedClusters, gateway: GatewayProcess): Promise<number> {
  const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
  const series = agent.call('ping', {
    destination: scene.b.pods[0]!.address,
    ...{ count: 30_000, intervalMs: 1, sizeBytes: 84, seed: 1, timeoutMs: 1000 },
  });
  await received(agent, 300);
  const before = await footprint(gateway.machine);
  assert.equal(before.devices.length, 1);
  assert.ok(before.routes.length > 0);

  await gateway.kill('SIGKILL');
  const between = await footprint(gateway.machine);
  assert.deepEqual(
    between,
    before,
    'a crash leaves the device and the routes, so that nothing goes out bare',
  );
  const restartedAt = Date.now();
  gateway.start();
  await gateway.ready();
  const soFar = await agent.call('pingProgress', null);
  await received(agent, soFar.received + 500);
  await agent.call('stop', null);
  const answer = await series;

  const after = await footprint(gateway.machine);
  assert.deepEqual(after, before, 'the device and the routes are adopted, and nothing is there twice');
  assert.equal(answer.corrupted, 0);
  await agent.close();
  return firstReplyAfter(answer, restartedAt);
}

function variants(name: string, body: (variant: Variant, t: TestContext) => Promise<void>): void {
  for (const variant of [BATCH, RAW_SOCKET]) {
    systemTest(`${name} (${variant.name})`, (t) => body(variant, t), variant.skip);
  }
}

variants(
  'a gateway killed under traffic adopts device and routes and forwards again after every restart',
  (variant, t) =>
    inScene(
      async () => joinClusters(await twoClusters(), variant.change),
      async (scene) => {
        const gaps: number[] = [];
        for (const gateway of [scene.gwA, scene.gwB, scene.gwA])
          gaps.push(await restartUnderTraffic(scene, gateway));
        // How long it takes on a machine at rest is measured by `npm run bench -- restart`; here every restart must recover.
        t.diagnostic(`forwarded again ${gaps.map((ms) => ms.toFixed(0)).join(', ')} ms after the restarts`);
        assert.ok(
          gaps.every((ms) => ms <= RECOVERY_MS_MAX),
          `forwarded again ${gaps.join(', ')} ms after the restarts`,
        );
      },
    ),
);

variants('SIGTERM ends a gateway with status 0 within two seconds and leaves nothing behind', (variant) =>
  inScene(
    async () => joinClusters(await twoClusters(), variant.change),
    async ({ gwA, gwB }) => {
      for (const gateway of [gwA, gwB]) {
        const start = performance.now();
        assert.equal(await gateway.kill('SIGTERM'), 0);
        assert.ok(performance.now() - start < 2000, `${performance.now() - start} ms`);
        assert.deepEqual(await footprint(gateway.machine), { devices: [], routes: [] });
      }
    },
  ),
);

systemTest(
  'with tunnel.keepOnExit the device and the routes stay, and the next start adopts them',
  async () => {
    await inScene(
      async () => joinClusters(await twoClusters(), { tunnel: { keepOnExit: true } }),
      async ({ gwA }) => {
        const before = await footprint(gwA.machine);
        assert.equal(await gwA.kill('SIGTERM'), 0);
        assert.deepEqual(await footprint(gwA.machine), before);
        gwA.start();
        await gwA.ready();
        assert.deepEqual(await footprint(gwA.machine), before);
      },
    );
  },
);

systemTest(
  'routes that a killed gateway installed for a cluster that has gone meanwhile are removed',
  async () => {
    await inScene(
      async () => joinClusters(await twoClusters()),
      async ({ gwA, a, b }) => {
        await gwA.kill('SIGKILL');
        gwA.configure(a, { ...b, cidr: '10.7.0.0/16' });
        gwA.start();
        await gwA.ready();
        const { routes } = await footprint(gwA.machine);
        assert.equal(routes.length, 1, routes.join('\n'));
        assert.match(routes[0]!, /^10\.7\.0\.0\/16 /);
      },
    );
  },
);

systemTest('a second gateway for the same device does not start, and the first goes on', async () => {
  await inScene(
    async () => joinClusters(await twoClusters()),
    async ({ gwA }) => {
      const second = gwA.machine.start('second', gwA.commandLine());
      const status = await second.exited;
      assert.notEqual(status, 0);
      assert.match(second.log(), /isthmus0/);
      assert.equal((await gwA.status()).state, 'ok');
    },
  );
});
