import assert from 'node:assert/strict';
import type { Buffer } from 'node:buffer';
import { poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { addressText, IP_HEADER_BYTES, ipv4, PROTOCOL, pattern } from './topology/packet-builder.ts';
import { suiteInScene } from './topology/scene.ts';
import { Tap } from './topology/tap.ts';

const TIME_EXCEEDED = 11;
const UNREACHABLE = 3;
const FRAGMENTATION_NEEDED = 4;

function typeOf(error: Buffer): [type: number, code: number] {
  return [error[IP_HEADER_BYTES]!, error[IP_HEADER_BYTES + 1]!];
}

/** A packet of the pod of A to that of B. */
async function send(scene: JoinedClusters, bytes: number, change: object): Promise<void> {
  const [from, to] = [scene.a.pods[0]!, scene.b.pods[0]!];
  const packet = ipv4({
    ...{ source: from.address, destination: to.address, protocol: PROTOCOL.EXPERIMENTAL },
    ...{ payload: pattern(1, 1, bytes - IP_HEADER_BYTES), id: 77, ...change },
  });
  const agent = await from.machine.agent(TRAFFIC_AGENT);
  await agent.call('sendPackets', { packets: [packet.toString('hex')], gapMs: 0 });
  await agent.close();
}

/** The gateway of A takes it to 1, that of B has to say that it ends there. */
const LAST_HOP = { ttl: 2 };

const nameless = async (): Promise<JoinedClusters> => joinClusters(await twoClusters(), {});
suiteInScene('what a gateway says itself', { make: nameless }, (check) => {
  check(
    'G10 without tunnel.address what it says does not enter the tunnel: its address is an end of it',
    async (scene) => {
      await send(scene, 120, LAST_HOP);
      await poll('the drop', 3000, async () => {
        return (await scene.gwB.status()).traffic.outbound.drops.loop === 1;
      });
    },
  );
});

const named = async (): Promise<JoinedClusters> =>
  joinClusters(await twoClusters(), {}, (gateway, local, remote) => {
    const address = local.cidr.replace('.0.0/16', '.255.1');
    gateway.configure(local, remote, { tunnel: { address } });
  });
suiteInScene('what a gateway with an address of its cluster says itself', { make: named }, (check) => {
  check('G10 with tunnel.address its ICMP errors reach senders at the other side', async (scene) => {
    const icmp = await Tap.open(scene.a.pods[0]!.machine, PROTOCOL.ICMP);
    await send(scene, 120, LAST_HOP);
    const error = await icmp.first('the ICMP error');
    assert.deepEqual(typeOf(error), [TIME_EXCEEDED, 0]);
    assert.equal(addressText(error, 12), '10.2.255.1');
    await icmp.close();
  });

  check('G10 so that a path that is narrower behind the tunnel is found', async (scene) => {
    await scene.gwB.machine.ip('link set pod1 mtu 1300');
    const icmp = await Tap.open(scene.a.pods[0]!.machine, PROTOCOL.ICMP);
    await send(scene, 1400, { dontFragment: true });
    const error = await icmp.first('the ICMP error');
    assert.deepEqual(typeOf(error), [UNREACHABLE, FRAGMENTATION_NEEDED]);
    assert.equal(error.readUInt16BE(IP_HEADER_BYTES + 6), 1300);
    await icmp.close();
    await scene.gwB.machine.ip('link set pod1 mtu 1500');
  });
});

const routerFragments = async (): Promise<JoinedClusters> =>
  joinClusters(await twoClusters({ farMtuBytes: 1400 }), {
    tunnel: { fragment: 'outer' },
    health: { pathMtu: false },
  });
suiteInScene(
  'outer packets without DF on a path that is narrower behind a router',
  { make: routerFragments },
  (check) => {
    check('F1 a router on the path may fragment them, and they arrive whole', async (scene) => {
      const [client, server] = [scene.a.pods[0]!, scene.b.pods[0]!];
      const [from, to] = [
        await client.machine.agent(TRAFFIC_AGENT),
        await server.machine.agent(TRAFFIC_AGENT),
      ];
      const request = {
        ...{ source: client.address, destination: server.address, protocol: PROTOCOL.EXPERIMENTAL },
        ...{ sizes: [1380, 1381, 1400, 1480], seed: 1, dontFragment: false },
      };
      const expected = to.call('expectSizes', { ...request, timeoutMs: 5000 });
      await to.call('begun', null);
      await from.call('sendSizes', request);
      assert.deepEqual(await expected, { received: 4, missing: [], duplicated: [], differences: [] });
      assert.equal(
        (await scene.gwA.metrics()).get('isthmus_fragmented_packets_total'),
        0,
        'not by the gateway',
      );
      assert.equal((await scene.gwB.metrics()).get('isthmus_packets_total{direction="inbound"}'), 4);
      for (const agent of [from, to]) await agent.close();
    });
  },
);
