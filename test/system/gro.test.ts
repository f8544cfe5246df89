import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { suiteInScene } from './topology/scene.ts';
import { BATCH, RAW_SOCKET, type Variant } from './topology/variants.ts';

const TCP_PORT = 5001;
const MTU_BYTES = 1480;

const ETHTOOL = ['/usr/sbin/ethtool', '/sbin/ethtool', '/usr/bin/ethtool'].some((path) => existsSync(path));

/**
 * As behind a network card: packets come to the gateway of B one by one, and wait there for a moment, so that GRO merges what follows on
 * each other.
 */
async function mergingClusters(variant: Variant): Promise<JoinedClusters> {
  const scene = await twoClusters();
  const { machine, device } = scene.b.gateways[0]!;
  await scene.router.exec('ethtool', '-K', 'to-gwB', 'tso', 'off', 'gso', 'off');
  await machine.exec('ethtool', '-K', device, 'gro', 'on');
  const folder = `/sys/class/net/${device}`;
  await machine.exec(
    'sh',
    '-c',
    `echo 1000000 > ${folder}/gro_flush_timeout && echo 10 > ${folder}/napi_defer_hard_irqs`,
  );
  return joinClusters(scene, variant.change);
}

for (const variant of [BATCH, RAW_SOCKET]) {
  const skip = ETHTOOL ? variant.skip : 'ethtool is missing (Debian: apt-get install ethtool)';
  const make = async (): Promise<JoinedClusters> => mergingClusters(variant);
  suiteInScene(`behind a device with GRO (${variant.name})`, { make, skip }, (check) => {
    check('TCP that the kernel has merged arrives to the byte', async (scene) => {
      const [client, server] = [
        await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT),
        await scene.b.pods[0]!.machine.agent(TRAFFIC_AGENT),
      ];
      await server.call('tcpSink', { port: TCP_PORT });
      const bytes = 8_000_003;
      const destination = scene.b.pods[0]!.address;
      const answer = await client.call('tcpSend', {
        ...{ destination, port: TCP_PORT, bytes, connections: 1, seed: 11 },
      });
      assert.deepEqual(answer.received, [{ bytes, firstDifference: -1 }]);
      const { traffic } = await scene.gwB.status();
      assert.deepEqual(traffic.inbound.drops, {});
      const meanBytes = traffic.inbound.bytes / traffic.inbound.packets;
      // Without merged packets the test would show nothing.
      assert.ok(meanBytes > MTU_BYTES, `packets have ${meanBytes} bytes on average: GRO merged nothing`);
      await Promise.all([client.close(), server.close()]);
    });
  });
}
