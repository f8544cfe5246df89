import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { poll } from '../../src/measure/topology.ts';
import { kubeApiServerMissing } from '../fixtures/kube-api-server.ts';
import { TRAFFIC_AGENT, type TrafficAgent } from './topology/agent-commands.ts';
import { isthmusOf, type KubernetesClusters, kubernetesClusters } from './topology/kubernetes-clusters.ts';
import { inScene, systemTest } from './topology/scene.ts';

/**
 * Two clusters with real API servers, joined by one command, under packets: from then on pods reach pods, and what happens to nodes is
 * followed. West has two gateways and two pods, each the node of one.
 */
const FOLLOWED_MS = 15_000;
const NODES = '/api/v1/nodes';

async function scene(): Promise<KubernetesClusters> {
  const clusters = await kubernetesClusters({ pods: 2, secondGateway: ['b'] });
  const [first, second] = clusters.b.pods;
  // As in Kubernetes: what a pod sends leaves by its own node.
  await first?.machine.ip('route replace default via 10.2.1.1 dev eth0');
  await second?.machine.ip('route replace default via 10.2.2.254 dev eth1 onlink');
  return clusters;
}

async function startAll({ east, west }: KubernetesClusters): Promise<void> {
  const gateways = [...east.gateways, ...west.gateways];
  for (const gateway of gateways) gateway.start();
  await Promise.all(gateways.map((gateway) => gateway.ready()));
}

async function answers(agent: TrafficAgent, destination: string): Promise<boolean> {
  const { lost } = await agent.call('ping', {
    ...{ destination, count: 1, intervalMs: 1, sizeBytes: 84, seed: 1, timeoutMs: 100 },
  });
  return lost.length === 0;
}

/** Does something, and says how long it took until packets showed it. */
async function followed(
  t: TestContext,
  what: string,
  act: () => Promise<unknown>,
  shows: () => Promise<boolean>,
): Promise<void> {
  await act();
  const startMs = performance.now();
  await poll(what, FOLLOWED_MS, shows);
  t.diagnostic(`${what}: ${(performance.now() - startMs).toFixed(0)} ms`);
}

/** Which gateway of west gets what podA1 sends. */
async function packetsTo({ east }: KubernetesClusters, address: string): Promise<number> {
  const peers = (await east.gateways[0]!.api('/api/v1/peers')) as {
    address: string;
    outbound: { packets: number };
  }[];
  return peers.find((peer) => peer.address === address)?.outbound.packets ?? 0;
}

systemTest(
  'isthmus join lets pods of two clusters reach each other, and packets follow the nodes from then on',
  (t) =>
    inScene(scene, async (clusters) => {
      const { east, west, a, b } = clusters;
      await startAll(clusters);
      const agent = await a.pods[0]!.machine.agent(TRAFFIC_AGENT);
      const [near, far] = [b.pods[0]!.address, b.pods[1]!.address];
      assert.equal(await answers(agent, near), false, 'nothing is joined yet');

      await followed(
        t,
        'joined',
        () => isthmusOf(clusters, 'join'),
        () => answers(agent, near),
      );
      assert.ok(await answers(agent, far), 'the pod of the other node');

      // The second node of west is taken away, comes back, and moves to the first gateway.
      await followed(
        t,
        'a node removed',
        () => west.api.admin.delete(`${NODES}/node-2`),
        async () => !(await answers(agent, far)),
      );
      assert.ok(await answers(agent, near), 'the other node is untouched');
      await followed(
        t,
        'a node added',
        () =>
          west.api.admin.createNode('node-2', { podCidr: '10.2.2.0/24', address: b.gateways[1]!.address }),
        () => answers(agent, far),
      );
      const before = await packetsTo(clusters, b.gateways[0]!.address);
      await followed(
        t,
        'a node with another address',
        () => west.api.admin.setNodeAddress('node-2', b.gateways[0]!.address),
        async () => {
          await answers(agent, far);
          return (await packetsTo(clusters, b.gateways[0]!.address)) > before;
        },
      );
      // Its own gateway still sends for it, from an address that no node has any more: accepted for tunnel.gatewayGrace.
      assert.ok(await answers(agent, far), 'through the first gateway');

      await t.test('status of the objects, and what isthmus clusters says', async () => {
        const object = await poll('a ready RemoteCluster', FOLLOWED_MS, async () => {
          const found = await east.api.admin.find('/apis/isthmus.network/v1alpha1/remoteclusters/west');
          const { conditions = [] } = (found?.status ?? {}) as {
            conditions?: { type: string; status: string }[];
          };
          return conditions.some(({ type, status }) => type === 'Ready' && status === 'True')
            ? found
            : undefined;
        });
        const { gateways } = object.status as {
          gateways: { name: string; ready: boolean; routes: number }[];
        };
        assert.deepEqual(
          gateways.map(({ name, ready, routes }) => [name, ready, routes > 0]),
          [['node-1', true, true]],
        );
        assert.match(await east.gateways[0]!.command('clusters'), /^west +fresh /m);
      });

      const again = await isthmusOf(clusters, 'join');
      assert.match(again, /joined already: nothing changed/);
      await followed(
        t,
        'left',
        () => isthmusOf(clusters, 'leave'),
        async () => !(await answers(agent, near)),
      );
      assert.deepEqual(await east.gateways[0]!.routes(), []);
      await agent.close();
    }),
  kubeApiServerMissing(),
);
