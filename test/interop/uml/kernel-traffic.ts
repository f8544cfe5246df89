import type { Buffer } from 'node:buffer';
import { type Machine, poll } from '../../../src/measure/topology.ts';
import type { PodMachine } from '../../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from '../../system/topology/agent-commands.ts';
import { IP_HEADER_BYTES, ipv4, PROTOCOL, pattern } from '../../system/topology/packet-builder.ts';
import { Tap } from '../../system/topology/tap.ts';
import type { KernelPeer } from './kernel-peer.ts';

const { EXPERIMENTAL } = PROTOCOL;
const DEADLINE_MS = 20_000;

/** Both directions, as pairs of pods. */
export function ways({ podA, podB }: KernelPeer): readonly [from: PodMachine, to: PodMachine][] {
  return [
    [podA, podB],
    [podB, podA],
  ];
}

export function datagram(
  from: PodMachine,
  to: PodMachine,
  tos: number,
  sizeBytes = 100,
  dontFragment = true,
): Buffer {
  const payload = pattern(1, 1, sizeBytes - IP_HEADER_BYTES);
  const fields = { source: from.address, destination: to.address, protocol: EXPERIMENTAL };
  return ipv4({ ...fields, tos, payload, id: 4711, dontFragment });
}

export async function send(machine: Machine, ...packets: Buffer[]): Promise<void> {
  const agent = await machine.agent(TRAFFIC_AGENT);
  await agent.call('sendPackets', { packets: packets.map((packet) => packet.toString('hex')), gapMs: 0 });
  await agent.close();
}

/** What arrives of a packet, sent until it does. */
export async function arrival(from: PodMachine, to: PodMachine, packet: Buffer): Promise<Buffer> {
  const tap = await Tap.open(to.machine, EXPERIMENTAL);
  const arrived = await poll('the packet', DEADLINE_MS, async () => {
    await send(from.machine, packet);
    return (await tap.packets())[0];
  });
  await tap.close();
  return arrived;
}

/**
 * The router writes CE on what goes to `gateway`, as a router with a queue does. On these packets only, known by the protocol of the inner
 * header, because a gateway's own probes cannot bear a mark and would be counted as dropped, too.
 */
export async function mark(router: Machine, gateway: string | undefined, outerBytes: number): Promise<void> {
  const innerProtocol = (outerBytes + 9) * 8;
  const rule = `meta l4proto ${outerBytes === IP_HEADER_BYTES ? 4 : 17} @nh,${innerProtocol},8 ${EXPERIMENTAL} ip daddr ${gateway} ip ecn set ce`;
  const table = `table ip marks { chain f { type filter hook forward priority 0; ${rule}; }; }`;
  await router.exec('nft', gateway === undefined ? 'delete table ip marks' : table);
}
