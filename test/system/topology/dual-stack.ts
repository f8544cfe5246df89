import { type Machine, poll } from '../../../src/measure/topology.ts';
import type { TwoClusters } from '../../../src/measure/two-clusters.ts';

/**
 * Two dual-stack clusters:
 *
 *   podA ───────── gwA ──── router ──── gwB ───────── podB
 *   fd00:1:0:1::2  ::1                  ::1  fd00:2:0:1::2
 */
const SOON_MS = 10_000;
export const PREFIX6 = { a: 'fd00:1::/48', b: 'fd00:2::/48' };
export const POD6 = { a: 'fd00:1:0:1::2', b: 'fd00:2:0:1::2' };
const GATEWAY_OF_POD = { a: 'fd00:1:0:1::1', b: 'fd00:2:0:1::1' };

export async function addIpv6(scene: TwoClusters): Promise<void> {
  for (const side of ['a', 'b'] as const) {
    const [pod, gateway] = [scene[side].pods[0]!.machine, scene[side].gateways[0]!.machine];
    await gateway.sysctl({ 'net.ipv6.conf.all.forwarding': 1, 'net.ipv6.conf.pod1.disable_ipv6': 0 });
    await pod.sysctl({ 'net.ipv6.conf.eth0.disable_ipv6': 0 });
    // Without duplicate address detection, which would take a second.
    await pod.ip(`addr add ${POD6[side]}/64 dev eth0 nodad`);
    await gateway.ip(`addr add ${GATEWAY_OF_POD[side]}/64 dev pod1 nodad`);
    await pod.ip(`route add default via ${GATEWAY_OF_POD[side]}`);
  }
}

/** Pings one after the other, and returns how many were answered. */
export async function pings6(
  from: Machine,
  to: string,
  count: number,
  ...options: string[]
): Promise<number> {
  const text = await from.exec('ping', '-6', '-c', `${count}`, '-i', '0.01', '-W', '2', ...options, to);
  return Number(/(\d+) received/.exec(text)?.[1]);
}

/** TCP for a second, and bytes that arrived. */
export async function transfer6(scene: TwoClusters, from: 'a' | 'b', ...options: string[]): Promise<number> {
  const to = from === 'a' ? 'b' : 'a';
  const [client, server] = [scene[from].pods[0]!.machine, scene[to].pods[0]!.machine];
  const serving = server.exec('iperf3', '-6', '-s', '-1', '-p', '5201');
  await poll('iperf3 listens', SOON_MS, async () => (await server.exec('ss', '-6ltn')).includes(':5201'), 20);
  const text = await client.exec('iperf3', '-6', '-c', POD6[to], '-p', '5201', '-t', '1', '-J', ...options);
  await serving;
  return JSON.parse(text).end.sum_received?.bytes ?? JSON.parse(text).end.sum.bytes;
}
