import assert from 'node:assert/strict';
import type { Buffer } from 'node:buffer';
import type { PeerRow } from '../../src/admin/view.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { type Machine, poll } from '../../src/measure/topology.ts';
import type { PodMachine } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from '../system/topology/agent-commands.ts';
import { addressText, IP_HEADER_BYTES, ipv4, PROTOCOL, pattern } from '../system/topology/packet-builder.ts';
import { suiteInScene } from '../system/topology/scene.ts';
import { Tap } from '../system/topology/tap.ts';
import { LACKS_UML } from './uml/guest.ts';
import {
  GATEWAY_A,
  GATEWAY_B,
  type KernelPeer,
  kernelPeer,
  POINT_TO_POINT,
  ROUTER_TO_A,
  ROUTER_TO_B,
} from './uml/kernel-peer.ts';
import { datagram, mark, send, ways } from './uml/kernel-traffic.ts';

const { EXPERIMENTAL, ICMP } = PROTOCOL;
const PORT = 5001;
const BYTES = 3_000_003;
/** On its way by then, and far from done. */
const BYTES_UNDER_WAY = 300_000;
const DEADLINE_MS = 20_000;
const TIME_EXCEEDED = 0x0b00;
const [NOT_ECT, ECT_1, ECT_0, CE] = [0, 1, 2, 3];

/** Overlay addresses of both tunnel ends, from which each tells of packets that ended there. */
const TUNNEL_A = '10.1.0.1';
const TUNNEL_B = '10.2.0.1';
const TUNNEL = `${POINT_TO_POINT}\nip addr add ${TUNNEL_B}/32 dev tun1\nmodprobe sch_netem`;
// One worker, because what is sent first has to arrive first.
const CHANGE = { tunnel: { address: TUNNEL_A, fragment: 'outer', workers: 1 } };

async function sentBytes(machine: Machine, device: string): Promise<number> {
  interface Link {
    readonly stats64: { readonly tx: { readonly bytes: number } };
  }
  const [link] = await machine.ipJson<Link>('-s', 'link', 'show', 'dev', device);
  return link!.stats64.tx.bytes;
}

/** Packets that were put together from fragments: the field of that name in /proc/net/snmp. */
function reassembled(snmp: string): number {
  const [names, values] = snmp.split('\n').filter((line) => line.startsWith('Ip:'));
  return Number(values!.split(' ')[names!.split(' ').indexOf('ReasmOKs')]);
}

/** The path MTU that a machine has learned for a destination; undefined: none. */
async function learned(machine: Machine, destination: string): Promise<number | undefined> {
  const [route] = await machine.ipJson<{ metrics?: { mtu?: number }[] }>('route', 'get', destination);
  return route?.metrics?.[0]?.mtu;
}

interface Narrowing {
  readonly from: PodMachine;
  readonly to: PodMachine;
  /** The guest's device towards `to`, slow until the path has become narrow. */
  readonly slow: string;
  /** The router's. */
  readonly device: string;
  readonly mtuBytes: number;
}

/** The path becomes narrower while a stream is on its way; it goes on, and its sender knows why. */
async function narrowUnderWay({ guest, router }: KernelPeer, narrowing: Narrowing): Promise<void> {
  const { from, to, slow, device, mtuBytes } = narrowing;
  const [client, server] = [await from.machine.agent(TRAFFIC_AGENT), await to.machine.agent(TRAFFIC_AGENT)];
  await server.call('tcpSink', { port: PORT });
  await guest.shell(`tc qdisc add dev ${slow} root netem rate 8mbit limit 50`);
  const before = await sentBytes(router, device);
  const request = { destination: to.address, port: PORT, bytes: BYTES, connections: 1, seed: 7 };
  const stream = client.call('tcpSend', request);
  const isUnderWay = async (): Promise<boolean> =>
    (await sentBytes(router, device)) - before > BYTES_UNDER_WAY;
  await poll('a stream under way', DEADLINE_MS, isUnderWay);
  await router.ip(`link set ${device} mtu ${mtuBytes}`);
  assert.ok(
    (await sentBytes(router, device)) - before < BYTES,
    'the path changed after the stream had ended',
  );
  await poll('the new path MTU at the sender', DEADLINE_MS, async () => {
    return (await learned(from.machine, to.address)) === mtuBytes - IP_HEADER_BYTES;
  });
  await guest.shell(`tc qdisc del dev ${slow} root`);
  assert.deepEqual((await stream).received, [{ bytes: BYTES, firstDifference: -1 }]);
  await Promise.all([client.close(), server.close()]);
}

/** Packets with these ECN fields, one after the other, as far as they arrive: their fields then. */
async function ecnOf(from: PodMachine, to: PodMachine, fields: readonly number[]): Promise<number[]> {
  const tap = await Tap.open(to.machine, EXPERIMENTAL);
  await send(from.machine, ...fields.map((tos) => datagram(from, to, tos)));
  // The last of them is one that arrives in any case; what came before it has arrived by then.
  const last = fields.at(-1)!;
  const arrived = await poll('the last packet', DEADLINE_MS, async () => {
    const seen = (await tap.packets()).map((packet) => packet[1]! & 3);
    return seen.some((field) => field === last || field === CE) ? seen : undefined;
  });
  await tap.close();
  return arrived;
}

/** Who tells `from` that a packet with so small a TTL has ended. */
async function endOf(from: PodMachine, to: PodMachine, ttl: number): Promise<string> {
  const icmp = await Tap.open(from.machine, ICMP);
  const payload = pattern(2, ttl, 64);
  const fields = { source: from.address, destination: to.address, protocol: EXPERIMENTAL, payload, ttl };
  const error: Buffer = await poll('time exceeded', DEADLINE_MS, async () => {
    await send(from.machine, ipv4(fields));
    return (await icmp.packets()).find((each) => each.readUInt16BE(IP_HEADER_BYTES) === TIME_EXCEEDED);
  });
  await icmp.close();
  return addressText(error, 12);
}

const skip = LACKS_UML ?? lacking('nft', 'nftables');

suiteInScene(
  "the kernel's ipip as peer over a path that changes",
  { make: () => kernelPeer(TUNNEL, CHANGE), skip },
  (check) => {
    check('TTL: both ends say where a packet ended, each by its tunnel address', async (scene) => {
      const [[a, b]] = ways(scene) as [[PodMachine, PodMachine]];
      assert.equal(await endOf(a, b, 1), '10.1.1.1');
      assert.equal(await endOf(a, b, 2), TUNNEL_B);
      assert.equal(await endOf(b, a, 1), '10.2.1.1');
      assert.equal(await endOf(b, a, 2), TUNNEL_A);
    });

    check('ECN: what the sender wrote arrives, both ways', async (scene) => {
      for (const [from, to] of ways(scene))
        for (const field of [NOT_ECT, ECT_1, ECT_0, CE])
          assert.deepEqual(await ecnOf(from, to, [field!]), [field]);
    });

    check('ECN: a mark on what cannot bear one is a drop at both ends', async (scene) => {
      const ends = [GATEWAY_B, GATEWAY_A];
      for (const [i, [from, to]] of ways(scene).entries()) {
        await mark(scene.router, ends[i], 20);
        assert.deepEqual(await ecnOf(from, to, [NOT_ECT!, ECT_1!]), [CE]);
        await mark(scene.router, undefined, 20);
      }
      assert.equal((await scene.gwA.status()).traffic.inbound.drops['ecn-illegal'], 1);
      const dropped = await scene.guest.shell('cat /sys/class/net/tun1/statistics/rx_frame_errors');
      assert.equal(dropped, '1', 'packets that the kernel dropped for it');
    });

    check('TCP goes on when its path becomes narrower on the way, both ways', async (scene) => {
      const [[a, b]] = ways(scene) as [[PodMachine, PodMachine]];
      // One side at a time: what is longer than the device that it comes in by is lost there without a word.
      await narrowUnderWay(scene, { from: b, to: a, slow: 'vec0', device: ROUTER_TO_A, mtuBytes: 1400 });
      await scene.router.ip(`link set ${ROUTER_TO_A} mtu 1500`);
      await narrowUnderWay(scene, { from: a, to: b, slow: 'vec1', device: ROUTER_TO_B, mtuBytes: 1300 });
    });

    check('outer fragments of ours are put together by the kernel at the other end', async (scene) => {
      const { guest, podA, podB, gwA } = scene;
      const count = async (): Promise<number> => reassembled(await guest.shell('cat /proc/net/snmp'));
      const [row] = (await gwA.api('/api/v1/peers')) as PeerRow[];
      assert.equal(row!.pathMtuBytes, 1300);
      const before = await count();
      const [client, server] = [
        await podA.machine.agent(TRAFFIC_AGENT),
        await podB.machine.agent(TRAFFIC_AGENT),
      ];
      const sizes = [1281, 1400, 1480];
      const request = {
        ...{ source: podA.address, destination: podB.address, protocol: EXPERIMENTAL },
        ...{ sizes, seed: 1, dontFragment: false },
      };
      const expected = server.call('expectSizes', { ...request, timeoutMs: DEADLINE_MS });
      await server.call('begun', null);
      await client.call('sendSizes', request);
      assert.deepEqual(await expected, { received: 3, missing: [], duplicated: [], differences: [] });
      assert.ok((await count()) - before >= sizes.length, 'the guest has put nothing together');
      assert.equal(reassembled(await podB.machine.exec('cat', '/proc/net/snmp')), 0, 'the pod had to');
      await Promise.all([client.close(), server.close()]);
    });
  },
);
