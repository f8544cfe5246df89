import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Daemon } from '../../src/measure/daemon.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { type TwoClusters, type TwoClustersOptions, twoClusters } from '../../src/measure/two-clusters.ts';
import { EtcdServer, lacksEtcd } from '../fixtures/etcd-server.ts';
import { TRAFFIC_AGENT } from '../system/topology/agent-commands.ts';
import { GatewayProcess } from '../system/topology/gateway-process.ts';
import { inScene, systemTest } from '../system/topology/scene.ts';

/**
 * The half of the mesh that speaks BGP, and the half that does not:
 *
 *   server ── tor ══BGP══ gwA ──── router ──── gwB ── podB1
 *   10.1.50.2   192.0.2.1  192.0.2.2
 *
 * The top-of-rack router announces 10.1.50.0/24 to BIRD on gwA, and learns from it the way to cluster B.
 */
const SETTLED_MS = 20_000;
const BEHIND_TOR = '10.1.50.0/24';
const SERVER = '10.1.50.2';
const LACKS = lacking('bird', 'bird2') ?? lacksEtcd();
/** Protocol number of the routes that a gateway installs (routes.protocol). */
const OURS = 73;

interface BirdPeer {
  readonly machine: Machine;
  readonly address: string;
  readonly as: number;
}

/** BIRD without daemonizing, with all its files in the scene's folder. */
function startBird(scene: TwoClusters, machine: Machine, configuration: string): Daemon {
  const file = (suffix: string): string => join(scene.topology.folder, `${machine.name}.${suffix}`);
  writeFileSync(file('conf'), configuration);
  return machine.start('bird', ['bird', '-f', '-c', file('conf'), '-s', file('ctl'), '-P', file('pid')]);
}

function bgp(own: BirdPeer, peer: BirdPeer, channel: string): string {
  return `protocol bgp { local ${own.address} as ${own.as}; neighbor ${peer.address} as ${peer.as};
  hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 2; ipv4 { ${channel} }; }`;
}

function preamble({ address }: BirdPeer): string {
  return `log stderr all;\nrouter id ${address};\nprotocol device { scan time 1; }\n`;
}

/** What docs/bgp.md tells to write on a gateway: learn what the gateway installed, never take back what is behind the tunnel. */
function gatewayBird(own: BirdPeer, tor: BirdPeer): string {
  return `${preamble(own)}protocol kernel { learn; scan time 1; ipv4 {
  import where krt_source = ${OURS};
  export where source = RTS_BGP; }; }
${bgp(own, tor, 'import where net ~ [ 10.1.0.0/16+ ]; export where source = RTS_INHERIT; next hop self;')}`;
}

function torBird(own: BirdPeer, gateway: BirdPeer): string {
  return `${preamble(own)}protocol direct { ipv4; interface "server"; }
protocol kernel { scan time 1; ipv4 { import none; export where source = RTS_BGP; }; }
${bgp(own, gateway, 'import all; export where source = RTS_DEVICE; next hop self;')}`;
}

interface Rack {
  readonly tor: BirdPeer;
  readonly gateway: BirdPeer;
  readonly server: Machine;
}

async function makeRack({ topology, a }: TwoClusters): Promise<Rack> {
  const [tor, server] = [await topology.machine('tor'), await topology.machine('server')];
  const gateway = a.gateways[0]!.machine;
  await topology.cable(
    { machine: tor, device: 'gateway', addresses: ['192.0.2.1/30'] },
    { machine: gateway, device: 'tor', addresses: ['192.0.2.2/30'] },
  );
  await topology.cable(
    { machine: tor, device: 'server', addresses: ['10.1.50.1/24'] },
    { machine: server, device: 'eth0', addresses: [`${SERVER}/24`] },
  );
  await server.ip('route add default via 10.1.50.1');
  await tor.sysctl({ 'net.ipv4.ip_forward': 1 });
  return {
    tor: { machine: tor, address: '192.0.2.1', as: 65_001 },
    gateway: { machine: gateway, address: '192.0.2.2', as: 65_002 },
    server,
  };
}

/** A gateway that knows of the other only what etcd tells. */
function startGateway(scene: TwoClusters, side: 'a' | 'b', watch: readonly object[]): GatewayProcess {
  const local = scene[side];
  const gateway = new GatewayProcess(scene.topology, local.gateways[0]!);
  const cidr = local.pods[0]!.address.replace(/\.\d+$/, '.0/24');
  gateway.configure(local, local, {
    cluster: { name: local.name, cidrs: [cidr] },
    underlay: { address: local.gateways[0]!.address },
    clusters: [],
    watch,
  });
  gateway.start();
  return gateway;
}

async function answers(from: Machine, destination: string): Promise<boolean> {
  const agent = await from.agent(TRAFFIC_AGENT);
  try {
    const { lost } = await agent.call('ping', {
      ...{ destination, count: 5, intervalMs: 5, sizeBytes: 84, seed: 1, timeoutMs: 500 },
    });
    return lost.length === 0;
  } finally {
    await agent.close();
  }
}

async function makeScene(options?: TwoClustersOptions): Promise<TwoClusters> {
  return twoClusters(options);
}

systemTest(
  'what a gateway learns by BGP is reached from a cluster without BGP, and the other way round',
  () =>
    inScene(makeScene, async (scene) => {
      const rack = await makeRack(scene);
      // The router carries etcd because both sides reach it; it forwards nothing for them by it.
      const etcd = await EtcdServer.start({ namespace: scene.router.namespace, address: '172.31.1.1' });
      try {
        const inEtcd = { kind: 'etcd', endpoints: [etcd.endpoint] };
        startBird(scene, rack.tor.machine, torBird(rack.tor, rack.gateway));
        const bird = startBird(scene, rack.gateway.machine, gatewayBird(rack.gateway, rack.tor));
        const gwA = startGateway(scene, 'a', [inEtcd, { kind: 'kernel-routes', massWithdrawalHold: '0s' }]);
        const gwB = startGateway(scene, 'b', [inEtcd]);
        await Promise.all([gwA.ready(), gwB.ready()]);

        await poll('the BGP route known to B', SETTLED_MS, async () =>
          (await gwB.routes()).includes(BEHIND_TOR),
        );
        await poll('B known to the top of rack', SETTLED_MS, async () =>
          (await rack.tor.machine.exec('ip', 'route', 'show', 'proto', 'bird')).includes('10.2.1.0/24'),
        );
        assert.ok(await answers(scene.b.pods[0]!.machine, SERVER), 'from B to what BGP announced');
        assert.ok(await answers(rack.server, scene.b.pods[0]!.address), 'from there to B');

        // The gateway's routing daemon ends: its routes leave the kernel, ours stay.
        await bird.kill('SIGTERM');
        await poll(
          'the BGP route gone from B',
          SETTLED_MS,
          async () => !(await gwB.routes()).includes(BEHIND_TOR),
        );
        assert.ok(
          await answers(scene.a.pods[0]!.machine, scene.b.pods[0]!.address),
          'what was configured stays',
        );
      } finally {
        await etcd.close();
      }
    }),
  LACKS,
);

/** Both gateways speak BGP to each other on one segment; what they learn stands in a table that no packet is looked up in. */
function meshBird(own: BirdPeer, peer: BirdPeer, pods: string): string {
  return `${preamble(own)}protocol direct { ipv4; interface "pod1"; }
protocol kernel { kernel table 100; scan time 1; ipv4 { import none; export where source = RTS_BGP; }; }
${bgp(own, peer, `import all; export where net = ${pods}; next hop self;`)}`;
}

systemTest(
  'BGP between the gateways themselves tells each the CIDRs of the other, with the next hop as the gateway',
  () =>
    inScene(
      () => makeScene({ flat: true }),
      async (scene) => {
        const peerOf = (side: 'a' | 'b', as: number): BirdPeer => {
          const { machine, address } = scene[side].gateways[0]!;
          return { machine, address, as };
        };
        const [a, b] = [peerOf('a', 65_001), peerOf('b', 65_002)];
        startBird(scene, a.machine, meshBird(a, b, '10.1.1.0/24'));
        const birdB = startBird(scene, b.machine, meshBird(b, a, '10.2.1.0/24'));
        const reading = (cluster: string): object[] => [
          { kind: 'kernel-routes', table: 100, protocols: ['bird'], cluster, massWithdrawalHold: '0s' },
        ];
        const [gwA, gwB] = [
          startGateway(scene, 'a', reading('west')),
          startGateway(scene, 'b', reading('east')),
        ];
        await Promise.all([gwA.ready(), gwB.ready()]);
        for (const [gateway, cidr] of [
          [gwA, '10.2.1.0/24'],
          [gwB, '10.1.1.0/24'],
        ] as const)
          await poll(`${cidr} known`, SETTLED_MS, async () => (await gateway.routes()).includes(cidr));
        assert.ok(await answers(scene.a.pods[0]!.machine, scene.b.pods[0]!.address));
        const peers = (await gwA.api('/api/v1/peers')) as {
          address: string;
          outbound: { packets: number };
        }[];
        assert.deepEqual(
          peers.map(({ address, outbound }) => [address, outbound.packets > 0]),
          [[b.address, true]],
        );
        await birdB.kill('SIGTERM');
        await poll('the route gone', SETTLED_MS, async () => (await gwA.routes()).length === 0);
      },
    ),
  LACKS,
);
