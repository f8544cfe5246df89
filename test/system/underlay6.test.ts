import assert from 'node:assert/strict';
import type { PeerRow, Status } from '../../src/admin/view.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { poll } from '../../src/measure/topology.ts';
import { POD6, pings6, transfer6 } from './topology/dual-stack.ts';
import type { JoinedClusters } from './topology/gateway-process.ts';
import { flows } from './topology/ping-series.ts';
import { suiteInScene } from './topology/scene.ts';
import { joinOverIpv6, UNDERLAY6 } from './topology/underlay6.ts';

const SOON_MS = 10_000;
const INNER_MTU = 1460;

async function peer(scene: JoinedClusters): Promise<PeerRow> {
  return ((await scene.gwA.api('/api/v1/peers')) as PeerRow[])[0]!;
}

suiteInScene(
  'gateways with nothing but IPv6 between them',
  { make: () => joinOverIpv6({ tunnel: { workers: 2 } }), skip: lacking('iperf3', 'iperf3') },
  (check) => {
    check('find their address by the route to the other, and each other by probes', async (scene) => {
      const { underlay, tunnel } = (await scene.gwA.status()) as Status;
      assert.equal(underlay.address, UNDERLAY6.a);
      assert.equal(tunnel.mtuBytes, INNER_MTU);
      await poll('the peer answers', SOON_MS, async () => (await peer(scene)).health.state === 'alive', 50);
      const { address, pathMtuBytes } = await peer(scene);
      assert.deepEqual([address, pathMtuBytes], [UNDERLAY6.b, 1500]);
    });

    check('carry IPv4 and IPv6, both ways', async (scene) => {
      const [a, b] = [scene.a.pods[0]!.machine, scene.b.pods[0]!.machine];
      await flows(scene, undefined, 200);
      for (const size of [8, 1000, INNER_MTU - 48]) {
        assert.equal(await pings6(a, POD6.b, 20, '-M', 'do', '-s', `${size}`), 20);
        assert.equal(await pings6(b, POD6.a, 20, '-M', 'do', '-s', `${size}`), 20);
      }
    });

    check('carry TCP and UDP both ways', async (scene) => {
      for (const from of ['a', 'b'] as const) {
        assert.ok((await transfer6(scene, from, '-P', '4')) > 1_000_000);
        assert.ok((await transfer6(scene, from, '-u', '-b', '20M', '-l', '1200')) > 1_000_000);
      }
    });

    check('learn that the path became narrower, and tell the pods', async (scene) => {
      const { machine } = scene.a.pods[0]!;
      await scene.router.ip('link set segment2 mtu 1400');
      await poll('the path of 1400', SOON_MS, async () => (await peer(scene)).pathMtuBytes === 1400, 50);
      const known = async (): Promise<boolean> => {
        await pings6(machine, POD6.b, 1, '-M', 'do', '-s', '1412').catch(() => {});
        return (await machine.exec('ip', '-6', 'route', 'get', POD6.b)).includes('mtu 1360 ');
      };
      await poll('the pod knows the MTU', SOON_MS, known, 50);
      assert.equal(await pings6(machine, POD6.b, 5, '-M', 'do', '-s', `${1360 - 48}`), 5);
    });

    check('fragment what IPv6 cannot make smaller, over a path of 1280 bytes', async (scene) => {
      const [a, b] = [scene.a.pods[0]!.machine, scene.b.pods[0]!.machine];
      await scene.router.ip('link set segment2 mtu 1280');
      await poll('the path of 1280', SOON_MS, async () => (await peer(scene)).pathMtuBytes === 1280, 50);
      for (const [from, to] of [
        [a, POD6.b],
        [b, POD6.a],
      ] as const)
        await poll(
          'pings of 1280 bytes pass',
          SOON_MS,
          async () => (await pings6(from, to, 5, '-s', '1232').catch(() => 0)) === 5,
          50,
        );
      assert.ok(((await scene.gwA.status()) as Status).traffic.fragmented > 0);
      await flows(scene, undefined, 50);
    });

    check('drop nothing but what came too large', async (scene) => {
      for (const gateway of [scene.gwA, scene.gwB]) {
        const { inbound, outbound } = ((await gateway.status()) as Status).traffic;
        const {
          'no-route': reports = 0,
          'too-big': large = 0,
          ...drops
        } = outbound.drops as Record<string, number>;
        assert.ok(reports < 10 && large < 100, JSON.stringify(outbound.drops));
        assert.deepEqual([inbound.drops, drops], [{}, {}]);
      }
    });
  },
);
