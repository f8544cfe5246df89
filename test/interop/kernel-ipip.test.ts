import assert from 'node:assert/strict';
import type { Buffer } from 'node:buffer';
import type { PeerRow } from '../../src/admin/view.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { poll } from '../../src/measure/topology.ts';
import type { PodMachine } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from '../system/topology/agent-commands.ts';
import { IP_HEADER_BYTES, PROTOCOL } from '../system/topology/packet-builder.ts';
import { suiteInScene } from '../system/topology/scene.ts';
import { Tap } from '../system/topology/tap.ts';
import { LACKS_UML } from './uml/guest.ts';
import {
  ANY_TO_ANY,
  EXTERNAL,
  FOU as FOU_DEVICE,
  GATEWAY_A,
  GATEWAY_B,
  type KernelPeer,
  kernelPeer,
  POINT_TO_POINT,
  ROUTER_TO_A,
  ROUTER_TO_B,
} from './uml/kernel-peer.ts';
import { arrival, datagram, mark, send, ways } from './uml/kernel-traffic.ts';

const { EXPERIMENTAL } = PROTOCOL;
const TCP_PORT = 5001;
const UDP_PORT = 5002;
const DEADLINE_MS = 20_000;
const ECT_0 = 2;
const CE = 3;

async function untilPeer(scene: KernelPeer, what: string, is: (row: PeerRow) => boolean): Promise<void> {
  await poll(what, DEADLINE_MS, async () => {
    const [row] = (await scene.gwA.api('/api/v1/peers')) as PeerRow[];
    return row !== undefined && is(row);
  });
}

/** The next-hop MTU of the ICMP error about a packet that is too big, sent until one comes. */
async function refusedWith(from: PodMachine, packet: Buffer): Promise<number> {
  const icmp = await Tap.open(from.machine, PROTOCOL.ICMP);
  const error = await poll('fragmentation needed', DEADLINE_MS, async () => {
    await send(from.machine, packet);
    return (await icmp.packets()).find((each) => each.readUInt16BE(IP_HEADER_BYTES) === 0x0304);
  });
  await icmp.close();
  return error.readUInt16BE(IP_HEADER_BYTES + 6);
}

const TUNNELS = [
  { name: 'a device with two ends', tunnel: POINT_TO_POINT, copiesDf: true, outerBytes: 20 },
  { name: 'tunl0 for every peer, as Calico has it', tunnel: ANY_TO_ANY, copiesDf: true, outerBytes: 20 },
  // Its outer packets have DF clear: the router cuts them, and our kernel puts them together.
  {
    name: 'an external device and routes that encapsulate',
    tunnel: EXTERNAL,
    copiesDf: false,
    outerBytes: 20,
  },
  {
    name: 'IPIP in UDP (fou), each end at a port of its own',
    tunnel: FOU_DEVICE,
    copiesDf: false,
    outerBytes: 28,
  },
];

/** With fou the peer's port is not ours. */
const FOU_CHANGE = {
  tunnel: { encapsulation: 'fou', fouPort: 5555, fouPeers: [{ address: GATEWAY_B, port: 5556 }] },
};

for (const { name, tunnel, copiesDf, outerBytes } of TUNNELS) {
  const innerMtu = 1500 - outerBytes;
  suiteInScene(
    `the kernel as peer: ${name}`,
    {
      make: () => kernelPeer(tunnel, outerBytes === 28 ? FOU_CHANGE : {}),
      skip: LACKS_UML ?? lacking('nft', 'nftables'),
    },
    (check) => {
      check('carries ICMP of every size class, both ways, to the byte', async (scene) => {
        for (const [from, to] of ways(scene)) {
          const agent = await from.machine.agent(TRAFFIC_AGENT);
          for (const sizeBytes of [32, 100, innerMtu]) {
            const request = {
              destination: to.address,
              count: 20,
              intervalMs: 5,
              sizeBytes,
              seed: 1,
              timeoutMs: 5000,
            };
            const { received, corrupted, duplicated } = await agent.call('ping', request);
            assert.deepEqual(
              { received, corrupted, duplicated },
              { received: 20, corrupted: 0, duplicated: 0 },
            );
          }
          await agent.close();
        }
      });

      check('carries TCP and UDP, both ways, to the byte', async (scene) => {
        for (const [from, to] of ways(scene)) {
          const [client, server] = [
            await from.machine.agent(TRAFFIC_AGENT),
            await to.machine.agent(TRAFFIC_AGENT),
          ];
          await server.call('tcpSink', { port: TCP_PORT });
          await server.call('udpEcho', { port: UDP_PORT });
          const destination = to.address;
          const bytes = 5_000_003;
          const tcp = await client.call('tcpSend', {
            destination,
            port: TCP_PORT,
            bytes,
            connections: 2,
            seed: 3,
          });
          assert.deepEqual(tcp.received, Array(2).fill({ bytes, firstDifference: -1 }));
          const request = { destination, port: UDP_PORT, count: 100, intervalMs: 2, payloadBytes: 1400 };
          const udp = await client.call('udpFlow', { ...request, seed: 4, timeoutMs: 5000 });
          assert.deepEqual([udp.received, udp.corrupted], [100, 0]);
          await Promise.all([client.close(), server.close()]);
        }
      });

      check('carries what has DF clear and does not fit in fragments that arrive whole', async (scene) => {
        for (const [from, to] of ways(scene)) {
          const [client, server] = [
            await from.machine.agent(TRAFFIC_AGENT),
            await to.machine.agent(TRAFFIC_AGENT),
          ];
          const sizes = [innerMtu - 1, innerMtu, innerMtu + 1, 1500];
          const request = {
            ...{ source: from.address, destination: to.address, protocol: EXPERIMENTAL },
            ...{ sizes, seed: 1, dontFragment: false },
          };
          const expected = server.call('expectSizes', { ...request, timeoutMs: 10_000 });
          await server.call('begun', null);
          await client.call('sendSizes', request);
          assert.deepEqual(await expected, { received: 4, missing: [], duplicated: [], differences: [] });
          await Promise.all([client.close(), server.close()]);
        }
      });

      check('ECN: marks of the sender and of the router arrive, both ways', async (scene) => {
        const ends = [GATEWAY_B, GATEWAY_A];
        for (const [i, [from, to]] of ways(scene).entries()) {
          const ecn = async (tos: number) => (await arrival(from, to, datagram(from, to, tos)))[1]! & 3;
          assert.equal(await ecn(ECT_0), ECT_0);
          assert.equal(await ecn(CE), CE, 'a mark from before the tunnel');
          await mark(scene.router, ends[i], outerBytes);
          assert.equal(await ecn(ECT_0), CE, 'a mark from inside the tunnel');
          await mark(scene.router, undefined, outerBytes);
        }
      });

      check('TTL: the tunnel is one hop each way, and the kernel on each side another', async (scene) => {
        for (const [from, to] of ways(scene)) {
          const sent = datagram(from, to, 0);
          assert.equal(sent[8]! - (await arrival(from, to, sent))[8]!, 2);
        }
      });

      check('is probed by what it reflects, though it knows nothing of probes', async (scene) => {
        await untilPeer(
          scene,
          'it is alive, and its path known',
          ({ health, pathMtuBytes, pathMtuSource }) => {
            const isProbed = health.state === 'alive' && health.answers === 'reflected';
            return isProbed && pathMtuSource === 'probe' && pathMtuBytes === 1500;
          },
        );
      });

      check(
        'DF: what does not fit is refused with the MTU of the tunnel, also after the path has changed',
        async (scene) => {
          const [[a, b], [, back]] = ways(scene) as [[PodMachine, PodMachine], [PodMachine, PodMachine]];
          assert.equal(await refusedWith(a, datagram(a, b, 0, 1500)), innerMtu);
          assert.equal(await refusedWith(b, datagram(b, back, 0, 1500)), innerMtu);
          // One side at a time: what is longer than the device that it comes in by is lost there without a word.
          await scene.router.ip(`link set ${ROUTER_TO_B} mtu 1400`);
          assert.equal(await refusedWith(a, datagram(a, b, 0, innerMtu)), 1400 - outerBytes);
          await untilPeer(scene, 'the path of 1400', ({ pathMtuBytes }) => pathMtuBytes === 1400);
          assert.equal((await arrival(a, b, datagram(a, b, 0, 1400 - outerBytes))).length, 1400 - outerBytes);
          await scene.router.ip(`link set ${ROUTER_TO_B} mtu 1500`, `link set ${ROUTER_TO_A} mtu 1400`);
          const wide = datagram(b, back, 0, innerMtu);
          if (copiesDf) assert.equal(await refusedWith(b, wide), 1400 - outerBytes);
          else assert.equal((await arrival(b, back, wide)).length, innerMtu);
        },
      );

      check('nothing was dropped that should not be', async (scene) => {
        const { inbound } = (await scene.gwA.status()).traffic;
        assert.deepEqual(inbound.drops, {});
      });
    },
  );
}
