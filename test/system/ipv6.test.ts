import assert from 'node:assert/strict';
import type { Status } from '../../src/admin/view.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { entryOf } from '../../src/measure/shipped-gateway.ts';
import { poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { addIpv6, POD6, PREFIX6, pings6, transfer6 } from './topology/dual-stack.ts';
import { type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { flows } from './topology/ping-series.ts';
import { suiteInScene } from './topology/scene.ts';
import { RAW_SOCKET, TWO_WORKERS } from './topology/variants.ts';

const SOON_MS = 10_000;

async function make(tunnel: object): Promise<JoinedClusters> {
  const scene = await twoClusters();
  await addIpv6(scene);
  return joinClusters(scene, {}, (gateway, local, remote) => {
    const [ours, theirs] = local.name === 'east' ? [PREFIX6.a, PREFIX6.b] : [PREFIX6.b, PREFIX6.a];
    gateway.configure(local, remote, {
      cluster: { name: local.name, cidrs: [local.cidr, ours] },
      clusters: [{ ...entryOf(remote), cidrs: [remote.cidr, theirs] }],
      tunnel,
    });
  });
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
          assert.equal(await pings6(a, POD6.b, 20, '-M', 'do', '-s', `${size}`), 20);
          assert.equal(await pings6(b, POD6.a, 20, '-M', 'do', '-s', `${size}`), 20);
        }
        await flows(scene, undefined, 100);
        assert.deepEqual(await dropsOf(scene), [
          [{}, {}],
          [{}, {}],
        ]);
      });

      check('carries TCP and UDP both ways', async (scene) => {
        for (const from of ['a', 'b'] as const) {
          assert.ok((await transfer6(scene, from, '-P', '4')) > 1_000_000);
          assert.ok((await transfer6(scene, from, '-u', '-b', '20M', '-l', '1200')) > 1_000_000);
        }
      });

      check(
        'the sender of what does not fit is told by how much, and fragments from then on',
        async (scene) => {
          const { machine } = scene.a.pods[0]!;
          // The first ones are lost until the error is there.
          await poll('the pod knows the MTU', SOON_MS, async () => {
            await pings6(machine, POD6.b, 1, '-s', '3000').catch(() => {});
            return (await machine.exec('ip', '-6', 'route', 'get', POD6.b)).includes(`mtu ${innerMtu} `);
          });
          // And so is what the other pod answers.
          const answered = async () => (await pings6(machine, POD6.b, 1, '-s', '3000').catch(() => 0)) === 1;
          await poll('the other pod knows it too', SOON_MS, answered);
          assert.equal(await pings6(machine, POD6.b, 20, '-s', '3000'), 20);
        },
      );
    },
  );
}
