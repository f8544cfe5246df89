import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { existsSync } from 'node:fs';
import { parseAddress } from '../../src/base/address.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { buildIpv4 } from '../sim/oracle/wire.ts';
import { Flow } from '../unit/io/flow-packets.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { suiteInScene } from './topology/scene.ts';
import { Tap } from './topology/tap.ts';
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

    check(
      'datagrams that the kernel has merged are counted as dropped, and never become one',
      async (scene) => {
        const { machine, device } = scene.b.gateways[0]!;
        const [client, server] = [
          await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT),
          await scene.b.pods[0]!.machine.agent(TRAFFIC_AGENT),
        ];
        const [port, destination] = [5002, scene.b.pods[0]!.address];
        await server.call('udpEcho', { port });
        const burst = { destination, port, count: 400, intervalMs: 0, payloadBytes: 1400, seed: 1 };
        await machine.exec('ethtool', '-K', device, 'rx-udp-gro-forwarding', 'on');
        const broken = await client.call('udpFlow', { ...burst, timeoutMs: 300 });
        await machine.exec('ethtool', '-K', device, 'rx-udp-gro-forwarding', 'off');
        assert.equal(broken.corrupted, 0);
        const drops = (await scene.gwB.status()).traffic.inbound.drops;
        assert.ok((drops['merged-datagrams'] ?? 0) > 0, 'GRO merged no datagrams');
        assert.deepEqual(Object.keys(drops), ['merged-datagrams']);
        const whole = await client.call('udpFlow', { ...burst, intervalMs: 1, timeoutMs: 5000 });
        assert.deepEqual(whole.lost, [], 'without it they pass');
        await Promise.all([client.close(), server.close()]);
      },
    );
  });
}

/** A full batch, and the TCP packets that hold it: 46 segments of 1,400 bytes and the rest. */
const SEGMENTS = 64;
const MERGED = 2;

async function received(machine: Machine, device: string): Promise<number> {
  interface Link {
    readonly stats64: { readonly rx: { readonly packets: number } };
  }
  const [link] = await machine.ipJson<Link>('-s', 'link', 'show', 'dev', device);
  return link!.stats64.rx.packets;
}

suiteInScene(
  'TCP segments that wait at a gateway',
  { make: async () => joinClusters(await twoClusters(), BATCH.change) },
  (check) => {
    check('are written to the device as two packets, with every byte and in order', async (scene) => {
      const [from, to] = [scene.a.gateways[0]!, scene.b.gateways[0]!];
      const pod = scene.b.pods[0]!;
      const flow = new Flow({ network: [10, 1, 1], destination: [10, 2, 1, 2] });
      const segments = Array.from({ length: SEGMENTS }, () => flow.next());
      const packets = segments.map((payload) => {
        const [source, destination] = [parseAddress(from.address), parseAddress(to.address)];
        return buildIpv4({ source, destination, protocol: 4, dontFragment: true, payload });
      });
      const tap = await Tap.open(pod.machine, 6);
      const sender = await from.machine.agent(TRAFFIC_AGENT);
      const writesBefore = await received(to.machine, 'isthmus0');
      const arrivedBefore = await received(to.machine, to.device);
      // Stopped, the gateway finds them all when it goes on: a full batch, whatever the machine has to do.
      process.kill(scene.gwB.daemon.pid, 'SIGSTOP');
      const hex = packets.map((packet) => Buffer.from(packet).toString('hex'));
      await sender.call('sendPackets', { packets: hex, gapMs: 0 });
      const arrived = async (): Promise<boolean> =>
        (await received(to.machine, to.device)) >= arrivedBefore + SEGMENTS;
      await poll('segments at the gateway', 5000, arrived);
      process.kill(scene.gwB.daemon.pid, 'SIGCONT');

      const sent = Buffer.concat(segments.map((segment) => segment.subarray(40)));
      const delivered = await poll('segments at the pod', 5000, async () => {
        const bytes = Buffer.concat((await tap.packets()).map((packet) => packet.subarray(40)));
        return bytes.length >= sent.length ? bytes : undefined;
      });
      assert.deepEqual(delivered, sent);
      assert.equal((await received(to.machine, 'isthmus0')) - writesBefore, MERGED);
      const { traffic } = await scene.gwB.status();
      assert.equal(traffic.inbound.packets, SEGMENTS, 'merged packets count as what they were made of');
      assert.deepEqual(traffic.inbound.drops, {});
      await Promise.all([tap.close(), sender.close()]);
    });
  },
);
