import assert from 'node:assert/strict';
import type { PeerRow } from '../../src/admin/view.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { suiteInScene } from '../system/topology/scene.ts';
import { LACKS_UML } from './uml/guest.ts';
import { GATEWAY_B, type KernelPeer, kernelPeer, ROUTER_TO_B, SIT } from './uml/kernel-peer.ts';

/** The kernel's IPv6-in-IPv4 device (sit) as peer: a pod of each side has an IPv6 address beside that of IPv4. */
const SOON_MS = 10_000;
const [POD_A, POD_B] = ['fd00:1:0:1::2', 'fd00:2:0:1::2'];

const CHANGE = {
  cluster: { name: 'east', cidrs: ['10.1.0.0/16', 'fd00:1::/48'] },
  clusters: [{ name: 'west', cidrs: ['10.2.0.0/16', 'fd00:2::/48'], gateways: [{ address: GATEWAY_B }] }],
};

async function make(): Promise<KernelPeer> {
  const scene = await kernelPeer(SIT, CHANGE);
  const [a, b, gateway] = [scene.podA.machine, scene.podB.machine, scene.gwA.machine];
  for (const pod of [a, b]) await pod.sysctl({ 'net.ipv6.conf.eth0.disable_ipv6': 0 });
  await gateway.sysctl({ 'net.ipv6.conf.pod1.disable_ipv6': 0, 'net.ipv6.conf.all.forwarding': 1 });
  await gateway.ip('addr add fd00:1:0:1::1/64 dev pod1 nodad');
  await a.ip(`addr add ${POD_A}/64 dev eth0 nodad`, 'route add default via fd00:1:0:1::1');
  await b.ip(`addr add ${POD_B}/64 dev eth0 nodad`, 'route add default via fd00:2:0:1::1');
  return scene;
}

/** How many of these pings are answered. */
async function pings(from: Machine, to: string, count: number, size: number): Promise<number> {
  const options = ['-6', '-c', `${count}`, '-i', '0.02', '-W', '2', '-M', 'do', '-s', `${size}`];
  const text = await from.exec('ping', ...options, to).catch((error: Error) => error.message);
  return Number(/(\d+) received/.exec(text)?.[1] ?? 0);
}

suiteInScene(
  "the kernel's sit as peer",
  { make, skip: LACKS_UML ?? lacking('iperf3', 'iperf3') },
  (check) => {
    check('carries pings of every size class, both ways', async ({ podA, podB }) => {
      for (const size of [8, 1000, 1432]) {
        assert.equal(await pings(podA.machine, POD_B, 20, size), 20);
        assert.equal(await pings(podB.machine, POD_A, 20, size), 20);
      }
    });

    check('carries TCP both ways', async ({ podA, podB }) => {
      for (const [client, server, to] of [
        [podA.machine, podB.machine, POD_B],
        [podB.machine, podA.machine, POD_A],
      ] as const) {
        const serving = server.exec('iperf3', '-6', '-s', '-1', '-p', '5201');
        const listens = async () => (await server.exec('ss', '-6ltn')).includes(':5201');
        await poll('iperf3 listens', SOON_MS, listens, 20);
        const text = await client.exec('iperf3', '-6', '-c', to, '-p', '5201', '-t', '1', '-J');
        await serving;
        assert.ok(JSON.parse(text).end.sum_received.bytes > 1_000_000);
      }
    });

    check('a path that narrows is learned, and pods hear of it', async ({ podA, router, gwA }) => {
      await router.ip(`link set ${ROUTER_TO_B} mtu 1400`);
      await poll('the path of 1400', SOON_MS, async () => {
        await pings(podA.machine, POD_B, 1, 1432);
        const [row] = (await gwA.api('/api/v1/peers')) as PeerRow[];
        return row?.pathMtuBytes === 1400;
      });
      assert.equal(await pings(podA.machine, POD_B, 5, 1432), 0);
      const known = async () =>
        (await podA.machine.exec('ip', '-6', 'route', 'get', POD_B)).includes('mtu 1380 ');
      await poll('the pod knows the MTU', SOON_MS, known);
      assert.equal(await pings(podA.machine, POD_B, 5, 1380 - 48), 5);
      await router.ip(`link set ${ROUTER_TO_B} mtu 1500`);
    });

    check('nothing was dropped that should not be', async ({ gwA }) => {
      assert.deepEqual((await gwA.status()).traffic.inbound.drops, {});
    });
  },
);
