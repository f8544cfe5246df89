import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { type ClusterEntry, entryOf } from '../../src/measure/shipped-gateway.ts';
import { poll } from '../../src/measure/topology.ts';
import type { PingAnswer } from './topology/agent-commands.ts';
import type { GatewayProcess } from './topology/gateway-process.ts';
import { flows, whilePinging } from './topology/ping-series.ts';
import { inScene, systemTest } from './topology/scene.ts';
import {
  B_AWAY,
  C,
  entryOfC,
  type ThreeClusters,
  threeClusters,
  WATCHING,
} from './topology/three-clusters.ts';

/** tunnel.mode cross-subnet: gateways on one segment send to each other without encapsulation. */
const SOON_MS = 10_000;

interface KernelRoute {
  readonly gateway?: string;
  readonly dev?: string;
  readonly metric: number;
  readonly nexthops?: readonly { readonly gateway: string; readonly weight: number }[];
}

/** `dev METRIC` into the tunnel, `GATEWAY METRIC` past it, of the routes to `cidr`. */
async function ways(gateway: GatewayProcess, cidr: string): Promise<string[]> {
  const routes = await gateway.machine.ipJson<KernelRoute>('route', 'show', cidr, 'proto', '73');
  return routes.map((route) => {
    const hops = route.nexthops?.map((hop) => `${hop.gateway}*${hop.weight}`).join(' ');
    return `${hops ?? route.gateway ?? route.dev} ${route.metric}`;
  });
}

const TUNNEL = 'isthmus0 100';

async function becomes(gateway: GatewayProcess, cidr: string, wanted: readonly string[]): Promise<void> {
  let seen: string[] = [];
  await poll(`${cidr} by ${wanted.join(', ')}`, SOON_MS, async () => {
    seen = await ways(gateway, cidr);
    return seen.toSorted().join() === wanted.toSorted().join();
  }).catch((error: Error) => assert.fail(`${error.message}; seen ${seen.join(', ')}`));
}

/** Packets that our own kernel handed to the TUN device, and those that came out of it. */
async function throughTunnel(gateway: GatewayProcess): Promise<number> {
  const folder = '/sys/class/net/isthmus0/statistics';
  const text = await gateway.machine.exec('cat', `${folder}/tx_packets`, `${folder}/rx_packets`);
  return text
    .trim()
    .split('\n')
    .reduce((sum, count) => sum + Number(count), 0);
}

function nothingLost(t: TestContext, what: string, { sent, lost, duplicated, corrupted }: PingAnswer): void {
  t.diagnostic(`${what}: ${sent} pings, ${lost.length} lost`);
  assert.deepEqual([lost, duplicated, corrupted], [[], 0, 0]);
}

const direct = (scene: ThreeClusters): string => `${scene.b.gateways[0]!.address} 99`;

systemTest(
  'gateways on one segment send past the tunnel, also where reverse paths are checked strictly; one behind a router is tunnelled to',
  () =>
    inScene(
      () => threeClusters({ reversePathFilter: 1 }),
      async (scene) => {
        const { gwA, gwB, gwC, a, b } = scene;
        await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
        await becomes(gwB, a.cidr, [TUNNEL, `${a.gateways[0]!.address} 99`]);
        assert.deepEqual(await ways(gwA, C.cidr), [TUNNEL]);
        assert.deepEqual(await ways(gwC, a.cidr), [TUNNEL]);
        const before = [await throughTunnel(gwA), await throughTunnel(gwB)];
        await flows(scene);
        assert.deepEqual([await throughTunnel(gwA), await throughTunnel(gwB)], before);
        const { packets } = (await gwA.status()).traffic.outbound;
        assert.equal(packets, 0);
        await flows(scene, C.pod);
        assert.equal(await throughTunnel(gwA), before[0]! + 200);
        for (const gateway of [gwA, gwB, gwC]) assert.deepEqual((await gateway.status()).problems, []);
      },
    ),
);

systemTest('in mode always the same gateways use the tunnel', () =>
  inScene(
    () => threeClusters({ mode: 'always' }),
    async (scene) => {
      assert.deepEqual(await ways(scene.gwA, scene.b.cidr), [TUNNEL]);
      const before = await throughTunnel(scene.gwA);
      await flows(scene);
      assert.equal(await throughTunnel(scene.gwA), before + 200);
    },
  ),
);

systemTest('the way to a gateway goes over a router and back again ten times, and no packet is lost', (t) =>
  inScene(threeClusters, async (scene) => {
    const { gwA, a, b } = scene;
    const gateway = b.gateways[0]!.address;
    const answer = await whilePinging(a.pods[0]!.machine, b.pods[0]!.address, 1, async (series) => {
      for (let turn = 0; turn < 10; turn++) {
        await gwA.machine.ip(`route add ${gateway}/32 via 172.31.0.1`);
        await becomes(gwA, b.cidr, [TUNNEL]);
        await series.replies(20);
        await gwA.machine.ip(`route del ${gateway}/32 via 172.31.0.1`);
        await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
        await series.replies(20);
      }
    });
    nothingLost(t, 'twenty switches', answer);
  }),
);

systemTest('a gateway that moves behind a router, and comes back, loses no packet', (t) =>
  inScene(
    () => threeClusters(),
    async (scene) => {
      const { gwA, gwB, a, b } = scene;
      const [home, peer] = [b.gateways[0]!.address, a.gateways[0]!.address];
      const told = (...gateways: ClusterEntry['gateways']): void =>
        gwA.writeWatched([{ ...entryOf(b), gateways }, entryOfC()]);
      // As a registration does it: A accepts from the address that is to come, and sends to the one that is.
      told({ address: home }, { address: B_AWAY, weight: 0 });
      await poll('the peer of weight 0', SOON_MS, async () =>
        JSON.stringify(await gwA.api('/api/v1/routes')).includes(B_AWAY),
      );
      const answer = await whilePinging(a.pods[0]!.machine, b.pods[0]!.address, 1, async (series) => {
        await gwB.machine.ip(`route add ${peer}/32 via 172.31.8.1 dev under1 src ${B_AWAY}`);
        await becomes(gwB, a.cidr, [TUNNEL]);
        await poll(
          'the underlay of B away',
          SOON_MS,
          async () => (await gwB.status()).underlay.address === B_AWAY,
        );
        await series.replies(20);
        told({ address: B_AWAY }, { address: home, weight: 0 });
        await becomes(gwA, b.cidr, [TUNNEL]);
        await series.replies(100);
        await gwB.machine.ip(`route del ${peer}/32 via 172.31.8.1`);
        await becomes(gwB, a.cidr, [TUNNEL, `${peer} 99`]);
        await series.replies(20);
        told({ address: home }, { address: B_AWAY, weight: 0 });
        await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
        await series.replies(100);
      });
      nothingLost(t, 'away and back', answer);
    },
  ),
);

systemTest(
  'several gateways on the segment share by weight; one of them elsewhere, and all take the tunnel',
  (t) =>
    inScene(
      () => threeClusters({ secondGateway: ['b'] }),
      async (scene) => {
        const { gwA, a, b } = scene;
        const [one, two] = b.gateways.map((gateway) => gateway.address) as [string, string];
        const told = (...gateways: ClusterEntry['gateways']): void =>
          gwA.writeWatched([{ ...entryOf(b), gateways }, entryOfC()]);
        const answer = await whilePinging(a.pods[0]!.machine, b.pods[0]!.address, 1, async (series) => {
          await becomes(gwA, b.cidr, [TUNNEL, `${one}*1 ${two}*1 99`]);
          told({ address: one, weight: 3 }, { address: two });
          await becomes(gwA, b.cidr, [TUNNEL, `${one}*3 ${two}*1 99`]);
          await series.replies(20);
          told({ address: one, weight: 0 }, { address: two });
          await becomes(gwA, b.cidr, [TUNNEL, `${two} 99`]);
          await series.replies(20);
          told({ address: two }, { address: '172.31.77.2', weight: 0 });
          await becomes(gwA, b.cidr, [TUNNEL, `${two} 99`]);
        });
        nothingLost(t, 'other shares', answer);
        told({ address: two }, { address: '172.31.77.2' });
        await becomes(gwA, b.cidr, [TUNNEL]);
        // The one that is near may answer past the tunnel, and a strict filter would drop that.
        await gwA.machine.sysctl({ 'net.ipv4.conf.all.rp_filter': 1 });
        const problems = await poll('the problem', 3 * SOON_MS, async () => {
          const status = await gwA.status();
          return status.problems.length > 0 && status.problems;
        });
        assert.match(problems.join('\n'), /sysctl -w net\.ipv4\.conf\.under0\.rp_filter=2/);
      },
    ),
);

systemTest(
  'the device of the underlay goes down: packets fall into the tunnel at once, and go past it when it is back',
  () =>
    inScene(threeClusters, async (scene) => {
      const { gwA, b } = scene;
      await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
      // Stopped, so that what follows is the kernel's doing and not ours.
      gwA.daemon.child.kill('SIGSTOP');
      await gwA.machine.ip('link set under0 down');
      const [way] = await gwA.machine.ipJson<{ dev: string }>('route', 'get', b.pods[0]!.address);
      assert.equal(way?.dev, 'isthmus0');
      gwA.daemon.child.kill('SIGCONT');
      await gwA.machine.ip('link set under0 up', 'route add default via 172.31.0.1');
      await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
      await flows(scene);
    }),
);

systemTest('a route past the tunnel that somebody removes is put back', () =>
  inScene(threeClusters, async (scene) => {
    const { gwA, b } = scene;
    await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
    await gwA.machine.ip(`route del ${b.cidr} metric 99`);
    await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
    await flows(scene);
  }),
);

systemTest(
  'after kill -9 packets go on past the tunnel; the next gateway adopts the route, another mode removes it',
  (t) =>
    inScene(threeClusters, async (scene) => {
      const { gwA, a, b } = scene;
      await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
      const restart = async (): Promise<void> => {
        gwA.start();
        await gwA.ready();
      };
      const answer = await whilePinging(a.pods[0]!.machine, b.pods[0]!.address, 1, async (series) => {
        await gwA.kill('SIGKILL');
        await series.replies(20);
        await restart();
        await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
        await series.replies(20);
      });
      nothingLost(t, 'kill -9 and a restart', answer);
      await gwA.kill('SIGKILL');
      gwA.configure(a, b, { routes: { metric: 50 }, tunnel: { mode: 'cross-subnet' } });
      await restart();
      await becomes(gwA, b.cidr, ['isthmus0 50', `${b.gateways[0]!.address} 49`]);
      await gwA.kill('SIGKILL');
      gwA.configure(a, b, { routes: { metric: 50 } });
      await restart();
      await becomes(gwA, b.cidr, ['isthmus0 50']);
      await flows(scene);
    }),
);

systemTest('the mode is changed by a reload, there and back, and no packet is lost', (t) =>
  inScene(
    () => threeClusters({ mode: 'always' }),
    async (scene) => {
      const { gwA, a, b } = scene;
      const reload = (mode: string): void => {
        gwA.configure(a, b, { ...WATCHING, clusters: [], tunnel: { mode } });
        gwA.daemon.child.kill('SIGHUP');
      };
      const answer = await whilePinging(a.pods[0]!.machine, b.pods[0]!.address, 1, async (series) => {
        reload('cross-subnet');
        await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
        await series.replies(50);
        reload('always');
        await becomes(gwA, b.cidr, [TUNNEL]);
        await series.replies(50);
      });
      nothingLost(t, 'another mode', answer);
      assert.deepEqual((await gwA.status()).problems, []);
    },
  ),
);

systemTest('a gateway that ends removes its routes past the tunnel', () =>
  inScene(threeClusters, async (scene) => {
    const { gwA, b } = scene;
    await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
    assert.equal(await gwA.kill('SIGTERM'), 0);
    assert.deepEqual(await ways(gwA, b.cidr), []);
  }),
);

systemTest('the device that is removed and made anew keeps the routes past it', (t) =>
  inScene(threeClusters, async (scene) => {
    const { gwA, a, b } = scene;
    await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
    const answer = await whilePinging(a.pods[0]!.machine, b.pods[0]!.address, 1, async (series) => {
      await gwA.machine.ip('link del isthmus0');
      await becomes(gwA, b.cidr, [TUNNEL, direct(scene)]);
      await series.replies(20);
    });
    nothingLost(t, 'the device made anew', answer);
    await flows(scene, C.pod);
  }),
);
