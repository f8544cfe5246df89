import type { IpAddress } from '../base/address.ts';
import type { Config } from '../config/schema.ts';
import { underlayFamily } from '../config/underlay-family.ts';
import type { FibSettings } from '../fib/fib.ts';
import type { UnderlayProtocol } from '../io/underlay-protocol.ts';
import { FOU_ENCAPSULATION_BYTES } from '../packet/fou.ts';
import { IPIP_ENCAPSULATION_BYTES } from '../packet/ipip.ts';
import { IPIP6_ENCAPSULATION_BYTES } from '../packet/ipip6.ts';

/** IPv4's largest packet: a loopback device has a larger MTU than that. */
const LINK_MTU_MAX = 65_535;

/** What encapsulation adds to a packet. */
export function encapsulationBytes(config: Config): number {
  if (underlayFamily(config) === 'ipv6') return IPIP6_ENCAPSULATION_BYTES;
  return config.tunnel.encapsulation === 'ipip' ? IPIP_ENCAPSULATION_BYTES : FOU_ENCAPSULATION_BYTES;
}

/** What the underlay sockets take. */
export function underlayProtocol({ tunnel }: Config): UnderlayProtocol {
  return tunnel.encapsulation === 'ipip' ? 'ipip' : { udpPort: tunnel.fouPort };
}

/**
 * What the packet path has to know of the configuration, as the FIB image carries it. `localMtuBytes` is the smallest MTU on the way to
 * local hosts: merged TCP is cut to that, because the size of the segments it was made of cannot be seen.
 */
export function fibSettings(
  config: Config,
  source: IpAddress,
  linkMtuBytes: number,
  localMtuBytes: number,
): FibSettings {
  const { tunnel, security, health } = config;
  const deviceMtuBytes = tunnel.mtu === 'auto' ? linkMtuBytes - encapsulationBytes(config) : tunnel.mtu;
  return {
    source,
    tunnelAddress: tunnel.address ?? 0,
    linkMtuBytes: Math.min(linkMtuBytes, LINK_MTU_MAX),
    deviceMtuBytes: Math.min(deviceMtuBytes, localMtuBytes),
    ttl: tunnel.ttl,
    dscp: tunnel.dscp,
    ecn: tunnel.ecn,
    clampMss: tunnel.clampMss,
    fragment: tunnel.fragment,
    innerSource: security.innerSource,
    allowedSources: security.decapsulateFrom,
    transit: security.transit,
    udp:
      tunnel.encapsulation === 'ipip'
        ? undefined
        : {
            port: tunnel.fouPort,
            peerPorts: new Map(tunnel.fouPeers.map(({ address, port }) => [address, port])),
          },
    failOpen: health.allDead === 'fail-open',
  };
}
