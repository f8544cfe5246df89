import { type Address, formatAddress, formatCidr } from '../base/address.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Native } from '../io/native.ts';
import type { Netlink } from '../io/netlink.ts';
import type { Link } from '../io/netlink-link.ts';
import { type KernelNotice, NetlinkSubscription, NOTICE_GROUP } from '../io/netlink-subscription.ts';
import { restoreDevice, type TunnelDevice } from './device.ts';
import type { RouteInstaller } from './route-installer.ts';
import { checkForwarding, type HostProblem } from './sysctl.ts';
import type { Underlay } from './underlay.ts';

export interface HostKeeperSetup {
  readonly native: Native;
  readonly netlink: Netlink;
  readonly routes: RouteInstaller;
  readonly device: TunnelDevice;
  readonly underlay: Underlay;
  /** Our routes are in a table that every packet is looked up in, so that the kernel can be asked about them. */
  readonly isMainTable: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  /** All problems there are; those that no longer hold are not in the list any more. May throw in the first call. */
  readonly onProblems: (problems: readonly HostProblem[]) => void;
  /** An address of this host came or went. */
  readonly onAddressChange: () => void;
  /** The MTU of the underlay device is another now. */
  readonly onUnderlayMtu: (mtuBytes: number) => void;
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
  #underlayMtuBytes: number;
  #settling: Timer | undefined;
  #checking: Timer | undefined;
  #stopped = false;

  constructor(setup: HostKeeperSetup) {
    this.#setup = setup;
    this.#underlayMtuBytes = setup.underlay.mtuBytes;
    const groups = NOTICE_GROUP.LINKS | NOTICE_GROUP.ADDRESSES | NOTICE_GROUP.ROUTES;
    this.#subscription = new NetlinkSubscription(
      setup.native,
      groups,
      (notice) => this.#notice(notice),
      'removed',
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
    const { routes, device, underlay, onAddressChange, onLink, onDeviceLost } = this.#setup;
    switch (notice.kind) {
      case 'address':
        onAddressChange();
        this.#settle();
        return;
      case 'link':
        if (notice.link.index === device.index) {
          if (!notice.isRemoved) this.#settle();
          else {
            this.stop();
            onDeviceLost();
          }
        } else if (!notice.isRemoved) {
          if (notice.link.index === underlay.deviceIndex) this.#underlayLink(notice.link.mtuBytes);
          onLink(notice.link);
        }
        return;
      case 'route':
        // What we remove ourselves is no longer wanted by the time the notice arrives.
        if (notice.route.deviceIndex === device.index && routes.isWanted(notice.route.cidr)) this.#settle();
        return;
      case 'resync':
        onAddressChange();
        this.#settle();
    }
  }

  #underlayLink(mtuBytes: number): void {
    if (mtuBytes === this.#underlayMtuBytes) return;
    this.#underlayMtuBytes = mtuBytes;
    this.#setup.onUnderlayMtu(mtuBytes);
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
    const { onProblems, clock } = this.#setup;
    this.#checking?.cancel();
    onProblems(this.#problems());
    if (!this.#stopped) this.#checking = clock.after(CHECK_INTERVAL_MS, () => this.#look());
  }

  #problems(): HostProblem[] {
    const { device, routes, isMainTable } = this.#setup;
    const problems = [...device.problems, ...checkForwarding(device.name)];
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
    return problems;
  }

  #missingUnderlay(): HostProblem[] {
    const { netlink, underlay } = this.#setup;
    if (netlink.addresses().some(({ address }) => address === underlay.address)) return [];
    const message = `the underlay address ${formatAddress(underlay.address)} is no longer on this host: nothing is sent or received; give it back, or restart with another underlay.address`;
    return [{ setting: 'underlay.address', message, isFatal: true }];
  }

  /** A route of somebody else that wins over ours leads packets past the tunnel, in clear. */
  #bypassedRoutes(): HostProblem[] {
    const { netlink, routes, device } = this.#setup;
    for (const cidr of routes.sample(ROUTES_ASKED)) {
      const asked: Address = cidr.prefixLength >= 31 ? cidr.address : cidr.address + 1;
      const answer = netlink.routeTo(asked);
      if (answer === undefined || answer.deviceIndex === device.index) continue;
      const message = `packets for ${formatAddress(asked)} (in ${formatCidr(cidr)}) do not take our route but a more preferred one, past the tunnel; see: ip route get ${formatAddress(asked)}`;
      return [{ setting: 'routes', message, isFatal: false }];
    }
    return [];
  }
}
