import assert from 'node:assert/strict';
import type { Buffer } from 'node:buffer';
import type { PeerRow } from '../../src/admin/view.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { type GatewayProcess, type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import {
  addressText,
  checksum,
  IP_HEADER_BYTES,
  ipv4,
  PROTOCOL,
  pattern,
} from './topology/packet-builder.ts';
import { suiteInScene } from './topology/scene.ts';
import { Tap } from './topology/tap.ts';
import { BATCH, PACKET, RAW_SOCKET } from './topology/variants.ts';

const EXPERIMENTAL = PROTOCOL.EXPERIMENTAL;

/** The gateways' own probes are on the wire too. */
function isExperimental(outer: Buffer): boolean {
  return outer[IP_HEADER_BYTES + 9] === EXPERIMENTAL;
}
const ICMP_UNREACHABLE = 3;
const FRAGMENTATION_NEEDED = 4;
const CONGESTION_EXPERIENCED = 3;

/** An inner packet as a pod of A would send it to a pod of B, with its fields changed and its bytes spoiled. */
function inner(
  scene: JoinedClusters,
  change: object = {},
  spoil: (packet: Buffer) => void = () => {},
): Buffer {
  const fields = {
    ...{ source: scene.a.pods[0]!.address, destination: scene.b.pods[0]!.address },
    ...{ protocol: EXPERIMENTAL, payload: pattern(9, 9, 40), id: 77 },
  };
  const packet = ipv4({ ...fields, ...change });
  spoil(packet);
  return packet;
}

/** With the header checksum made right again after the header was changed. */
function resealed(change: (packet: Buffer) => void): (packet: Buffer) => void {
  return (packet) => {
    change(packet);
    packet.writeUInt16BE(0, 10);
    packet.writeUInt16BE(checksum(packet.subarray(0, IP_HEADER_BYTES)), 10);
  };
}

function outer(scene: JoinedClusters, payload: Buffer, change: object = {}): Buffer {
  const [source, destination] = [scene.a.gateways[0]!.address, scene.b.gateways[0]!.address];
  return ipv4({ source, destination, protocol: PROTOCOL.IPIP, payload, id: 78, ...change });
}

async function send(machine: Machine, ...packets: readonly Buffer[]): Promise<void> {
  const agent = await machine.agent(TRAFFIC_AGENT);
  const request = { packets: packets.map((packet) => packet.toString('hex')), gapMs: 0 };
  assert.deepEqual((await agent.call('sendPackets', request)).refused, []);
  await agent.close();
}

type Direction = 'inbound' | 'outbound';

async function drops(gateway: GatewayProcess, direction: Direction, reason: string): Promise<number> {
  return (await gateway.status()).traffic[direction].drops[reason] ?? 0;
}

/** Runs `provoke` and checks that exactly one packet more was dropped for `reason`, and that the metric says the same. */
async function dropsOne(
  gateway: GatewayProcess,
  direction: Direction,
  reason: string,
  provoke: () => Promise<void>,
): Promise<void> {
  const before = await drops(gateway, direction, reason);
  await provoke();
  await poll(`a drop for ${reason}`, 3000, async () => (await drops(gateway, direction, reason)) > before);
  assert.equal(await drops(gateway, direction, reason), before + 1);
  const metric = `isthmus_dropped_packets_total{direction="${direction}",reason="${reason}"}`;
  assert.equal((await gateway.metrics()).get(metric), before + 1, metric);
}

type Case = readonly [reason: string, sender: 'peer' | 'stranger', packet: (scene: JoinedClusters) => Buffer];

const INBOUND: readonly Case[] = [
  ['unknown-peer', 'stranger', (s) => outer(s, inner(s), { source: s.stranger.address })],
  ['spoofed-source', 'peer', (s) => outer(s, inner(s, { source: '10.9.9.9' }))],
  ['not-local', 'peer', (s) => outer(s, inner(s, { destination: '10.77.0.1' }))],
  ['martian', 'peer', (s) => outer(s, inner(s, { source: '127.0.0.1' }))],
  [
    'nested',
    'peer',
    (s) => outer(s, inner(s, { protocol: PROTOCOL.IPIP, destination: s.b.gateways[0]!.address })),
  ],
  ['inner-truncated', 'peer', (s) => outer(s, inner(s).subarray(0, 12))],
  ['inner-truncated', 'peer', (s) => outer(s, inner(s).subarray(0, 50))],
  [
    'inner-version',
    'peer',
    (s) =>
      outer(
        s,
        inner(s, {}, (packet) => packet.writeUInt8(0x65, 0)),
      ),
  ],
  [
    'inner-malformed',
    'peer',
    (s) =>
      outer(
        s,
        inner(s, {}, (packet) => packet.writeUInt8(0x44, 0)),
      ),
  ],
  [
    'inner-checksum',
    'peer',
    (s) =>
      outer(
        s,
        inner(s, {}, (packet) => packet.writeUInt16BE(packet.readUInt16BE(10) ^ 1, 10)),
      ),
  ],
  [
    'inner-ttl',
    'peer',
    (s) =>
      outer(
        s,
        inner(
          s,
          {},
          resealed((packet) => packet.writeUInt8(0, 8)),
        ),
      ),
  ],
  ['ecn-illegal', 'peer', (s) => outer(s, inner(s), { tos: CONGESTION_EXPERIENCED })],
];

for (const variant of [BATCH, PACKET, RAW_SOCKET]) {
  const make = async (): Promise<JoinedClusters> => joinClusters(await twoClusters(), variant.change);
  suiteInScene(`what a gateway drops (${variant.name})`, { make, skip: variant.skip }, (check) => {
    for (const [index, [reason, sender, packet]] of INBOUND.entries()) {
      check(`counts and does not forward: ${reason} (${index})`, async (scene) => {
        const arriving = await Tap.open(scene.b.pods[0]!.machine, EXPERIMENTAL);
        const from = sender === 'peer' ? scene.a.gateways[0]! : scene.stranger;
        await dropsOne(scene.gwB, 'inbound', reason, () => send(from.machine, packet(scene)));
        // A good packet sent afterwards shows that the bad one is not merely late.
        await send(scene.a.pods[0]!.machine, inner(scene, { id: 4242 }));
        await arriving.first('the good packet');
        assert.deepEqual(
          (await arriving.packets()).map((bytes) => bytes.readUInt16BE(4)),
          [4242],
        );
        await arriving.close();
      });
    }

    check('counts no-route and answers the sender with net unreachable', async (scene) => {
      const pod = scene.a.pods[0]!;
      await scene.gwA.machine.ip('route add 10.99.0.0/16 dev isthmus0');
      const icmp = await Tap.open(pod.machine, PROTOCOL.ICMP);
      const packet = inner(scene, { destination: '10.99.1.1' });
      await dropsOne(scene.gwA, 'outbound', 'no-route', () => send(pod.machine, packet));
      const error = await icmp.first('the ICMP error');
      assert.deepEqual([error[IP_HEADER_BYTES], error[IP_HEADER_BYTES + 1]], [ICMP_UNREACHABLE, 0]);
      assert.equal(addressText(error, IP_HEADER_BYTES + 8 + 16), '10.99.1.1', 'quotes the packet');
      await scene.gwA.machine.ip('route del 10.99.0.0/16 dev isthmus0');
    });

    check('counts loop where the gateway itself sends with its underlay address', async (scene) => {
      const packet = inner(scene, { source: scene.a.gateways[0]!.address });
      await dropsOne(scene.gwA, 'outbound', 'loop', () => send(scene.gwA.machine, packet));
    });
  });

  suiteInScene(`how a gateway encapsulates (${variant.name})`, { make, skip: variant.skip }, (check) => {
    for (const dontFragment of [true, false]) {
      check(
        `writes the outer header as RFC 2003 asks, inner DF ${dontFragment ? 'set' : 'clear'}`,
        async (scene) => {
          const underlay = await Tap.open(scene.gwB.machine, PROTOCOL.IPIP);
          const arriving = await Tap.open(scene.b.pods[0]!.machine, EXPERIMENTAL);
          // DSCP 46 and ECT(0): both are copied outwards.
          const sent = inner(scene, { tos: 0xba, dontFragment, payload: pattern(1, 1, 101) });
          await send(scene.a.pods[0]!.machine, sent);
          const tunnelled = await underlay.first('the outer packet', isExperimental);
          assert.equal(tunnelled[0], 0x45);
          assert.equal(tunnelled[1], 0xba, 'TOS is inherited');
          assert.equal(tunnelled.readUInt16BE(2), sent.length + IP_HEADER_BYTES);
          assert.equal(tunnelled.readUInt16BE(6), 0x4000, 'DF is set');
          assert.equal(tunnelled[8], 63, 'TTL 64, less the router');
          assert.equal(tunnelled[9], PROTOCOL.IPIP);
          assert.equal(addressText(tunnelled, 12), scene.a.gateways[0]!.address);
          assert.equal(addressText(tunnelled, 16), scene.b.gateways[0]!.address);
          const carried = tunnelled.subarray(IP_HEADER_BYTES);
          assert.equal(
            carried[8],
            sent[8]! - 1,
            'the kernel lowered the inner TTL once when it forwarded into the tunnel',
          );
          const arrived = await arriving.first('the inner packet');
          assert.equal(arrived[8], sent[8]! - 2, 'and once when it forwarded out of it');
          for (const packet of [carried, arrived]) {
            assert.equal(checksum(packet.subarray(0, IP_HEADER_BYTES)), 0);
            for (const at of [8, 10, 11]) packet[at] = sent[at]!;
            assert.ok(packet.equals(sent), 'all else is as it was sent');
          }
        },
      );
    }

    check('lowers the MSS of SYN and SYN/ACK to what fits the tunnel', async (scene) => {
      const [atA, atB] = [
        await Tap.open(scene.a.pods[0]!.machine, PROTOCOL.TCP),
        await Tap.open(scene.b.pods[0]!.machine, PROTOCOL.TCP),
      ];
      const [client, server] = [
        await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT),
        await scene.b.pods[0]!.machine.agent(TRAFFIC_AGENT),
      ];
      await server.call('tcpSink', { port: 5001 });
      const destination = scene.b.pods[0]!.address;
      await client.call('tcpSend', { destination, port: 5001, bytes: 1000, connections: 1, seed: 1 });
      for (const tap of [atA, atB]) {
        const syn = (await tap.packets()).find((packet) => (packet[IP_HEADER_BYTES + 13]! & 2) !== 0)!;
        assert.equal(mssOf(syn), 1440);
      }
      for (const process of [client, server, atA, atB]) await process.close();
    });

    check('answers a packet that is too big and has DF set with the MTU of the tunnel', async (scene) => {
      const pod = scene.a.pods[0]!;
      const icmp = await Tap.open(pod.machine, PROTOCOL.ICMP);
      await send(
        pod.machine,
        inner(scene, { dontFragment: true, payload: pattern(1, 1, 1500 - IP_HEADER_BYTES) }),
      );
      const error = await icmp.first('the ICMP error');
      assert.deepEqual(fragmentationNeeded(error), { quoted: scene.b.pods[0]!.address, mtuBytes: 1480 });
    });

    check('carries a packet that is too big and has DF clear whole', async (scene) => {
      const arriving = await Tap.open(scene.b.pods[0]!.machine, EXPERIMENTAL);
      const sent = inner(scene, { payload: pattern(1, 1, 1500 - IP_HEADER_BYTES) });
      await send(scene.a.pods[0]!.machine, sent);
      const arrived = await arriving.first('the packet');
      assert.ok(arrived.subarray(IP_HEADER_BYTES).equals(sent.subarray(IP_HEADER_BYTES)));
    });
  });

  const narrow = async (): Promise<JoinedClusters> =>
    joinClusters(await twoClusters({ farMtuBytes: 1400 }), { ...variant.change, health: { probes: 'off' } });
  suiteInScene(
    `a path narrower than the link that is not probed (${variant.name})`,
    { make: narrow, skip: variant.skip },
    (check) => {
      check('is learned from the router, told to the sender, and shown by peer', async (scene) => {
        const pod = scene.a.pods[0]!;
        const icmp = await Tap.open(pod.machine, PROTOCOL.ICMP);
        const packet = inner(scene, { dontFragment: true, payload: pattern(1, 1, 1480 - IP_HEADER_BYTES) });
        await poll('the path MTU', 5000, async () => {
          await send(pod.machine, packet);
          const peers = (await scene.gwA.api('/api/v1/peers')) as PeerRow[];
          const { pathMtuBytes, pathMtuSource } = peers[0]!;
          return pathMtuBytes === 1400 && pathMtuSource === 'icmp';
        });
        await send(pod.machine, packet);
        const error = await icmp.first('the ICMP error');
        assert.deepEqual(fragmentationNeeded(error), { quoted: scene.b.pods[0]!.address, mtuBytes: 1380 });
      });

      check('carries what has DF clear in fragments that arrive whole', async (scene) => {
        const [client, server] = [scene.a.pods[0]!, scene.b.pods[0]!];
        const [from, to] = [
          await client.machine.agent(TRAFFIC_AGENT),
          await server.machine.agent(TRAFFIC_AGENT),
        ];
        const request = {
          ...{ source: client.address, destination: server.address, protocol: EXPERIMENTAL },
          ...{ sizes: [1300, 1380, 1381, 1400, 1479, 1480, 1500], seed: 1, dontFragment: false },
        };
        const expected = to.call('expectSizes', { ...request, timeoutMs: 5000 });
        await to.call('begun', null);
        await from.call('sendSizes', request);
        assert.deepEqual(await expected, { received: 7, missing: [], duplicated: [], differences: [] });
        for (const agent of [from, to]) await agent.close();
      });

      check('lets TCP through at once, because the MSS fits', async (scene) => {
        const [from, to] = [
          await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT),
          await scene.b.pods[0]!.machine.agent(TRAFFIC_AGENT),
        ];
        await to.call('tcpSink', { port: 5001 });
        const destination = scene.b.pods[0]!.address;
        const answer = await from.call('tcpSend', {
          destination,
          port: 5001,
          bytes: 2_000_003,
          connections: 1,
          seed: 1,
        });
        assert.deepEqual(answer.received, [{ bytes: 2_000_003, firstDifference: -1 }]);
        for (const agent of [from, to]) await agent.close();
      });
    },
  );
}

function mssOf(syn: Buffer): number | undefined {
  const tcp = syn.subarray((syn[0]! & 15) * 4);
  const end = (tcp[12]! >> 4) * 4;
  for (let at = 20; at < end && tcp[at] !== 0; at += tcp[at] === 1 ? 1 : tcp[at + 1]!) {
    if (tcp[at] === 2) return tcp.readUInt16BE(at + 2);
  }
  return undefined;
}

function fragmentationNeeded(packet: Buffer): { quoted: string; mtuBytes: number } {
  const icmp = packet.subarray(IP_HEADER_BYTES);
  assert.deepEqual([icmp[0], icmp[1]], [ICMP_UNREACHABLE, FRAGMENTATION_NEEDED]);
  assert.equal(checksum(icmp), 0);
  return { quoted: addressText(icmp, 8 + 16), mtuBytes: icmp.readUInt16BE(6) };
}
