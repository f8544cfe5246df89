import assert from 'node:assert/strict';
import { type TwoClusters, type TwoClustersOptions, twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { inScene, systemTest } from './topology/scene.ts';

/** Plain forwarding instead of gateways: the router learns the overlay, which proves the topology and the agents by themselves. */
async function forwarding(options: TwoClustersOptions = {}): Promise<TwoClusters> {
  const scene = await twoClusters(options);
  const routes = [scene.a, scene.b].map(
    (cluster) => `route add ${cluster.cidr} via ${cluster.gateways[0]!.address}`,
  );
  if (options.flat !== true) await scene.router.ip(...routes);
  return scene;
}

systemTest('without gateways no packet crosses: the router knows no overlay address', async () => {
  await inScene(twoClusters, async ({ a, b }) => {
    const agent = await a.pods[0]!.machine.agent(TRAFFIC_AGENT);
    const answer = await agent.call('ping', {
      destination: b.pods[0]!.address,
      ...{ count: 5, intervalMs: 1, sizeBytes: 84, seed: 1, timeoutMs: 100 },
    });
    assert.equal(answer.received, 0);
    assert.equal(answer.sent, 5);
  });
});

systemTest('the ping agent keeps its pace and loses nothing over plain forwarding', async () => {
  await inScene(forwarding, async ({ a, b }) => {
    const agent = await a.pods[0]!.machine.agent(TRAFFIC_AGENT);
    const answer = await agent.call('ping', {
      destination: b.pods[0]!.address,
      ...{ count: 2000, intervalMs: 1, sizeBytes: 1500, seed: 2, timeoutMs: 2000 },
    });
    assert.deepEqual([answer.lost, answer.duplicated, answer.corrupted], [[], 0, 0]);
    assert.equal(answer.received, 2000);
  });
});

systemTest(
  'packets of every size arrive bit for bit over plain forwarding, and a wrong seed is noticed',
  async () => {
    await inScene(forwarding, async ({ a, b }) => {
      const [sender, receiver] = [
        await a.pods[0]!.machine.agent(TRAFFIC_AGENT),
        await b.pods[0]!.machine.agent(TRAFFIC_AGENT),
      ];
      const sizes = Array.from({ length: 1481 }, (_, index) => 20 + index);
      const request = {
        ...{ source: a.pods[0]!.address, destination: b.pods[0]!.address, protocol: 253 },
        ...{ sizes, seed: 3, dontFragment: true },
      };
      const expected = receiver.call('expectSizes', { ...request, timeoutMs: 5000 });
      await receiver.call('begun', null);
      await sender.call('sendSizes', request);
      assert.deepEqual(await expected, {
        received: sizes.length,
        missing: [],
        duplicated: [],
        differences: [],
      });

      const wrong = receiver.call('expectSizes', { ...request, sizes: [20, 24], timeoutMs: 300 });
      await receiver.call('begun', null);
      await sender.call('sendSizes', { ...request, sizes: [20, 24], seed: 4 });
      const answer = await wrong;
      // The bare header has no payload to differ in.
      assert.deepEqual(answer.missing, [24]);
      assert.match(
        answer.differences[0]!,
        /^packet of 24 bytes arrived with 24, first difference at byte 2[0-3]$/,
      );
    });
  },
);

systemTest('TCP and UDP streams are compared to the byte over plain forwarding', async () => {
  await inScene(forwarding, async ({ a, b }) => {
    const [client, server] = [
      await a.pods[0]!.machine.agent(TRAFFIC_AGENT),
      await b.pods[0]!.machine.agent(TRAFFIC_AGENT),
    ];
    await server.call('tcpSink', { port: 5001 });
    await server.call('udpEcho', { port: 5002 });
    const destination = b.pods[0]!.address;
    const tcp = await client.call('tcpSend', {
      destination,
      port: 5001,
      bytes: 20_000_001,
      connections: 2,
      seed: 5,
    });
    assert.deepEqual(tcp.received, [
      { bytes: 20_000_001, firstDifference: -1 },
      { bytes: 20_000_001, firstDifference: -1 },
    ]);
    const udp = await client.call('udpFlow', {
      ...{ destination, port: 5002, count: 500, intervalMs: 1, payloadBytes: 1400, seed: 6, timeoutMs: 1000 },
    });
    assert.deepEqual(udp, { sent: 500, received: 500, duplicated: 0, corrupted: 0, lost: [] });
  });
});

systemTest('a flat segment and a second gateway reach the same pods', async () => {
  await inScene(
    () => forwarding({ flat: true, secondGateway: ['b'], pods: 2 }),
    async ({ a, b }) => {
      // On a flat segment the gateways route to each other directly.
      const back = `route add ${a.cidr} via ${a.gateways[0]!.address}`;
      for (const gateway of b.gateways) await gateway.machine.ip(back);
      for (const gateway of b.gateways) {
        await a.gateways[0]!.machine.ip(`route replace ${b.cidr} via ${gateway.address}`);
        for (const pod of b.pods) {
          const agent = await a.pods[1]!.machine.agent(TRAFFIC_AGENT);
          const answer = await agent.call('ping', {
            destination: pod.address,
            ...{ count: 20, intervalMs: 1, sizeBytes: 84, seed: 7, timeoutMs: 1000 },
          });
          assert.deepEqual(answer.lost, [], `through ${gateway.address} to ${pod.address}`);
        }
      }
    },
  );
});
