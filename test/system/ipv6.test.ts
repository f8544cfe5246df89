import assert from 'node:assert/strict';
import type { Status } from '../../src/admin/view.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { entryOf } from '../../src/measure/shipped-gateway.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { type TwoClusters, twoClusters } from '../../src/measure/two-clusters.ts';
import { type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { flows } from './topology/ping-series.ts';
import { suiteInScene } from './topology/scene.ts';
import { RAW_SOCKET, TWO_WORKERS } from './topology/variants.ts';

/**
 * Two dual-stack clusters over an underlay of IPv4:
 *
 *   podA ───────── gwA ──── router ──── gwB ───────── podB
 *   fd00:1:0:1::2  ::1                  ::1  fd00:2:0:1::2
 */
const SOON_MS = 10_000;
const [PREFIX, POD] = [
  { a: 'fd00:1::/48', b: 'fd00:2::/48' },
  { a: 'fd00:1:0:1::2', b: 'fd00:2:0:1::2' },
];
const GATEWAY_OF_POD = { a: 'fd00:1:0:1::1', b: 'fd00:2:0:1::1' };

async function addIpv6(scene: TwoClusters): Promise<void> {
  for (const side of ['a', 'b'] as const) {
    const [pod, gateway] = [scene[side].pods[0]!.machine, scene[side].gateways[0]!.machine];
    await gateway.sysctl({ 'net.ipv6.conf.all.forwarding': 1, 'net.ipv6.conf.pod1.disable_ipv6': 0 });
    await pod.sysctl({ 'net.ipv6.conf.eth0.disable_ipv6': 0 });
    // Without duplicate address detection, which would take a second.
    await pod.ip(`addr add ${POD[side]}/64 dev eth0 nodad`);
    await gateway.ip(`addr add ${GATEWAY_OF_POD[side]}/64 dev pod1 nodad`);
    await pod.ip(`route add default via ${GATEWAY_OF_POD[side]}`);
  }
}

async function make(tunnel: object): Promise<JoinedClusters> {
  const scene = await twoClusters();
  await addIpv6(scene);
  return joinClusters(scene, {}, (gateway, local, remote) => {
    const [ours, theirs] = local.name === 'east' ? [PREFIX.a, PREFIX.b] : [PREFIX.b, PREFIX.a];
    gateway.configure(local, remote, {
      cluster: { name: local.name, cidrs: [local.cidr, ours] },
      clusters: [{ ...entryOf(remote), cidrs: [remote.cidr, theirs] }],
      tunnel,
    });
  });
}

/** Pings one after the other, and returns how many were answered. */
async function pings(from: Machine, to: string, count: number, ...options: string[]): Promise<number> {
  const text = await from.exec('ping', '-6', '-c', `${count}`, '-i', '0.01', '-W', '2', ...options, to);
  return Number(/(\d+) received/.exec(text)?.[1]);
}

/** TCP for a second, and bytes that arrived. */
async function transfer(scene: JoinedClusters, from: 'a' | 'b', ...options: string[]): Promise<number> {
  const to = from === 'a' ? 'b' : 'a';
  const [client, server] = [scene[from].pods[0]!.machine, scene[to].pods[0]!.machine];
  const serving = server.exec('iperf3', '-6', '-s', '-1', '-p', '5201');
  await poll('iperf3 listens', SOON_MS, async () => (await server.exec('ss', '-6ltn')).includes(':5201'), 20);
  const text = await client.exec('iperf3', '-6', '-c', POD[to], '-p', '5201', '-t', '1', '-J', ...options);
  await serving;
  return JSON.parse(text).end.sum_received?.bytes ?? JSON.parse(text).end.sum.bytes;
}

async function dropsOf(scene: JoinedClusters): Promise<unknown[]> {
  const of = async (gateway: JoinedClusters['gwA']): Promise<unknown> => {
    const { inbound, outbound } = ((await gateway.status()) as Status).traffic;
    // What the kernel tells multicast groups on the device when it begins (MLD, RFC 3810) has no route anywhere.
    const { 'no-route': reports = 0, ...drops } = outbound.drops as Record<string, number>;
    assert.ok(reports < 10, `${reports} without a route`);
    return [inbound.drops, drops];
  };
  return [await of(scene.gwA), await of(scene.gwB)];
}

const FOU = { encapsulation: 'fou', workers: 2 };
const TUNNELS = [
  { name: TWO_WORKERS.name, tunnel: TWO_WORKERS.change.tunnel!, skip: undefined, innerMtu: 1480 },
  { name: RAW_SOCKET.name, tunnel: RAW_SOCKET.change.tunnel!, skip: RAW_SOCKET.skip, innerMtu: 1480 },
  { name: 'fou', tunnel: FOU, skip: undefined, innerMtu: 1472 },
];

for (const { name, tunnel, skip, innerMtu } of TUNNELS) {
  suiteInScene(
    `IPv6 of two clusters through the tunnel (${name})`,
    { make: () => make(tunnel), skip: skip ?? lacking('iperf3', 'iperf3') },
    (check) => {
      check('carries pings of every size class, both ways, beside IPv4', async (scene) => {
        const [a, b] = [scene.a.pods[0]!.machine, scene.b.pods[0]!.machine];
        for (const size of [8, 1000, innerMtu - 48]) {
          assert.equal(await pings(a, POD.b, 20, '-M', 'do', '-s', `${size}`), 20);
          assert.equal(await pings(b, POD.a, 20, '-M', 'do', '-s', `${size}`), 20);
        }
        await flows(scene, undefined, 100);
        assert.deepEqual(await dropsOf(scene), [
          [{}, {}],
          [{}, {}],
        ]);
      });

      check('carries TCP and UDP both ways', async (scene) => {
        for (const from of ['a', 'b'] as const) {
          assert.ok((await transfer(scene, from, '-P', '4')) > 1_000_000);
          assert.ok((await transfer(scene, from, '-u', '-b', '20M', '-l', '1200')) > 1_000_000);
        }
      });

      check(
        'the sender of what does not fit is told by how much, and fragments from then on',
        async (scene) => {
          const { machine } = scene.a.pods[0]!;
          // The first ones are lost until the error is there.
          await poll('the pod knows the MTU', SOON_MS, async () => {
            await pings(machine, POD.b, 1, '-s', '3000').catch(() => {});
            return (await machine.exec('ip', '-6', 'route', 'get', POD.b)).includes(`mtu ${innerMtu} `);
          });
          // And so is what the other pod answers.
          const answered = async () => (await pings(machine, POD.b, 1, '-s', '3000').catch(() => 0)) === 1;
          await poll('the other pod knows it too', SOON_MS, answered);
          assert.equal(await pings(machine, POD.b, 20, '-s', '3000'), 20);
        },
      );
    },
  );
}
