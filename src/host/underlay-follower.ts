import { cidrHolds, formatAddress, type IpAddress } from '../base/address.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Netlink } from '../io/netlink.ts';
import { OWN_ADDRESSES_MAX } from '../io/worker-share.ts';
import type { Doubt } from './segment.ts';
import { askedOf, findUnderlay, type Underlay, type UnderlayWish } from './underlay.ts';

/** How long packets to an address that was ours are taken, so that peers have time to learn the new one. */
export const ADDRESS_GRACE_MS = 30_000;

export interface UnderlayFollowerSetup {
  readonly netlink: Netlink;
  readonly clock: Clock;
  /** What is configured; asked anew each time. */
  readonly wish: () => UnderlayWish;
  readonly graceMs: number;
  /** What `accepted` holds is another set now. */
  readonly onAccepted: () => void;
}

export interface UnderlayChange {
  readonly from: Underlay;
  readonly to: Underlay;
}

/**
 * Which underlay we are on, now and a little while ago. While the host does not tell (its address is gone, the new one not yet there), what
 * was found last stays in force.
 */
export class UnderlayFollower {
  readonly #setup: UnderlayFollowerSetup;
  /** Addresses that were ours, oldest first, with the end of their grace. */
  readonly #former = new Map<IpAddress, Timer>();
  #current: Underlay;
  #problem: string | undefined;

  /** Throws ISTHMUS_ERR_KERNEL where there is no underlay to begin with. */
  constructor(setup: UnderlayFollowerSetup) {
    this.#setup = setup;
    this.#current = findUnderlay(setup.netlink, setup.wish());
  }

  get current(): Underlay {
    return this.#current;
  }

  /** Why the host no longer tells which underlay it is on, or undefined when it does. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Destinations whose packets are ours: the present address first, then those within their grace. At most OWN_ADDRESSES_MAX. */
  get accepted(): readonly IpAddress[] {
    return [this.#current.address, ...this.#former.keys()];
  }

  /** Whether `check` could find something else after such a change of the host's routes. */
  concerns(doubt: Doubt): boolean {
    if (doubt === 'everything') return true;
    const wish = this.#setup.wish();
    if (wish.address !== 'auto') return false;
    return askedOf(wish).some((asked) => doubt.some((cidr) => cidrHolds(cidr, asked)));
  }

  /** Looks again. Returns what changed, or undefined. Throws nothing. */
  check(): UnderlayChange | undefined {
    const { netlink, wish } = this.#setup;
    const from = this.#current;
    let to: Underlay;
    try {
      to = findUnderlay(netlink, wish());
    } catch (thrown) {
      this.#problem = messageOf(thrown);
      return undefined;
    }
    this.#problem = undefined;
    if (isSame(from, to)) return undefined;
    this.#current = to;
    if (to.address !== from.address) this.#exchange(from.address, to.address);
    return { from, to };
  }

  stop(): void {
    for (const timer of this.#former.values()) timer.cancel();
    this.#former.clear();
  }

  #exchange(former: IpAddress, present: IpAddress): void {
    this.#forget(present);
    if (this.#setup.graceMs <= 0) return;
    const [oldest] = this.#former.keys();
    if (this.#former.size >= OWN_ADDRESSES_MAX - 1 && oldest !== undefined) this.#forget(oldest);
    const end = this.#setup.clock.after(this.#setup.graceMs, () => {
      this.#former.delete(former);
      this.#setup.onAccepted();
    });
    this.#former.set(former, end);
  }

  #forget(address: IpAddress): void {
    this.#former.get(address)?.cancel();
    this.#former.delete(address);
  }
}

/** For the log. */
export function describeChange({ from, to }: UnderlayChange): string {
  const was = `${formatAddress(from.address)} on ${from.deviceName}, MTU ${from.mtuBytes}`;
  return `the underlay is another now: ${formatAddress(to.address)} on ${to.deviceName}, MTU ${to.mtuBytes} (was ${was})`;
}

function isSame(one: Underlay, other: Underlay): boolean {
  return (
    one.address === other.address &&
    one.deviceIndex === other.deviceIndex &&
    one.deviceName === other.deviceName &&
    one.mtuBytes === other.mtuBytes
  );
}
