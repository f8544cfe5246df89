import type { ConfigurationChange } from '../../../src/measure/shipped-gateway.ts';
import { type Machine, Topology } from '../../../src/measure/topology.ts';
import type { ClusterMachines, PodMachine } from '../../../src/measure/two-clusters.ts';
import { GatewayProcess } from '../../system/topology/gateway-process.ts';
import { UmlGuest } from './guest.ts';

/**
 * A cluster behind Isthmus, and one behind a kernel's ipip device:
 *
 *   podA ── gwA (Isthmus) ──── router ──── guest (kernel ipip) ── podB
 *   10.1.1.2  172.31.1.2       .1    .1    172.31.2.2             10.2.1.2
 */
export interface KernelPeer {
  readonly topology: Topology;
  readonly podA: PodMachine;
  readonly podB: PodMachine;
  readonly router: Machine;
  readonly guest: UmlGuest;
  readonly gwA: GatewayProcess;
}

export const GATEWAY_A = '172.31.1.2';
export const GATEWAY_B = '172.31.2.2';

/** Device of the guest towards the router's network; the router's own towards both sides. */
export const ROUTER_TO_A = 'to-a';
export const ROUTER_TO_B = 'to-b';

/** One tunnel device with both ends given, as a person sets it up by hand. */
export const POINT_TO_POINT = `
ip tunnel add tun1 mode ipip local ${GATEWAY_B} remote ${GATEWAY_A} ttl 64
ip link set tun1 up mtu 1480
ip route add 10.1.0.0/16 dev tun1`;

/** The one device for every peer, the far end in the route: how Calico uses it. */
export const ANY_TO_ANY = `
ip link set tunl0 up mtu 1480
ip addr add 10.2.0.1/32 dev tunl0
ip route add 10.1.0.0/16 via ${GATEWAY_A} dev tunl0 onlink`;

/** The same by a route that carries the encapsulation, on a device in collect-metadata mode. */
export const EXTERNAL = `
ip link add ipext type ipip external
ip link set ipext up mtu 1480
ip route add 10.1.0.0/16 encap ip id 0 src ${GATEWAY_B} dst ${GATEWAY_A} ttl 64 dev ipext`;

/**
 * IPIP in UDP. Debian builds this kernel without CONFIG_NET_FOU_IP_TUNNELS, so its fou only takes packets in; what it sends goes through socat,
 * which puts each packet of a TUN device into a datagram as it is. Its datagrams have checksums.
 */
export const FOU = `
modprobe -a fou tun || exit 1
ip fou add port 5556 ipproto 4 || exit 1
ip link add tun1 type ipip local ${GATEWAY_B} remote ${GATEWAY_A} ttl 64
ip link set tun1 up mtu 1472
socat -u TUN,tun-name=back0,iff-no-pi,iff-up UDP4-DATAGRAM:${GATEWAY_A}:5555,bind=${GATEWAY_B}:50123 > /dev/null 2>&1 &
n=0; until ip link set back0 mtu 1472 2> /dev/null; do n=$((n + 1)); [ $n -lt 100 ] || exit 1; sleep 0.05; done
ip route add 10.1.0.0/16 dev back0`;

/** IPv6 in IPv4, RFC 4213: the kernel's sit. */
export const SIT = `
modprobe sit || exit 1
echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip tunnel add sit1 mode sit local ${GATEWAY_B} remote ${GATEWAY_A} ttl 64
ip link set sit1 up mtu 1480
ip -6 addr add fd00:2:0:1::1/64 dev vec1 nodad
ip -6 route add fd00:1::/48 dev sit1`;

/** Ends of the tunnel where the underlay is of IPv6 too. */
export const GATEWAY6_A = '2001:db8:0:1::2';
export const GATEWAY6_B = '2001:db8:0:2::2';

/** IPv4 and IPv6 in IPv6, RFC 2473: the kernel's ip6tnl, with the encapsulation limit that it puts before all packets. */
export const IP6TNL = `
modprobe ip6_tunnel || exit 1
echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip -6 addr add ${GATEWAY6_B}/64 dev vec0 nodad
ip -6 route add default via 2001:db8:0:2::1
ip -6 tunnel add tun6 mode any local ${GATEWAY6_B} remote ${GATEWAY6_A} encaplimit 4 hoplimit 64
ip link set tun6 up mtu 1452
ip -6 addr add fd00:2:0:1::1/64 dev vec1 nodad
ip -6 route add fd00:1::/48 dev tun6
ip route add 10.1.0.0/16 dev tun6`;

/** Of the machines that stand, before the gateway starts. */
type Prepare = (machines: { readonly gateway: Machine; readonly router: Machine }) => Promise<void>;

export async function kernelPeer(
  tunnel: string,
  change: ConfigurationChange = {},
  prepare: Prepare = async () => {},
): Promise<KernelPeer> {
  const topology = new Topology();
  try {
    return await build(topology, tunnel, change, prepare);
  } catch (error) {
    const logs = topology.logs();
    await topology.close();
    throw new Error(`${(error as Error).message}\n${logs}`);
  }
}

async function build(
  topology: Topology,
  tunnel: string,
  change: ConfigurationChange,
  prepare: Prepare,
): Promise<KernelPeer> {
  const [podA, gateway, router, podB] = [
    await topology.machine('podA'),
    await topology.machine('gwA'),
    await topology.machine('router'),
    await topology.machine('podB'),
  ];
  await topology.cable(
    { machine: podA, device: 'eth0', addresses: ['10.1.1.2/24'] },
    { machine: gateway, device: 'pod1', addresses: ['10.1.1.1/24'] },
  );
  await topology.cable(
    { machine: gateway, device: 'under0', addresses: [`${GATEWAY_A}/24`] },
    { machine: router, device: ROUTER_TO_A, addresses: ['172.31.1.1/24'] },
  );
  const guest = await UmlGuest.boot(topology, 'guest', [
    { machine: router, device: ROUTER_TO_B },
    { machine: podB, device: 'eth0' },
  ]);
  await podA.ip('route add default via 10.1.1.1');
  await gateway.ip('route add default via 172.31.1.1');
  await router.ip(`addr add 172.31.2.1/24 dev ${ROUTER_TO_B}`, `link set ${ROUTER_TO_B} up`);
  await podB.ip('addr add 10.2.1.2/24 dev eth0', 'link set eth0 up', 'route add default via 10.2.1.1');
  for (const machine of [gateway, router]) await machine.sysctl({ 'net.ipv4.ip_forward': 1 });
  await prepare({ gateway, router });
  await guest.shell(`
modprobe ipip || exit 1
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 0 > /proc/sys/net/ipv4/icmp_ratelimit
for f in all default; do echo 0 > /proc/sys/net/ipv4/conf/$f/rp_filter; done
ip addr add ${GATEWAY_B}/24 dev vec0
ip addr add 10.2.1.1/24 dev vec1
ip link set vec0 up
ip link set vec1 up
ip route add default via 172.31.2.1
${tunnel}`);
  const a: ClusterMachines = {
    ...{ name: 'east', cidr: '10.1.0.0/16', pods: [{ machine: podA, address: '10.1.1.2' }] },
    gateways: [{ machine: gateway, address: GATEWAY_A, device: 'under0' }],
  };
  const b: ClusterMachines = {
    ...{ name: 'west', cidr: '10.2.0.0/16', pods: [{ machine: podB, address: '10.2.1.2' }] },
    gateways: [{ machine: router, address: GATEWAY_B, device: ROUTER_TO_B }],
  };
  const gwA = new GatewayProcess(topology, a.gateways[0]!);
  gwA.configure(a, b, change);
  gwA.start();
  await gwA.ready();
  return { topology, podA: a.pods[0]!, podB: b.pods[0]!, router, guest, gwA };
}
