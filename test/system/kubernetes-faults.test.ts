import assert from 'node:assert/strict';
import type { ClusterDetail, RouteRow, StreamRow } from '../../src/admin/view.ts';
import { poll } from '../../src/measure/topology.ts';
import { kubeApiServerMissing } from '../fixtures/kube-api-server.ts';
import { isthmusOf, type KubernetesClusters, kubernetesClusters } from './topology/kubernetes-clusters.ts';
import { whilePinging } from './topology/ping-series.ts';
import { suiteInScene } from './topology/scene.ts';

/**
 * What happens to API servers, and to the right to read them, under packets. In each case: no packet lost on routes that did not change, no
 * route withdrawn that should not be, and status says what is going on.
 */
const MENDED_MS = 60_000;
const PING_INTERVAL_MS = 5;
const CHILD = 'kubernetes:local/west';
const NODES = '/api/v1/nodes';
const READER_BINDING = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/isthmus-access-east';
const ACCESS_SECRET = '/api/v1/namespaces/isthmus-system/secrets/west-access';
const STORM_NODES = 100;
const STORM_UPDATES = 5000;

async function scene(): Promise<KubernetesClusters> {
  const clusters = await kubernetesClusters();
  const gateways = [...clusters.east.gateways, ...clusters.west.gateways];
  for (const gateway of gateways) gateway.start();
  await Promise.all(gateways.map((gateway) => gateway.ready()));
  await isthmusOf(clusters, 'join');
  await fresh(clusters);
  return clusters;
}

async function west({ east }: KubernetesClusters): Promise<ClusterDetail | undefined> {
  const rows = (await east.gateways[0]!.api('/api/v1/clusters')) as ClusterDetail[];
  return rows.find(({ name }) => name === 'west');
}

async function streams({ east }: KubernetesClusters): Promise<StreamRow[]> {
  return (await east.gateways[0]!.status()).streams.filter(({ source }) => source === CHILD);
}

/** Resolves when east reads west without any trouble. */
async function fresh(clusters: KubernetesClusters): Promise<void> {
  await poll('west fresh', MENDED_MS, async () => {
    const row = await west(clusters);
    return row?.state === 'fresh' && row.routes > 0;
  });
}

/** Resolves with what east says while it cannot read west as it should. */
async function troubled(clusters: KubernetesClusters, words: RegExp): Promise<string> {
  return poll(`west in trouble: ${words}`, MENDED_MS, async () =>
    (await west(clusters))?.problems.find((problem) => words.test(problem)),
  );
}

const routesOf = async ({ east }: KubernetesClusters): Promise<string[]> =>
  ((await east.gateways[0]!.api('/api/v1/routes')) as RouteRow[])
    .map(
      ({ cidr, since, gateways }) =>
        `${cidr} since ${since} by ${gateways.map(({ address }) => address).join()}`,
    )
    .sort();

/** `body` happens under pings both ways; afterwards every one was answered, and the routes of before are those of now. */
async function unharmed(clusters: KubernetesClusters, body: () => Promise<void>): Promise<string> {
  const before = await routesOf(clusters);
  const { a, b } = clusters;
  const series = await whilePinging(a.pods[0]!.machine, b.pods[0]!.address, PING_INTERVAL_MS, body);
  assert.deepEqual([series.lost, series.corrupted], [[], 0], `of ${series.sent}`);
  assert.deepEqual(await routesOf(clusters), before);
  return `0 of ${series.sent} pings lost`;
}

suiteInScene(
  'API servers in trouble, under packets',
  { make: scene, skip: kubeApiServerMissing() },
  (check) => {
    check('both API servers are killed and come back', async (clusters) => {
      const { east, west: far } = clusters;
      console.log(
        await unharmed(clusters, async () => {
          await Promise.all([east.api.killApi(), far.api.killApi()]);
          await troubled(clusters, /ECONNREFUSED|ECONNRESET|closed|refused/);
          assert.equal(
            (await east.gateways[0]!.readiness()).ready,
            true,
            'a stale source is no reason to send packets away',
          );
          await east.api.startApi();
          await far.api.startApi();
          await fresh(clusters);
        }),
      );
    });

    check(
      'etcd is compacted so that the watch gets 410, and what was deleted meanwhile is noticed',
      async (clusters) => {
        const { api } = clusters.west;
        await api.admin.createNode('short-lived', { podCidr: '10.2.77.0/24', address: '172.31.2.2' });
        const known = async (): Promise<boolean> =>
          (await routesOf(clusters)).some((row) => row.startsWith('10.2.77.0/24'));
        await poll('the short-lived node', MENDED_MS, known);
        const lists = (await streams(clusters)).find(({ resource }) => resource === 'nodes')!.lists;
        const { a, b } = clusters;
        const series = await whilePinging(
          a.pods[0]!.machine,
          b.pods[0]!.address,
          PING_INTERVAL_MS,
          async () => {
            // While nobody can watch: the node is deleted, and its deletion forgotten.
            await api.killApi();
            await troubled(clusters, /ECONNREFUSED|ECONNRESET|closed|refused/);
            await api.deleteInEtcd('/registry/minions/short-lived');
            await api.compact();
            await api.startApi();
            await poll('the deletion noticed', MENDED_MS, async () => !(await known()));
            await fresh(clusters);
          },
        );
        assert.deepEqual(series.lost, [], `of ${series.sent}`);
        const after = (await streams(clusters)).find(({ resource }) => resource === 'nodes')!.lists;
        assert.ok(after.expired + after.error > lists.expired + lists.error, JSON.stringify(after));
        console.log(`0 of ${series.sent} pings lost`);
      },
    );

    check('the right to read is taken away and given back', async (clusters) => {
      const { api } = clusters.west;
      const binding = await api.admin.get(READER_BINDING);
      console.log(
        await unharmed(clusters, async () => {
          await api.admin.delete(READER_BINDING);
          // Watches that run go on until the server ends them.
          await api.restartApi();
          const said = await troubled(clusters, /403/);
          assert.match(said, /nodes|tunnelgateways|servicecidrs/);
          const { name, labels } = binding.metadata;
          await api.admin.create(READER_BINDING.replace(/\/[^/]+$/, ''), {
            ...binding,
            metadata: { name, labels },
          });
          await fresh(clusters);
        }),
      );
    });

    check('the Secret with the credentials is rotated', async (clusters) => {
      const { east, west: far } = clusters;
      const token = await far.api.serviceAccountToken('isthmus-system', 'isthmus-access-east');
      const before = (await streams(clusters)).length;
      console.log(
        await unharmed(clusters, async () => {
          await east.api.admin.patch(ACCESS_SECRET, {
            data: { kubeconfig: Buffer.from(far.api.kubeconfig(token)).toString('base64') },
          });
          // A new reader starts with a list of its own, and is done when it watches.
          await poll('the new credentials in use', MENDED_MS, async () => {
            const rows = await streams(clusters);
            return (
              rows.length === before && rows.every(({ phase }) => phase === 'watching' || phase === 'absent')
            );
          });
          // The old ones are worth nothing any more, and nobody misses them.
          await far.api.restartApi();
          await fresh(clusters);
        }),
      );
    });

    check(`a storm of ${STORM_UPDATES} updates of nodes that change nothing for us`, async (clusters) => {
      const { api } = clusters.west;
      const names = Array.from({ length: STORM_NODES }, (_, i) => `storm-${i}`);
      for (const [i, name] of names.entries())
        await api.admin.createNode(name, { podCidr: `10.2.${100 + i}.0/24`, address: '172.31.2.2' });
      await poll('all nodes known', MENDED_MS, async () => (await routesOf(clusters)).length > STORM_NODES);
      let tookMs = 0;
      const words = await unharmed(clusters, async () => {
        const startMs = performance.now();
        await api.admin.storm(
          Array.from({ length: STORM_UPDATES }, (_, i) => [
            `${NODES}/${names[i % STORM_NODES]}/status`,
            { metadata: { annotations: { heartbeat: String(i) } } },
          ]),
        );
        tookMs = performance.now() - startMs;
        await fresh(clusters);
      });
      const nodes = (await streams(clusters)).find(({ resource }) => resource === 'nodes');
      assert.equal(nodes?.problem, null);
      console.log(`${words}; ${STORM_UPDATES} updates in ${(tookMs / 1000).toFixed(1)} s`);
    });
  },
);
