import assert from 'node:assert/strict';
import { type ConfigurationChange, entryOf } from '../../src/measure/shipped-gateway.ts';
import { poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { GatewayProcess, type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { joinedWithWatchedFiles } from './topology/late-network.ts';
import { inScene, systemTest } from './topology/scene.ts';

const IN_FORCE_MS = 10_000;

interface KernelRoute {
  readonly dst: string;
  readonly dev: string;
  readonly table?: string;
  readonly protocol: string;
  readonly metric?: number;
}

async function routesTo(gateway: GatewayProcess, cidr: string): Promise<string[]> {
  const routes = await gateway.machine.ipJson<KernelRoute>('route', 'show', 'table', 'all');
  return routes
    .filter(({ dst }) => dst === cidr)
    .map(({ dev, table = 'main', protocol, metric = 0 }) => `${dev} ${table} ${protocol} ${metric}`);
}

async function tunDevices(gateway: GatewayProcess): Promise<string[]> {
  const links = await gateway.machine.ipJson<{ ifname: string; linkinfo?: { info_kind?: string } }>(
    'link',
    'show',
  );
  return links.filter(({ linkinfo }) => linkinfo?.info_kind === 'tun').map(({ ifname }) => ifname);
}

async function trafficFlows(scene: JoinedClusters): Promise<void> {
  const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
  const { lost, corrupted } = await agent.call('ping', {
    ...{ destination: scene.b.pods[0]!.address, count: 100, intervalMs: 1 },
    ...{ sizeBytes: 84, seed: 1, timeoutMs: 2000 },
  });
  assert.deepEqual([lost, corrupted], [[], 0]);
  await agent.close();
}

const MOVES: readonly (readonly [
  name: string,
  change: ConfigurationChange,
  device: string,
  route: string,
])[] = [
  ['routes.table', { routes: { table: 100 } }, 'isthmus0', 'isthmus0 100 73 100'],
  ['routes.protocol', { routes: { protocol: 74 } }, 'isthmus0', 'isthmus0 main 74 100'],
  ['routes.metric', { routes: { metric: 50 } }, 'isthmus0', 'isthmus0 main 73 50'],
  ['tunnel.device', { tunnel: { device: 'overlay0' } }, 'overlay0', 'overlay0 main 73 100'],
];

for (const [name, change, device, route] of MOVES) {
  systemTest(
    `after kill -9 and a changed ${name} nothing of the former gateway is left, and traffic flows`,
    () =>
      inScene(
        async () => joinClusters(await twoClusters()),
        async (scene) => {
          const { a, b, gwA } = scene;
          await gwA.machine.ip('rule add lookup 100');
          assert.deepEqual(await routesTo(gwA, b.cidr), ['isthmus0 main 73 100']);
          await gwA.kill('SIGKILL');
          gwA.configure(a, b, change);
          gwA.start();
          await gwA.ready();
          assert.deepEqual(await routesTo(gwA, b.cidr), [route]);
          assert.deepEqual(await tunDevices(gwA), [device]);
          await trafficFlows(scene);
        },
      ),
  );
}

systemTest('a second gateway that joins a cluster at run time takes its share of the flows', () =>
  inScene(
    async () => {
      const scene = await twoClusters({ secondGateway: ['b'] });
      return joinClusters(scene, {}, (gateway, local, remote) => {
        if (local === scene.a) gateway.configure(local, { ...remote, gateways: remote.gateways.slice(0, 1) });
      });
    },
    async ({ a, b, gwA, gatewaysA, gatewaysB }) => {
      gwA.configure(a, b);
      gwA.daemon.child.kill('SIGHUP');
      await poll('two peers', IN_FORCE_MS, async () => (await gwA.status()).counts.peers === 2);
      const [client, server] = [
        await a.pods[0]!.machine.agent(TRAFFIC_AGENT),
        await b.pods[0]!.machine.agent(TRAFFIC_AGENT),
      ];
      await server.call('tcpSink', { port: 5001 });
      const bytes = 100_003;
      const answer = await client.call('tcpSend', {
        ...{ destination: b.pods[0]!.address, port: 5001, bytes, connections: 24, seed: 1 },
      });
      assert.deepEqual(answer.received, Array(24).fill({ bytes, firstDifference: -1 }));
      for (const gateway of gatewaysB)
        assert.ok(
          (await gateway.status()).traffic.inbound.packets > 0,
          `${gateway.machine.name} took nothing`,
        );
      for (const gateway of [...gatewaysA, ...gatewaysB]) {
        const { state, problems, counts } = await gateway.status();
        assert.deepEqual([state, problems, counts.refused], ['ok', [], 0], gateway.machine.name);
      }
    },
  ),
);

systemTest('a reload of nothing but the settings of a source loses no packet of its routes', () =>
  inScene(
    () => joinedWithWatchedFiles(),
    async (scene) => {
      const { a, b, gwA } = scene;
      // All routes come from the watched file, so that only it can keep them.
      const configure = (settings: object): void =>
        gwA.configure(a, b, { clusters: [], watch: [{ kind: 'file', path: 'clusters.yaml', ...settings }] });
      gwA.writeWatched([entryOf(b)]);
      configure({});
      gwA.daemon.child.kill('SIGHUP');
      await poll('the routes of the file', IN_FORCE_MS, async () =>
        (await gwA.status()).sources.some(({ name, claims }) => name.startsWith('file:') && claims === 1),
      );
      const agent = await a.pods[0]!.machine.agent(TRAFFIC_AGENT);
      const series = agent.call('ping', {
        ...{ destination: b.pods[0]!.address, count: 60_000, intervalMs: 1 },
        ...{ sizeBytes: 84, seed: 1, timeoutMs: 2000 },
      });
      await poll('traffic', 5000, async () => (await agent.call('pingProgress', null)).received > 100);
      for (const settings of [{ pollInterval: '9s' }, { priority: 7 }, { staleAfter: '5m' }]) {
        const { loadedAt } = (await gwA.status()).configuration;
        configure(settings);
        gwA.daemon.child.kill('SIGHUP');
        await poll(`reload with ${JSON.stringify(settings)}`, IN_FORCE_MS, async () => {
          const { configuration } = await gwA.status();
          return configuration.loadedAt !== loadedAt && configuration.lastReload?.ok === true;
        });
        const { received } = await agent.call('pingProgress', null);
        await poll(
          'more traffic',
          5000,
          async () => (await agent.call('pingProgress', null)).received > received + 200,
        );
      }
      await agent.call('stop', null);
      const { lost, corrupted } = await series;
      assert.deepEqual([lost, corrupted], [[], 0]);
    },
  ),
);

systemTest('SIGHUP while a gateway stops does no harm', () =>
  inScene(
    async () => joinClusters(await twoClusters()),
    async ({ gwA, gwB }) => {
      for (const gateway of [gwA, gwB]) {
        gateway.daemon.child.kill('SIGTERM');
        gateway.daemon.child.kill('SIGHUP');
        assert.equal(await gateway.daemon.exited, 0, gateway.daemon.log());
        assert.deepEqual(await tunDevices(gateway), []);
      }
    },
  ),
);

systemTest(
  'host.checks: enforce refuses to start on a host that does not forward, and says what to run',
  () =>
    inScene(
      async () => twoClusters(),
      async ({ topology, a, b }) => {
        const gateway = new GatewayProcess(topology, a.gateways[0]!);
        await gateway.machine.sysctl({ 'net.ipv4.ip_forward': 0 });
        gateway.configure(a, b, { host: { checks: 'enforce' } });
        gateway.start();
        assert.equal(await gateway.daemon.exited, 3);
        assert.match(gateway.daemon.log(), /sysctl -w net\.ipv4\.ip_forward=1/);
        assert.deepEqual(await tunDevices(gateway), []);
      },
    ),
);
