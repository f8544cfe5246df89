import assert from 'node:assert/strict';
import type { PeerRow } from '../../src/admin/view.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { type GatewayProcess, type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { flows, whilePinging } from './topology/ping-series.ts';
import { inScene, suiteInScene, systemTest } from './topology/scene.ts';
import { PACKET } from './topology/variants.ts';

/**
 * `tunnel.transmit: packet`: packets leave straight for the router's MAC address, which may become another one, or none. The series of
 * pings run through A in both directions, and B sends as A does.
 */
const SOON_MS = 10_000;
const ROUTER = '172.31.1.1';

async function make(): Promise<JoinedClusters> {
  const scene = await joinClusters(await twoClusters(), PACKET.change);
  await becomes(scene.gwA, 'packet');
  await becomes(scene.gwB, 'packet');
  return scene;
}

/** The only peer of the gateway is reached this way. */
async function becomes(gateway: GatewayProcess, transmit: PeerRow['transmit']): Promise<void> {
  await poll(`packets leave by ${transmit}`, SOON_MS, async () => {
    const [peer] = (await gateway.api('/api/v1/peers')) as PeerRow[];
    return peer?.transmit === transmit;
  });
}

async function transmitted(gateway: GatewayProcess): Promise<{ packet: number; raw: number }> {
  const metrics = await gateway.metrics();
  const of = (socket: string) => metrics.get(`isthmus_transmitted_packets_total{socket="${socket}"}`) ?? NaN;
  return { packet: of('packet'), raw: of('raw') };
}

async function neighbour({ machine }: GatewayProcess): Promise<{ lladdr?: string; state?: string[] }> {
  const rows = await machine.ipJson<{ dst: string; lladdr?: string; state?: string[] }>('neigh', 'show');
  return rows.find(({ dst }) => dst === ROUTER) ?? {};
}

/** Pings until `body` is done, and returns what was lost of them. */
async function lostWhile(
  { a, b }: JoinedClusters,
  body: (replies: (count: number) => Promise<void>) => Promise<void>,
): Promise<number> {
  const { machine } = a.pods[0]!;
  const answer = await whilePinging(machine, b.pods[0]!.address, 2, ({ replies }) => body(replies));
  assert.deepEqual([answer.duplicated, answer.corrupted], [0, 0]);
  return answer.lost.length;
}

suiteInScene('packets that leave straight for the next hop', { make }, (check) => {
  check('go by the packet socket, and status and peers say so', async (scene) => {
    const { gwA } = scene;
    const before = await transmitted(gwA);
    await flows(scene, undefined, 200);
    const after = await transmitted(gwA);
    assert.ok(after.packet - before.packet >= 200, `${after.packet - before.packet} by the packet socket`);
    assert.equal(after.raw, before.raw);
    const { underlay, traffic, problems } = await gwA.status();
    assert.deepEqual([underlay.transmit, underlay.peersByPacket, problems], ['packet', 1, []]);
    assert.equal(traffic.outbound.packets, after.packet + after.raw, 'each that was forwarded left by one');
    assert.match(await gwA.command('status'), /transmit packet \(1 of 1 peer\)/);
  });

  check('follow a router whose MAC address becomes another one', async (scene) => {
    const { gwA, router } = scene;
    await router.sysctl({ 'net.ipv4.conf.segment1.arp_notify': 1 });
    const lost = await lostWhile(scene, async (replies) => {
      for (const mac of ['02:00:00:00:aa:01', '02:00:00:00:aa:02']) {
        await router.ip(`link set segment1 address ${mac}`);
        await poll(`${ROUTER} is at ${mac}`, SOON_MS, async () => (await neighbour(gwA)).lladdr === mac);
        await replies(100);
      }
    });
    assert.ok(lost < 500, `${lost} lost`);
    await becomes(gwA, 'packet');
  });

  check('take the kernel’s way while the neighbour is deleted, and none is lost', async (scene) => {
    const { gwA } = scene;
    const lost = await lostWhile(scene, async (replies) => {
      for (let time = 0; time < 5; time++) {
        await gwA.machine.ip(`neigh del ${ROUTER} dev under0`);
        await replies(20);
        await becomes(gwA, 'packet');
      }
    });
    assert.equal(lost, 0);
  });

  check(
    'are counted as fallen back while the router does not answer ARP, and none leaves by the packet socket',
    async (scene) => {
      const { gwA, router } = scene;
      const answers = (isOn: boolean) => router.sysctl({ 'net.ipv4.conf.segment1.arp_ignore': isOn ? 0 : 8 });
      await answers(false);
      await gwA.machine.ip(`neigh del ${ROUTER} dev under0`);
      await becomes(gwA, 'raw');
      const before = await transmitted(gwA);
      const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
      const { received } = await agent.call('ping', {
        ...{ destination: scene.b.pods[0]!.address, count: 20, intervalMs: 1, sizeBytes: 84, seed: 1 },
        timeoutMs: 200,
      });
      await agent.close();
      const meanwhile = await transmitted(gwA);
      assert.deepEqual([received, meanwhile.packet - before.packet, meanwhile.raw - before.raw], [0, 0, 20]);
      await answers(true);
      // The kernel's own way resolves the router, and the notice of that reaches us too.
      await flows(scene);
      await becomes(gwA, 'packet');
      const after = await transmitted(gwA);
      await flows(scene);
      assert.equal((await transmitted(gwA)).raw, after.raw);
    },
  );

  check('follow a route to another router', async (scene) => {
    const { gwA, stranger } = scene;
    await stranger.machine.sysctl({
      'net.ipv4.ip_forward': 1,
      'net.ipv4.conf.all.send_redirects': 0,
      'net.ipv4.conf.under0.send_redirects': 0,
    });
    const before = await forwarded(stranger.machine);
    const lost = await lostWhile(scene, async (replies) => {
      await gwA.machine.ip(`route add 172.31.2.0/24 via ${stranger.address}`);
      await poll('packets pass the other router', SOON_MS, async () => {
        return (await forwarded(stranger.machine)) > before + 100;
      });
      await becomes(gwA, 'packet');
      await gwA.machine.ip('route del 172.31.2.0/24');
      await replies(100);
    });
    assert.ok(lost < 100, `${lost} lost`);
    await becomes(gwA, 'packet');
  });

  check('find their way again after the device was down', async (scene) => {
    const { gwA } = scene;
    await gwA.machine.ip('link set under0 down');
    await becomes(gwA, 'raw');
    await gwA.machine.ip('link set under0 up', `route add default via ${ROUTER}`);
    await becomes(gwA, 'packet');
    await flows(scene);
  });

  check(
    'go on with a neighbour that is idle for long: its entry is confirmed again and again',
    async (scene) => {
      const { gwA } = scene;
      await gwA.machine.sysctl({
        'net.ipv4.neigh.under0.base_reachable_time_ms': 500,
        'net.ipv4.neigh.under0.delay_first_probe_time': 1,
      });
      // Confirmed with the long time, the present entry would outlast the test.
      await gwA.machine.ip(`neigh del ${ROUTER} dev under0`);
      const isReachable = async () => (await neighbour(gwA)).state?.includes('REACHABLE') === true;
      for (let time = 0; time < 3; time++) {
        await poll('the entry is confirmed', SOON_MS, isReachable);
        await poll('it grows old', SOON_MS, async () => !(await isReachable()));
      }
      await becomes(gwA, 'packet');
    },
  );
});

async function forwarded(machine: Machine): Promise<number> {
  const [names, values] = (await machine.exec('grep', '^Ip:', '/proc/net/snmp')).trim().split('\n');
  return Number(values?.split(' ')[names?.split(' ').indexOf('ForwDatagrams') ?? -1]);
}

systemTest(
  'packets do not pass netfilter OUTPUT, which the documentation says',
  () =>
    inScene(make, async (scene) => {
      const { machine } = scene.gwA;
      await machine.exec('iptables', '-A', 'OUTPUT', '-p', '4', '-j', 'DROP');
      await flows(scene);
    }),
  lacking('iptables', 'iptables'),
);

systemTest('a device without neighbours is left to the raw socket, and traffic flows', () =>
  inScene(withoutArp, async (scene) => {
    await becomes(scene.gwB, 'packet');
    await flows(scene);
    const { packet, raw } = await transmitted(scene.gwA);
    assert.equal(packet, 0);
    assert.ok(raw >= 100, `${raw} by the raw socket`);
  }),
);

/** The router and A know each other's MAC addresses by hand. */
async function withoutArp(): Promise<JoinedClusters> {
  const made = await twoClusters();
  const { router } = made;
  const { machine, address } = made.a.gateways[0]!;
  await router.ip(
    `neigh replace ${address} dev segment1 lladdr ${await macOf(machine, 'under0')} nud permanent`,
  );
  await machine.ip(
    'link set under0 arp off',
    `neigh replace ${ROUTER} dev under0 lladdr ${await macOf(router, 'segment1')} nud permanent`,
  );
  return joinClusters(made, PACKET.change);
}

async function macOf(machine: Machine, device: string): Promise<string> {
  const [row] = await machine.ipJson<{ address: string }>('link', 'show', device);
  return row!.address;
}
