import { release } from 'node:os';
import { type Cidr, isCidr4 } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Config } from '../config/schema.ts';
import type { Native } from '../io/native.ts';
import type { Netlink } from '../io/netlink.ts';
import { NetlinkSubscription, NOTICE_GROUP } from '../io/netlink-subscription.ts';
import type { LocalCidr } from '../table/route.ts';
import { NatRules } from './nat.ts';
import { readDeviceFacts } from './nat-devices.ts';
import { runNft } from './nat-program.ts';
import type { NatWish } from './nat-table.ts';

export interface ServiceNatParts {
  readonly native: Native;
  readonly netlink: Netlink;
  /** The TUN device. */
  readonly device: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onProblem: (problem: string | undefined) => void;
}

/** The NAT rules of this host. */
export function openServiceNat(parts: ServiceNatParts): NatRules {
  const { native, netlink, device, clock, logger, onProblem } = parts;
  return new NatRules({
    ...{ device, clock, logger, onProblem },
    program: runNft,
    kernel: release(),
    facts: (underlay) => readDeviceFacts(netlink, device, underlay),
    watchLinks: (changed) => new NetlinkSubscription(native, NOTICE_GROUP.LINKS, changed),
  });
}

/** What the rules have to be, of the configuration and of what was learned. `local` is all of it without overlaps. The rules are for IPv4. */
export function natWish(
  config: Config,
  underlayDevice: string,
  learned: readonly LocalCidr[],
  local: readonly Cidr[],
): NatWish {
  const { cidrs, masquerade, keepSource } = config.services;
  const services = learned
    .filter(({ use }) => use === 'services')
    .map(({ cidr }) => cidr)
    .filter(isCidr4);
  return {
    masquerade,
    keepSource,
    services: [...cidrs, ...services],
    local: local.filter(isCidr4),
    underlayDevice,
  };
}
