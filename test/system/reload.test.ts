import assert from 'node:assert/strict';
import { entryOf } from '../../src/measure/shipped-gateway.ts';
import { poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { GatewayProcess, joinClusters } from './topology/gateway-process.ts';
import { inScene, systemTest } from './topology/scene.ts';

const CIDRS = 10_000;

systemTest(`a gateway with ${CIDRS} CIDRs in its watched file is ready within 3 s of its start`, async () => {
  await inScene(
    async () => twoClusters(),
    async (scene) => {
      const { topology, a, b } = scene;
      const gateway = new GatewayProcess(topology, a.gateways[0]!);
      gateway.configure(a, b, { watch: [{ kind: 'file', path: 'clusters.yaml' }] });
      const cidrs = Array.from(
        { length: CIDRS },
        (_, n) => `10.${128 + (n >> 12)}.${(n >> 4) & 255}.${(n & 15) * 16}/28`,
      );
      gateway.writeWatched([{ name: 'large', cidrs, gateways: entryOf(b).gateways }]);
      const start = performance.now();
      gateway.start();
      await gateway.ready();
      const tookMs = performance.now() - start;
      const status = await gateway.status();
      assert.equal(status.counts.routes, CIDRS + 1);
      const kernel = await gateway.machine.exec('ip', 'route', 'show', 'table', 'all', 'proto', '73');
      assert.equal(kernel.split('\n').filter((line) => line.trim() !== '').length, CIDRS + 1);
      assert.ok(tookMs <= 3000, `ready after ${tookMs.toFixed(0)} ms`);
    },
  );
});

systemTest('a bad new configuration keeps the old one running, and status and metrics say so', async () => {
  await inScene(
    async () => joinClusters(await twoClusters()),
    async ({ a, b, gwA }) => {
      const agent = await a.pods[0]!.machine.agent(TRAFFIC_AGENT);
      const series = agent.call('ping', {
        destination: b.pods[0]!.address,
        ...{ count: 60_000, intervalMs: 1, sizeBytes: 84, seed: 1, timeoutMs: 1000 },
      });
      gwA.configure(a, b, { tunnel: { ttl: 1000 } });
      gwA.daemon.child.kill('SIGHUP');
      const bad = await poll('the failed reload', 5000, async () => {
        const { configuration, state } = await gwA.status();
        return (
          configuration.lastReload?.ok === false && { error: configuration.lastReload.error ?? '', state }
        );
      });
      assert.match(bad.error, /isthmus\.yaml:\d+/);
      assert.match(bad.error, /tunnel\.ttl/);
      assert.equal(bad.state, 'degraded');
      assert.equal((await gwA.metrics()).get('isthmus_configuration_reload_success'), 0);
      assert.ok((await gwA.routes()).includes(b.cidr));

      gwA.configure(a, b);
      gwA.daemon.child.kill('SIGHUP');
      await poll(
        'the good reload',
        5000,
        async () => (await gwA.status()).configuration.lastReload?.ok === true,
      );
      assert.equal((await gwA.metrics()).get('isthmus_configuration_reload_success'), 1);
      assert.equal((await gwA.status()).state, 'ok');
      await agent.call('stop', null);
      const answer = await series;
      assert.deepEqual([answer.lost, answer.corrupted], [[], 0]);
    },
  );
});

systemTest(
  'a gateway with a bad configuration ends with status 2 and names file, line and field',
  async () => {
    await inScene(
      async () => twoClusters(),
      async ({ topology, a, b }) => {
        const gateway = new GatewayProcess(topology, a.gateways[0]!);
        gateway.configure(a, b, { tunnel: { ttl: 1000 } });
        gateway.start();
        assert.equal(await gateway.daemon.exited, 2);
        assert.match(gateway.daemon.log(), /isthmus\.yaml:\d+:\d+.*tunnel\.ttl/);
        const links = await gateway.machine.exec('ip', 'link', 'show');
        assert.ok(!links.includes('isthmus0'), 'nothing was touched');
      },
    );
  },
);
