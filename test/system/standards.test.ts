import assert from 'node:assert/strict';
import type { Buffer } from 'node:buffer';
import { type Machine, poll } from '../../src/measure/topology.ts';
import { twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { type JoinedClusters, joinClusters } from './topology/gateway-process.ts';
import { addressText, IP_HEADER_BYTES, ipv4, PROTOCOL, pattern } from './topology/packet-builder.ts';
import { suiteInScene } from './topology/scene.ts';
import { Tap } from './topology/tap.ts';

/** Rows of docs/standards.md that the kernel has a part in: it has to be asked, not assumed. */

const UNREACHABLE = 3;
const TIME_EXCEEDED = 11;
const MORE_FRAGMENTS = 0x2000;
const EXPERIMENTAL = PROTOCOL.EXPERIMENTAL;

function inner(scene: JoinedClusters, payloadBytes: number, id: number, ttl = 64): Buffer {
  const [source, destination] = [scene.a.pods[0]!.address, scene.b.pods[0]!.address];
  const payload = pattern(4, id, payloadBytes);
  return ipv4({ source, destination, protocol: EXPERIMENTAL, payload, id, ttl });
}

/** A piece of an outer packet from A's gateway to B's; a raw socket's kernel makes its checksum. */
function outerPiece(scene: JoinedClusters, id: number, whole: Buffer, from: number, to: number): Buffer {
  const [source, destination] = [scene.a.gateways[0]!.address, scene.b.gateways[0]!.address];
  const piece = ipv4({ source, destination, protocol: PROTOCOL.IPIP, payload: whole.subarray(from, to), id });
  piece.writeUInt16BE((to < whole.length ? MORE_FRAGMENTS : 0) | (from / 8), 6);
  return piece;
}

async function send(machine: Machine, ...packets: readonly Buffer[]): Promise<void> {
  const agent = await machine.agent(TRAFFIC_AGENT);
  const request = { packets: packets.map((packet) => packet.toString('hex')), gapMs: 0 };
  assert.deepEqual((await agent.call('sendPackets', request)).refused, []);
  await agent.close();
}

const idsOf = (packets: readonly Buffer[]): number[] => packets.map((packet) => packet.readUInt16BE(4));

const make = async (): Promise<JoinedClusters> => joinClusters(await twoClusters(), {});
suiteInScene('what the kernel has a part in', { make }, (check) => {
  check(
    'E4 a packet whose TTL ends at the gateway is answered with time exceeded, and not carried',
    async (scene) => {
      const pod = scene.a.pods[0]!;
      const icmp = await Tap.open(pod.machine, PROTOCOL.ICMP);
      const arriving = await Tap.open(scene.b.pods[0]!.machine, EXPERIMENTAL);
      await send(pod.machine, inner(scene, 40, 1, 1), inner(scene, 40, 2));
      const error = await icmp.first('the ICMP error');
      assert.deepEqual([error[IP_HEADER_BYTES], error[IP_HEADER_BYTES + 1]], [TIME_EXCEEDED, 0]);
      assert.equal(
        addressText(error, IP_HEADER_BYTES + 8 + 16),
        scene.b.pods[0]!.address,
        'quotes the packet',
      );
      await arriving.first('the packet behind it');
      assert.deepEqual(idsOf(await arriving.packets()), [2]);
      for (const tap of [icmp, arriving]) await tap.close();
    },
  );

  check(
    'D3 fragments of an outer packet are put together before it is decapsulated, in any order',
    async (scene) => {
      const arriving = await Tap.open(scene.b.pods[0]!.machine, EXPERIMENTAL);
      const sent = inner(scene, 3000, 11);
      const piece = (from: number, to: number): Buffer => outerPiece(scene, 701, sent, from, to);
      const gateway = scene.a.gateways[0]!.machine;
      await send(gateway, piece(2000, sent.length), piece(0, 1000), piece(1000, 2000));
      const arrived = await arriving.first('the inner packet');
      assert.ok(arrived.subarray(IP_HEADER_BYTES).equals(sent.subarray(IP_HEADER_BYTES)));
      await arriving.close();
    },
  );

  check('F5 fragments that overlap make no packet', async (scene) => {
    const arriving = await Tap.open(scene.b.pods[0]!.machine, EXPERIMENTAL);
    const sent = inner(scene, 2000, 21);
    const piece = (from: number, to: number): Buffer => outerPiece(scene, 702, sent, from, to);
    const before = (await scene.gwB.status()).traffic.inbound;
    await send(scene.a.gateways[0]!.machine, piece(0, 1000), piece(992, 1600), piece(1600, sent.length));
    await send(scene.a.pods[0]!.machine, inner(scene, 40, 22));
    await arriving.first('a packet sent later');
    assert.deepEqual(idsOf(await arriving.packets()), [22]);
    await poll('the count', 3000, async () => {
      return (await scene.gwB.status()).traffic.inbound.packets > before.packets;
    });
    const { packets, drops } = (await scene.gwB.status()).traffic.inbound;
    assert.equal(packets, before.packets + 1);
    assert.deepEqual(drops, before.drops, 'the gateway has seen none of them');
    await arriving.close();
  });

  check('G9 an ICMP error of the gateway has precedence 6', async (scene) => {
    const pod = scene.a.pods[0]!;
    const icmp = await Tap.open(pod.machine, PROTOCOL.ICMP);
    await scene.gwA.machine.ip('route add 10.99.0.0/16 dev isthmus0');
    const lost = ipv4({
      ...{ source: pod.address, destination: '10.99.1.1', protocol: EXPERIMENTAL },
      payload: pattern(4, 41, 40),
    });
    await send(pod.machine, lost);
    const error = await icmp.first('the ICMP error');
    assert.deepEqual([error[IP_HEADER_BYTES], error[IP_HEADER_BYTES + 1]], [UNREACHABLE, 0]);
    assert.equal(error[1], 6 << 5);
    await scene.gwA.machine.ip('route del 10.99.0.0/16 dev isthmus0');
    await icmp.close();
  });

  check('ECN unused pairs are counted and logged', async (scene) => {
    const whole = inner(scene, 40, 31);
    const piece = outerPiece(scene, 703, whole, 0, whole.length);
    piece.writeUInt8(1, 1);
    const metric = 'isthmus_ecn_unused_packets_total';
    await send(scene.a.gateways[0]!.machine, piece, piece);
    await poll('the metric', 3000, async () => (await scene.gwB.metrics()).get(metric) === 2);
    await poll('the log', 15_000, () =>
      Promise.resolve(/ECN fields that no sender makes/.test(scene.topology.logs())),
    );
  });
});
