import type { Clock, Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Native } from '../io/native.ts';
import { type KernelNotice, NetlinkSubscription, NOTICE_GROUP } from '../io/netlink-subscription.ts';
import type { RouteInstaller } from './route-installer.ts';
import { checkForwarding, type HostProblem } from './sysctl.ts';

export interface HostKeeperSetup {
  readonly native: Native;
  readonly routes: RouteInstaller;
  readonly deviceName: string;
  readonly deviceIndex: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** All problems there are; those that no longer hold are not in the list any more. */
  readonly onProblems: (problems: readonly HostProblem[]) => void;
  /** An address of this host came or went. */
  readonly onAddressChange: () => void;
}

/** Somebody who flushes routes does so one by one, and a link that goes down takes them all: wait for the last. */
export const SETTLE_MS = 100;

/** Settings under /proc/sys send no events: look at them this often. */
export const CHECK_INTERVAL_MS = 10_000;

/** Keeps the host as forwarding needs it: puts back routes that somebody removed, and tells when a setting stops packets. */
export class HostKeeper {
  readonly #setup: HostKeeperSetup;
  readonly #subscription: NetlinkSubscription;
  #settling: Timer | undefined;
  #checking: Timer | undefined;
  #stopped = false;

  constructor(setup: HostKeeperSetup) {
    this.#setup = setup;
    const groups = NOTICE_GROUP.LINKS | NOTICE_GROUP.ADDRESSES | NOTICE_GROUP.ROUTES;
    this.#subscription = new NetlinkSubscription(
      setup.native,
      groups,
      (notice) => this.#notice(notice),
      'removed',
    );
    try {
      this.#check();
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
    const { routes, deviceIndex, onAddressChange } = this.#setup;
    switch (notice.kind) {
      case 'address':
        onAddressChange();
        return;
      case 'link':
        if (notice.link.index === deviceIndex && !notice.isRemoved) this.#settle();
        return;
      case 'route':
        // What we remove ourselves is no longer wanted by the time the notice arrives.
        if (
          notice.isRemoved &&
          notice.route.deviceIndex === deviceIndex &&
          routes.isWanted(notice.route.cidr)
        ) {
          this.#settle();
        }
        return;
      case 'resync':
        onAddressChange();
        this.#settle();
    }
  }

  #check(): void {
    const { deviceName, onProblems, clock } = this.#setup;
    onProblems(checkForwarding(deviceName));
    if (!this.#stopped) this.#checking = clock.after(CHECK_INTERVAL_MS, () => this.#check());
  }

  #settle(): void {
    const { clock, routes, logger, deviceName } = this.#setup;
    if (this.#settling !== undefined || this.#stopped) return;
    this.#settling = clock.after(SETTLE_MS, () => {
      this.#settling = undefined;
      try {
        const changed = routes.reconcile();
        if (changed > 0)
          logger.warn({ device: deviceName, routes: changed }, 'kernel routes were not as wanted; put right');
      } catch (thrown) {
        logger.error({ device: deviceName, reason: messageOf(thrown) }, 'kernel routes cannot be checked');
      }
    });
  }
}
