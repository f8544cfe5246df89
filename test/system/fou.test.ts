import assert from 'node:assert/strict';
import type { PeerRow } from '../../src/admin/view.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { type GatewayProcess, type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { IP_HEADER_BYTES, PROTOCOL } from './topology/packet-builder.ts';
import { flows } from './topology/ping-series.ts';
import { suiteInScene } from './topology/scene.ts';
import { Tap } from './topology/tap.ts';
import { PACKET, RAW_SOCKET, TWO_WORKERS, type Variant } from './topology/variants.ts';

/**
 * Two gateways over a network that carries UDP and ICMP, and drops IP protocol 4 as some clouds do. Each way of moving packets is
 * that of one gateway at least, and each takes fou at a port of its own.
 */
const DEADLINE_MS = 20_000;
const [PORT_A, PORT_B] = [5555, 6666];
const INNER_MTU = 1472;

const BLOCKED =
  'table ip blocked { chain f { type filter hook forward priority 0; meta l4proto 4 counter drop; }; }';

async function make(a: Variant, b: Variant): Promise<JoinedClusters> {
  const scene = await twoClusters();
  await scene.router.exec('nft', BLOCKED);
  const fou = (variant: Variant, ours: number, theirs: number, peer: string): object => ({
    health: { interval: '100ms', deadAfter: '500ms', hold: '0s' },
    tunnel: {
      ...variant.change.tunnel,
      ...{ encapsulation: 'fou', fouPort: ours, fouPeers: [{ address: peer, port: theirs }] },
    },
  });
  return joinClusters(scene, {}, (gateway, local, remote) => {
    const peer = remote.gateways[0]!.address;
    const change = local.name === 'east' ? fou(a, PORT_A, PORT_B, peer) : fou(b, PORT_B, PORT_A, peer);
    gateway.configure(local, remote, change);
  });
}

async function untilAlive(gateway: GatewayProcess): Promise<PeerRow> {
  let row: PeerRow | undefined;
  await poll('the peer is alive, and its path known', DEADLINE_MS, async () => {
    [row] = (await gateway.api('/api/v1/peers')) as PeerRow[];
    return row?.health.state === 'alive' && row.pathMtuSource === 'probe';
  });
  return row!;
}

/** A pod of each cluster: TCP and UDP from A to B and from B to A, to the byte. */
async function carries({ a, b }: JoinedClusters, payloadBytes = 1400): Promise<void> {
  for (const [from, to] of [
    [a.pods[0]!, b.pods[0]!],
    [b.pods[0]!, a.pods[0]!],
  ] as const) {
    const [client, server] = [await from.machine.agent(TRAFFIC_AGENT), await to.machine.agent(TRAFFIC_AGENT)];
    await server.call('tcpSink', { port: 5001 });
    await server.call('udpEcho', { port: 5002 });
    const [destination, bytes] = [to.address, 20_000_003];
    const tcp = await client.call('tcpSend', { destination, port: 5001, bytes, connections: 3, seed: 3 });
    assert.deepEqual(tcp.received, Array(3).fill({ bytes, firstDifference: -1 }));
    const udp = { destination, port: 5002, count: 200, intervalMs: 1, seed: 4, timeoutMs: 5000 };
    const { received, corrupted } = await client.call('udpFlow', { ...udp, payloadBytes });
    assert.deepEqual([received, corrupted], [200, 0]);
    const sizes = [INNER_MTU - 1, INNER_MTU, INNER_MTU + 1, 1500];
    const request = {
      ...{ source: from.address, destination, protocol: PROTOCOL.EXPERIMENTAL },
      ...{ sizes, seed: 1, dontFragment: false },
    };
    const expected = server.call('expectSizes', { ...request, timeoutMs: 10_000 });
    await server.call('begun', null);
    await client.call('sendSizes', request);
    assert.deepEqual(await expected, { received: 4, missing: [], duplicated: [], differences: [] });
    await Promise.all([client.close(), server.close()]);
  }
}

async function counterOf(router: Machine): Promise<number> {
  const text = await router.exec('nft', 'list table ip blocked');
  return Number(/counter packets (\d+)/.exec(text)?.[1]);
}

const PAIRS: readonly (readonly [Variant, Variant])[] = [
  [TWO_WORKERS, RAW_SOCKET],
  [PACKET, TWO_WORKERS],
];

for (const [a, b] of PAIRS) {
  suiteInScene(
    `over a network without protocol 4, by UDP: ${a.name} and ${b.name}`,
    { make: () => make(a, b), skip: b.skip ?? lacking('nft', 'nftables') },
    (check) => {
      check(
        'gateways find each other alive, with the MTU that eight bytes more leave',
        async ({ gwA, gwB }) => {
          for (const gateway of [gwA, gwB]) {
            assert.equal((await untilAlive(gateway)).pathMtuBytes, 1500);
            const { tunnel, problems } = await gateway.status();
            assert.deepEqual([tunnel.encapsulation, tunnel.mtuBytes, problems], ['fou', INNER_MTU, []]);
          }
          assert.match(await gwA.command('status'), new RegExp(`fou by UDP port ${PORT_A}`));
          assert.match(await gwA.command('doctor'), /ok +answers/);
          assert.match(await gwA.command('trace', '10.2.1.2'), new RegExp(`${INNER_MTU}`));
        },
      );

      check(
        'TCP, UDP and what has to be fragmented arrive to the byte, both ways, and nothing as protocol 4',
        async (scene) => {
          const icmp = await Tap.open(scene.gwA.machine, PROTOCOL.ICMP);
          await carries(scene);
          await flows(scene, undefined, 200);
          for (const gateway of [scene.gwA, scene.gwB]) {
            const { inbound, outbound } = (await gateway.status()).traffic;
            assert.deepEqual([inbound.drops, outbound.drops], [{}, {}]);
          }
          assert.equal(await counterOf(scene.router), 0);
          const unreachable = (await icmp.packets()).filter((packet) => packet[IP_HEADER_BYTES] === 3);
          assert.deepEqual(unreachable, [], 'no kernel said that nothing has the port');
          await icmp.close();
        },
      );

      check('a path that narrows is learned from the ICMP of the router, and passed on', async (scene) => {
        await scene.router.ip('link set segment2 mtu 1400');
        await poll('the path of 1400', DEADLINE_MS, async () => {
          const [row] = (await scene.gwA.api('/api/v1/peers')) as PeerRow[];
          return row?.pathMtuBytes === 1400;
        });
        // Longer datagrams with DF their own kernel refuses now, as it should.
        await carries(scene, 1300);
        const trace = JSON.parse(await scene.gwA.command('trace', '10.2.1.2', '--json'));
        assert.equal(trace.innerMtuBytes, 1400 - 28);
        await scene.router.ip('link set segment2 mtu 1500');
      });

      check(
        'where the port is blocked too, doctor says that other UDP gets through',
        async ({ gwA, router }) => {
          const port = `udp dport { ${PORT_A}, ${PORT_B} } drop`;
          await router.exec(
            'nft',
            `table ip ports { chain f { type filter hook forward priority 0; ${port}; }; }`,
          );
          await poll('only plain UDP gets through', DEADLINE_MS, async () => {
            const [row] = (await gwA.api('/api/v1/peers')) as PeerRow[];
            return row?.health.answersPlainOnly === true;
          });
          await assert.rejects(
            gwA.command('doctor'),
            /other UDP gets there and back, but nothing in the tunnel/,
          );
          await router.exec('nft', 'delete table ip ports');
          await untilAlive(gwA);
        },
      );
    },
  );
}
