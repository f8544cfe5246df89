import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { poll } from '../../src/measure/topology.ts';
import { kubeApiServerMissing } from '../fixtures/kube-api-server.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { configureReader, largeClusters } from './topology/large-clusters.ts';
import { inScene, systemTest } from './topology/scene.ts';

/** As many as a busy machine makes and reads in seconds; bench/kubernetes.ts measures five times as many in three clusters. */
const NODES = 2000;
/** A list-watch of that many takes one second. */
const READY_MS = 20_000;
const FOLLOWED_MS = 10_000;

systemTest(
  `every one of ${NODES} nodes of a real API server has its route, and packets follow one of them`,
  (t) =>
    inScene(
      () => largeClusters({ clusters: 1, nodes: NODES, blocks: false }),
      async (scene) => {
        const { gwA, a, b } = scene;
        const { api, nodes, lastNode, pod } = scene.clusters[0]!;
        configureReader(scene, { kind: 'kubernetes' });
        gwA.start();
        await gwA.ready(READY_MS);
        t.diagnostic(/VmRSS:.*/.exec(readFileSync(`/proc/${gwA.daemon.pid}/status`, 'utf8'))![0]);
        assert.deepEqual(new Set(await gwA.routes()), new Set(nodes.map(({ podCidr }) => podCidr)));

        const agent = await a.pods[0]!.machine.agent(TRAFFIC_AGENT);
        const answers = async (): Promise<boolean> => {
          const ping = { destination: pod, count: 1, intervalMs: 1, sizeBytes: 84, seed: 1, timeoutMs: 100 };
          return (await agent.call('ping', ping)).lost.length === 0;
        };
        await poll('an answer of the last node', FOLLOWED_MS, answers);
        await api.admin.setNodeAddress(lastNode, nodes[0]!.address);
        await poll('silence of the last node', FOLLOWED_MS, async () => !(await answers()));
        await api.admin.setNodeAddress(lastNode, b.gateways[0]!.address);
        await poll('the last node again', FOLLOWED_MS, answers);
        await agent.close();
      },
    ),
  kubeApiServerMissing(),
);
