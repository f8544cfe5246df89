import type { ConfigurationChange } from '../../../src/measure/shipped-gateway.ts';
import { type TwoClusters, twoClusters } from '../../../src/measure/two-clusters.ts';
import { addIpv6, PREFIX6 } from './dual-stack.ts';
import { type JoinedClusters, joinClusters } from './gateway-process.ts';

/** Where the gateways are on an underlay of IPv6, and the router between them. */
export const UNDERLAY6 = { a: '2001:db8:0:1::2', b: '2001:db8:0:2::2' };
const ROUTER6 = { a: '2001:db8:0:1::1', b: '2001:db8:0:2::1' };

/** The underlay has IPv6 addresses, and no others. */
export async function moveUnderlay(scene: TwoClusters): Promise<void> {
  const { router } = scene;
  const segments = { a: 'segment1', b: 'segment2' };
  await router.sysctl({ 'net.ipv6.conf.all.forwarding': 1 });
  for (const side of ['a', 'b'] as const) {
    const { machine, device } = scene[side].gateways[0]!;
    await router.sysctl({ [`net.ipv6.conf.${segments[side]}.disable_ipv6`]: 0 });
    await router.ip(
      `addr flush dev ${segments[side]}`,
      `addr add ${ROUTER6[side]}/64 dev ${segments[side]} nodad`,
    );
    await machine.sysctl({ [`net.ipv6.conf.${device}.disable_ipv6`]: 0 });
    await machine.ip(`addr flush dev ${device}`, `addr add ${UNDERLAY6[side]}/64 dev ${device} nodad`);
    await machine.ip(`route add default via ${ROUTER6[side]}`);
  }
}

/** Two dual-stack clusters whose gateways have only IPv6 between them. */
export async function joinOverIpv6(change: ConfigurationChange = {}): Promise<JoinedClusters> {
  const scene = await twoClusters();
  await addIpv6(scene);
  await moveUnderlay(scene);
  return joinClusters(scene, {}, (gateway, local, remote) => {
    const isEast = local.name === 'east';
    const [ours, theirs] = isEast ? [PREFIX6.a, PREFIX6.b] : [PREFIX6.b, PREFIX6.a];
    const gateways = [{ address: isEast ? UNDERLAY6.b : UNDERLAY6.a }];
    gateway.configure(local, remote, {
      cluster: { name: local.name, cidrs: [local.cidr, ours] },
      underlay: { family: 'ipv6' },
      clusters: [{ name: remote.name, cidrs: [remote.cidr, theirs], gateways }],
      ...change,
    });
  });
}
