import { type Cidr, formatAddress, formatCidr, type IpAddress, isCidr4 } from '../base/address.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Native } from '../io/native.ts';
import type { Netlink } from '../io/netlink.ts';
import type { DeviceAddress, Link } from '../io/netlink-link.ts';
import type { KernelRoute } from '../io/netlink-route.ts';
import { type KernelNotice, NetlinkSubscription, NOTICE_GROUP } from '../io/netlink-subscription.ts';
import { restoreDevice, type TunnelDevice } from './device.ts';
import type { RouteInstaller } from './route-installer.ts';
import type { Doubt } from './segment.ts';
import { checkDirectReversePath, checkForwarding, type HostProblem } from './sysctl.ts';
import type { Underlay } from './underlay.ts';

export interface HostKeeperSetup {
  readonly native: Native;
  readonly netlink: Netlink;
  readonly routes: RouteInstaller;
  readonly device: TunnelDevice;
  /** The present one. */
  readonly underlay: () => Underlay;
  /** Why the host does not tell which underlay it is on, or undefined when it does. */
  readonly underlayProblem: () => string | undefined;
  /** Of our routes: that they come is no news. */
  readonly protocol: number;
  /** Our routes are in a table that every packet is looked up in, so that the kernel can be asked about them. */
  readonly isMainTable: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  /** All problems there are; those that no longer hold are not in the list any more. May throw in the first call. */
  readonly onProblems: (problems: readonly HostProblem[]) => void;
  /** An address of this host came or went. */
  readonly onAddressChange: () => void;
  /** The underlay, or the way to some addresses in it, may be another now. */
  readonly onDoubt: (doubt: Doubt) => void;
  /** Every CHECK_INTERVAL_MS, before the problems are gathered: for what changes without a notice. */
  readonly onLook: () => void;
  /** A device other than ours is there, or changed. */
  readonly onLink: (link: Link) => void;
  /** Somebody removed the TUN device: nothing of it can be used any more. */
  readonly onDeviceLost: () => void;
}

/** Somebody who flushes routes does so one by one, and a link that goes down takes them all: wait for the last. */
export const SETTLE_MS = 100;

/** Settings under /proc/sys send no events: look at them this often. */
export const CHECK_INTERVAL_MS = 10_000;

/** Routes about which the kernel is asked at each look whether they are the ones it uses. */
const ROUTES_ASKED = 32;

/** Keeps the host as forwarding needs it: puts right what somebody changed, and tells what stops packets. */
export class HostKeeper {
  readonly #setup: HostKeeperSetup;
  readonly #subscription: NetlinkSubscription;
  #settling: Timer | undefined;
  #checking: Timer | undefined;
  #stopped = false;

  constructor(setup: HostKeeperSetup) {
    this.#setup = setup;
    const { LINKS, ADDRESSES, ADDRESSES6, ROUTES, ROUTES6 } = NOTICE_GROUP;
    const groups = LINKS | ADDRESSES | ADDRESSES6 | ROUTES | ROUTES6;
    this.#subscription = new NetlinkSubscription(
      setup.native,
      groups,
      (notice) => this.#notice(notice),
      setup.protocol,
    );
    try {
      this.#look();
    } catch (cause) {
      this.stop();
      throw cause;
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#subscription.close();
    this.#settling?.cancel();
    this.#checking?.cancel();
  }

  #notice(notice: KernelNotice): void {
    const { onAddressChange, onDoubt } = this.#setup;
    switch (notice.kind) {
      case 'address':
        onAddressChange();
        this.#settle();
        if (this.#concernsUnderlay(notice.address)) onDoubt('everything');
        return;
      case 'link':
        this.#noticeLink(notice.link, notice.isRemoved);
        return;
      case 'route':
        this.#noticeRoute(notice.route);
        return;
      case 'resync':
        onAddressChange();
        this.#settle();
        onDoubt('everything');
    }
  }

  #concernsUnderlay({ deviceIndex, address }: DeviceAddress): boolean {
    const { underlay, underlayProblem } = this.#setup;
    const present = underlay();
    return (
      deviceIndex === present.deviceIndex || address === present.address || underlayProblem() !== undefined
    );
  }

  #noticeLink(link: Link, isRemoved: boolean): void {
    const { device, underlay, onLink, onDeviceLost, onDoubt } = this.#setup;
    if (link.index === device.index) {
      if (!isRemoved) this.#settle();
      else {
        this.stop();
        onDeviceLost();
      }
      return;
    }
    // The kernel takes the routes of a device that goes down without a notice for each.
    if (link.index === underlay().deviceIndex) onDoubt('everything');
    if (!isRemoved) onLink(link);
  }

  /** Of new routes only those that are not ours arrive here. */
  #noticeRoute(route: KernelRoute): void {
    const { routes, device, protocol, onDoubt } = this.#setup;
    // What we remove ourselves is no longer wanted by the time the notice arrives.
    if (routes.isMissed(route)) this.#settle();
    else if (route.protocol !== protocol && route.deviceIndex !== device.index) onDoubt([route.cidr]);
  }

  /** Puts device and routes right, once nothing happened for a moment, and looks at everything else too. */
  #settle(): void {
    const { clock, netlink, device, routes, logger } = this.#setup;
    if (this.#settling !== undefined || this.#stopped) return;
    this.#settling = clock.after(SETTLE_MS, () => {
      this.#settling = undefined;
      try {
        if (restoreDevice(netlink, device)) {
          logger.warn(
            { device: device.name },
            'the device was not as wanted (down, MTU or address); put right',
          );
        }
        const changed = routes.reconcile();
        if (changed > 0) logger.warn({ routes: changed }, 'kernel routes were not as wanted; put right');
      } catch (thrown) {
        logger.error(
          { device: device.name, reason: messageOf(thrown) },
          'device and routes cannot be put right',
        );
      }
      this.#look();
    });
  }

  #look(): void {
    const { onProblems, onLook, clock } = this.#setup;
    this.#checking?.cancel();
    onLook();
    onProblems(this.#problems());
    if (!this.#stopped) this.#checking = clock.after(CHECK_INTERVAL_MS, () => this.#look());
  }

  #problems(): HostProblem[] {
    const { device, routes, underlay, isMainTable } = this.#setup;
    const problems = [...device.problems, ...checkForwarding(device.name, routes.hasIpv6)];
    const mixed = routes.direct.mixed;
    problems.push(
      ...checkDirectReversePath(underlay().deviceName, mixed === undefined ? undefined : formatCidr(mixed)),
    );
    try {
      problems.push(...this.#missingUnderlay());
      if (isMainTable) problems.push(...this.#bypassedRoutes());
    } catch (thrown) {
      problems.push({
        setting: 'netlink',
        message: `the host cannot be looked at: ${messageOf(thrown)}`,
        isFatal: false,
      });
    }
    if (routes.isHopeless) {
      problems.push({
        setting: 'routes',
        message: 'the kernel took none of our routes: no packet reaches the tunnel',
        isFatal: true,
      });
    }
    if (routes.direct.problem !== undefined)
      problems.push({ setting: 'tunnel.mode', message: routes.direct.problem, isFatal: false });
    return problems;
  }

  #missingUnderlay(): HostProblem[] {
    const { netlink, underlay, underlayProblem } = this.#setup;
    const { address } = underlay();
    if (netlink.addresses().some((entry) => entry.address === address)) return [];
    const why = underlayProblem();
    const hint = why === undefined ? '' : ` (${why})`;
    const message = `the underlay address ${formatAddress(address)} is no longer on this host: nothing is sent or received until it is back, or, where underlay.address is auto, until a route shows another one${hint}`;
    return [{ setting: 'underlay.address', message, isFatal: true }];
  }

  /** A route of somebody else that wins over ours leads packets past the tunnel, in clear. */
  #bypassedRoutes(): HostProblem[] {
    const { netlink, routes } = this.#setup;
    for (const cidr of routes.sample(ROUTES_ASKED)) {
      const asked = firstHost(cidr);
      const answer = netlink.routeTo(asked);
      if (answer === undefined || routes.isOurWay(answer)) continue;
      const message = `packets for ${formatAddress(asked)} (in ${formatCidr(cidr)}) do not take our route but a more preferred one, past the tunnel; see: ip ${isCidr4(cidr) ? '' : '-6 '}route get ${formatAddress(asked)}`;
      return [{ setting: 'routes', message, isFatal: false }];
    }
    return [];
  }
}

function firstHost(cidr: Cidr): IpAddress {
  if (isCidr4(cidr)) return cidr.prefixLength >= 31 ? cidr.address : cidr.address + 1;
  return cidr.prefixLength >= 127 ? cidr.address : cidr.address + 1n;
}
