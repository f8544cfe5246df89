import type { Address } from '../base/address.ts';
import type { Config } from '../config/schema.ts';
import type { FibSettings } from '../fib/fib.ts';

/** IPv4's largest packet: a loopback device has a larger MTU than that. */
const LINK_MTU_MAX = 65_535;

/** What the packet path has to know of the configuration, as the FIB image carries it. */
export function fibSettings(config: Config, source: Address, linkMtuBytes: number): FibSettings {
  const { tunnel, security } = config;
  return {
    source,
    tunnelAddress: tunnel.address ?? 0,
    linkMtuBytes: Math.min(linkMtuBytes, LINK_MTU_MAX),
    ...(tunnel.mtu === 'auto' ? {} : { deviceMtuBytes: tunnel.mtu }),
    ttl: tunnel.ttl,
    dscp: tunnel.dscp,
    ecn: tunnel.ecn,
    clampMss: tunnel.clampMss,
    fragment: tunnel.fragment,
    innerSource: security.innerSource,
    allowedSources: security.decapsulateFrom,
    transit: security.transit,
  };
}
