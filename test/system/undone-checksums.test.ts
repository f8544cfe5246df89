import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { type TwoClusters, twoClusters } from '../../src/measure/two-clusters.ts';
import { get16 } from '../sim/oracle/wire.ts';
import { checkAt, pseudoSumOf } from '../unit/io/flow-packets.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { GatewayProcess } from './topology/gateway-process.ts';
import { suiteInScene } from './topology/scene.ts';
import { Tap } from './topology/tap.ts';
import { DEVICES } from './topology/undone-gateway.ts';
import { BATCH, RAW_SOCKET, type Variant } from './topology/variants.ts';

const PROGRAM = fileURLToPath(new URL('./topology/undone-gateway.js', import.meta.url));

interface Scene extends TwoClusters {
  readonly gwB: GatewayProcess;
}

/** In A, what leaves the inner checksums undone; in B, a gateway. */
async function undoneClusters(variant: Variant): Promise<Scene> {
  const scene = await twoClusters();
  const [a, b] = [scene.a.gateways[0]!, scene.b.gateways[0]!];
  a.machine.start('undone gateway', [process.execPath, PROGRAM, a.address, b.address]);
  await poll('the devices of the undone gateway', 5000, async () => {
    const names = (await a.machine.ipJson<{ ifname: string }>('link')).map((link) => link.ifname);
    return Object.values(DEVICES).every((device) => names.includes(device));
  });
  // What comes out of its second device has an address of this host for its source.
  await a.machine.sysctl({
    'net.ipv4.conf.all.rp_filter': 0,
    [`net.ipv4.conf.${DEVICES.TO_UNDERLAY}.rp_filter`]: 0,
    [`net.ipv4.conf.${DEVICES.TO_UNDERLAY}.accept_local`]: 1,
  });
  await a.machine.ip(
    ...[`link set ${DEVICES.FROM_PODS} mtu 1480 up`, `link set ${DEVICES.TO_UNDERLAY} mtu 1500 up`],
    `route add ${scene.b.cidr} dev ${DEVICES.FROM_PODS}`,
  );
  const gwB = new GatewayProcess(scene.topology, b);
  gwB.configure(scene.b, scene.a, variant.change);
  gwB.start();
  await gwB.ready();
  return { ...scene, gwB };
}

/** Counters of UDP from /proc/net/snmp by name. */
async function udpCounters(machine: Machine): Promise<Map<string, number>> {
  const lines = (await machine.exec('cat', '/proc/net/snmp'))
    .split('\n')
    .filter((line) => line.startsWith('Udp:'));
  const [names, values] = lines.map((line) => line.split(' ').slice(1));
  return new Map(names!.map((name, index) => [name, Number(values![index])]));
}

for (const variant of [BATCH, RAW_SOCKET]) {
  const make = async (): Promise<Scene> => undoneClusters(variant);
  const options = { make, skip: variant.skip };
  suiteInScene(`a sender that leaves checksums undone (${variant.name})`, options, (check) => {
    check(
      'its datagrams arrive, whatever their size, and none is refused for its checksum',
      async (scene) => {
        const tap = await Tap.open(scene.b.gateways[0]!.machine, 4);
        const [client, server] = [
          await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT),
          await scene.b.pods[0]!.machine.agent(TRAFFIC_AGENT),
        ];
        const port = 5002;
        await server.call('udpEcho', { port });
        // Odd, even, as large as the tunnel takes, and cut into fragments: these have a whole checksum, as no card could fill it in.
        for (const payloadBytes of [33, 1000, 1452, 4000]) {
          const flow = {
            destination: scene.b.pods[0]!.address,
            port,
            count: 200,
            intervalMs: 1,
            payloadBytes,
          };
          const answer = await client.call('udpFlow', { ...flow, seed: payloadBytes, timeoutMs: 5000 });
          assert.deepEqual(answer, { sent: 200, received: 200, duplicated: 0, corrupted: 0, lost: [] });
        }
        const counters = await udpCounters(scene.b.pods[0]!.machine);
        assert.equal(counters.get('InCsumErrors'), 0);
        assert.equal(counters.get('RcvbufErrors'), 0);
        // Without undone checksums the test would show nothing.
        const inner = (await tap.packets()).map((packet) => packet.subarray(20));
        const whole = inner.filter((packet) => packet[9] === 17 && get16(packet, 6) % 0x4000 === 0);
        assert.ok(whole.length >= 600);
        assert.ok(whole.every((packet) => get16(packet, checkAt(packet)) === pseudoSumOf(packet)));
        await Promise.all([tap.close(), client.close(), server.close()]);
      },
    );

    check('its TCP connections carry every byte', async (scene) => {
      const [client, server] = [
        await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT),
        await scene.b.pods[0]!.machine.agent(TRAFFIC_AGENT),
      ];
      await server.call('tcpSink', { port: 5003 });
      const bytes = 2_000_003;
      const request = { destination: scene.b.pods[0]!.address, port: 5003, bytes, connections: 2, seed: 5 };
      const answer = await client.call('tcpSend', request);
      const found = { bytes, firstDifference: -1 };
      assert.deepEqual(answer.received, [found, found]);
      assert.deepEqual((await scene.gwB.status()).traffic.inbound.drops, {});
      await Promise.all([client.close(), server.close()]);
    });
  });
}
