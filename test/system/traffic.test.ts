import assert from 'node:assert/strict';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { suiteInScene } from './topology/scene.ts';
import { agents, TCP_PORT, trafficSuite } from './topology/traffic-suite.ts';
import { RAW_SOCKET, TWO_WORKERS } from './topology/variants.ts';

// The others are in one-worker-traffic.test.ts: these two have both engines and both addons in them, and run on a second Node too.
for (const variant of [TWO_WORKERS, RAW_SOCKET]) trafficSuite(variant);

const twoGateways = async (): Promise<JoinedClusters> =>
  joinClusters(await twoClusters({ secondGateway: ['b'] }));
suiteInScene('traffic to a cluster with two gateways', { make: twoGateways }, (check) => {
  check('spreads its flows over both, and each flow arrives to the byte', async (scene) => {
    const [client, server] = await agents(scene);
    await server.call('tcpSink', { port: TCP_PORT });
    const bytes = 500_009;
    const answer = await client.call('tcpSend', {
      destination: scene.b.pods[0]!.address,
      ...{ port: TCP_PORT, bytes, connections: 24, seed: 6 },
    });
    assert.deepEqual(answer.received, Array(24).fill({ bytes, firstDifference: -1 }));
    for (const gateway of scene.gatewaysB) {
      const { traffic } = await gateway.status();
      assert.ok(traffic.inbound.packets > 0, `${gateway.machine.name} decapsulated nothing`);
    }
  });
});
