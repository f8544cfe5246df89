import assert from 'node:assert/strict';
import { twoClusters } from '../../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT, type TrafficAgent } from './agent-commands.ts';
import { type JoinedClusters, joinClusters } from './gateway-process.ts';
import { suiteInScene } from './scene.ts';
import type { Variant } from './variants.ts';

export const TCP_PORT = 5001;
const UDP_PORT = 5002;
const INNER_MTU_BYTES = 1480;

/** An agent in the first pod of each cluster. */
export async function agents(scene: JoinedClusters): Promise<[TrafficAgent, TrafficAgent]> {
  return [
    await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT),
    await scene.b.pods[0]!.machine.agent(TRAFFIC_AGENT),
  ];
}

async function close(...agents: readonly TrafficAgent[]): Promise<void> {
  await Promise.all(agents.map((agent) => agent.close()));
}

/** A TCP stream one way and a UDP flow there and back, at the same time. */
async function stream(from: [TrafficAgent, TrafficAgent], destination: string, seed: number): Promise<void> {
  const [tcpAgent, udpAgent] = from;
  const bytes = 10_000_001;
  const [tcp, udp] = await Promise.all([
    tcpAgent.call('tcpSend', { destination, port: TCP_PORT, bytes, connections: 1, seed }),
    udpAgent.call('udpFlow', {
      ...{
        destination,
        port: UDP_PORT,
        count: 1000,
        intervalMs: 2,
        payloadBytes: 1000,
        seed,
        timeoutMs: 3000,
      },
    }),
  ]);
  assert.deepEqual(tcp.received, [{ bytes, firstDifference: -1 }]);
  assert.deepEqual([udp.sent, udp.duplicated, udp.corrupted], [1000, 0, 0]);
  // TCP fills every queue until something is dropped, and what is dropped may be a datagram.
  assert.ok(udp.received >= 900, `${udp.received} of ${udp.sent} datagrams came back beside a TCP stream`);
}

/** Every kind of traffic between two clusters whose gateways move packets in this way. */
export function trafficSuite(variant: Variant): void {
  const make = async (): Promise<JoinedClusters> => joinClusters(await twoClusters(), variant.change);
  suiteInScene(`traffic between two clusters (${variant.name})`, { make, skip: variant.skip }, (check) => {
    check('loses none of 10,000 pings at 1 ms', async (scene) => {
      const [agent, other] = await agents(scene);
      const answer = await agent.call('ping', {
        destination: scene.b.pods[0]!.address,
        ...{ count: 10_000, intervalMs: 1, sizeBytes: 84, seed: 1, timeoutMs: 2000 },
      });
      const { lost, duplicated, corrupted, received } = answer;
      assert.deepEqual(
        { lost, duplicated, corrupted, received },
        { lost: [], duplicated: 0, corrupted: 0, received: 10_000 },
      );
      await close(agent, other);
    });

    check(
      'carries packets of every size from a bare header to the MTU, bit for bit, both ways',
      async (scene) => {
        const [agentA, agentB] = await agents(scene);
        const sizes = Array.from({ length: INNER_MTU_BYTES - 19 }, (_, index) => 20 + index);
        const [addressA, addressB] = [scene.a.pods[0]!.address, scene.b.pods[0]!.address];
        for (const [from, to, source, destination] of [
          [agentA, agentB, addressA, addressB],
          [agentB, agentA, addressB, addressA],
        ] as const) {
          const request = { source, destination, protocol: 253, sizes, seed: 2, dontFragment: true };
          const expected = to.call('expectSizes', { ...request, timeoutMs: 10_000 });
          await to.call('begun', null);
          await from.call('sendSizes', request);
          assert.deepEqual(await expected, {
            received: sizes.length,
            missing: [],
            duplicated: [],
            differences: [],
          });
        }
        await close(agentA, agentB);
      },
    );

    check('carries TCP and UDP both ways at once', async (scene) => {
      const [tcpA, tcpB] = await agents(scene);
      const [udpA, udpB] = await agents(scene);
      for (const agent of [tcpA, tcpB]) await agent.call('tcpSink', { port: TCP_PORT });
      for (const agent of [udpA, udpB]) await agent.call('udpEcho', { port: UDP_PORT });
      await Promise.all([
        stream([tcpA, udpA], scene.b.pods[0]!.address, 3),
        stream([tcpB, udpB], scene.a.pods[0]!.address, 4),
      ]);
      await close(tcpA, tcpB, udpA, udpB);
    });

    check('carries four TCP flows in parallel, each to the byte', async (scene) => {
      const [client, server] = await agents(scene);
      await server.call('tcpSink', { port: TCP_PORT });
      const bytes = 5_000_003;
      const answer = await client.call('tcpSend', {
        destination: scene.b.pods[0]!.address,
        ...{ port: TCP_PORT, bytes, connections: 4, seed: 5 },
      });
      assert.deepEqual(answer.received, Array(4).fill({ bytes, firstDifference: -1 }));
      await close(client, server);
    });

    check('counts what it forwarded and reports no problem', async ({ gwA, gwB }) => {
      for (const gateway of [gwA, gwB]) {
        const status = await gateway.status();
        assert.deepEqual([status.state, status.problems], ['ok', []]);
        assert.ok(status.traffic.outbound.packets > 10_000, `outbound ${status.traffic.outbound.packets}`);
        assert.ok(status.traffic.inbound.packets > 10_000, `inbound ${status.traffic.inbound.packets}`);
        assert.deepEqual([status.underlay.socket, status.tunnel.workers], [variant.socket, variant.workers]);
        assert.equal(status.tunnel.workerRestarts, 0);
      }
    });
  });
}
