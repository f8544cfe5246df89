import assert from 'node:assert/strict';
import type { PeerRow } from '../../src/admin/view.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { suiteInScene } from '../system/topology/scene.ts';
import { LACKS_UML } from './uml/guest.ts';
import {
  GATEWAY6_A,
  GATEWAY6_B,
  IP6TNL,
  type KernelPeer,
  kernelPeer,
  ROUTER_TO_A,
  ROUTER_TO_B,
} from './uml/kernel-peer.ts';

/** The kernel's ip6tnl as peer on an IPv6 underlay; pods have an IPv6 address beside that of IPv4. */
const SOON_MS = 10_000;
const [POD_A, POD_B] = ['fd00:1:0:1::2', 'fd00:2:0:1::2'];

const CHANGE = {
  cluster: { name: 'east', cidrs: ['10.1.0.0/16', 'fd00:1::/48'] },
  underlay: { family: 'ipv6' },
  clusters: [{ name: 'west', cidrs: ['10.2.0.0/16', 'fd00:2::/48'], gateways: [{ address: GATEWAY6_B }] }],
};

async function make(): Promise<KernelPeer> {
  const scene = await kernelPeer(IP6TNL, CHANGE, async ({ gateway, router }) => {
    for (const machine of [gateway, router]) await machine.sysctl({ 'net.ipv6.conf.all.forwarding': 1 });
    for (const device of [ROUTER_TO_A, ROUTER_TO_B])
      await router.sysctl({ [`net.ipv6.conf.${device}.disable_ipv6`]: 0 });
    await gateway.sysctl({ 'net.ipv6.conf.under0.disable_ipv6': 0, 'net.ipv6.conf.pod1.disable_ipv6': 0 });
    await router.ip(
      `addr add 2001:db8:0:1::1/64 dev ${ROUTER_TO_A} nodad`,
      `addr add 2001:db8:0:2::1/64 dev ${ROUTER_TO_B} nodad`,
    );
    await gateway.ip(
      `addr add ${GATEWAY6_A}/64 dev under0 nodad`,
      'route add default via 2001:db8:0:1::1',
      'addr add fd00:1:0:1::1/64 dev pod1 nodad',
    );
  });
  const [a, b] = [scene.podA.machine, scene.podB.machine];
  for (const pod of [a, b]) await pod.sysctl({ 'net.ipv6.conf.eth0.disable_ipv6': 0 });
  await a.ip(`addr add ${POD_A}/64 dev eth0 nodad`, 'route add default via fd00:1:0:1::1');
  await b.ip(`addr add ${POD_B}/64 dev eth0 nodad`, 'route add default via fd00:2:0:1::1');
  return scene;
}

/** How many of these pings are answered. */
async function pings(from: Machine, to: string, count: number, size: number): Promise<number> {
  const options = ['-c', `${count}`, '-i', '0.02', '-W', '2', '-M', 'do', '-s', `${size}`];
  const text = await from.exec('ping', ...options, to).catch((error: Error) => error.message);
  return Number(/(\d+) received/.exec(text)?.[1] ?? 0);
}

suiteInScene(
  "the kernel's ip6tnl as peer",
  { make, skip: LACKS_UML ?? lacking('iperf3', 'iperf3') },
  (check) => {
    check('carries pings of IPv4 and IPv6, of every size class, both ways', async ({ podA, podB }) => {
      for (const size of [8, 1000, 1452 - 28])
        for (const [from, to] of [
          [podA, podB],
          [podB, podA],
        ] as const)
          assert.equal(await pings(from.machine, to.address, 20, size), 20, `IPv4, ${size}`);
      for (const size of [8, 1000, 1452 - 48]) {
        assert.equal(await pings(podA.machine, POD_B, 20, size), 20, `IPv6, ${size}`);
        assert.equal(await pings(podB.machine, POD_A, 20, size), 20, `IPv6, ${size}`);
      }
    });

    check('carries TCP of both families, both ways', async ({ podA, podB }) => {
      for (const [client, server, to] of [
        [podA.machine, podB.machine, POD_B],
        [podB.machine, podA.machine, POD_A],
        [podA.machine, podB.machine, podB.address],
        [podB.machine, podA.machine, podA.address],
      ] as const) {
        const serving = server.exec('iperf3', '-s', '-1', '-p', '5201');
        const listens = async () => (await server.exec('ss', '-ltn')).includes(':5201');
        await poll('iperf3 listens', SOON_MS, listens, 20);
        const text = await client.exec('iperf3', '-c', to, '-p', '5201', '-t', '1', '-J');
        await serving;
        assert.ok(JSON.parse(text).end.sum_received.bytes > 500_000, text);
      }
    });

    check('is found alive by what it reflects', async ({ gwA }) => {
      const isAlive = async () =>
        ((await gwA.api('/api/v1/peers')) as PeerRow[])[0]?.health.state === 'alive';
      await poll('the peer is alive', SOON_MS, isAlive);
    });

    check('a path that narrows is learned, and pods hear of it', async ({ podA, router, gwA }) => {
      await router.ip(`link set ${ROUTER_TO_B} mtu 1400`);
      await poll('the path of 1400', SOON_MS, async () => {
        await pings(podA.machine, POD_B, 1, 1400);
        const [row] = (await gwA.api('/api/v1/peers')) as PeerRow[];
        return row?.pathMtuBytes === 1400;
      });
      const known = async () => {
        await pings(podA.machine, POD_B, 1, 1400);
        return (await podA.machine.exec('ip', '-6', 'route', 'get', POD_B)).includes('mtu 1360 ');
      };
      await poll('the pod knows the MTU', SOON_MS, known);
      // Of an answer the kernel's option takes eight bytes more.
      assert.equal(await pings(podA.machine, POD_B, 5, 1352 - 48), 5);
      await router.ip(`link set ${ROUTER_TO_B} mtu 1500`);
    });

    check('nothing was dropped that should not be', async ({ gwA }) => {
      assert.deepEqual((await gwA.status()).traffic.inbound.drops, {});
    });
  },
);
