import { type Address, type Cidr, cidrHolds, type IpAddress } from '../base/address.ts';
import type { Netlink } from '../io/netlink.ts';
import { BEHIND_DEFAULT_ROUTE, type Underlay } from './underlay.ts';

/** Gateways whose answers are kept: as many as the FIB image has peers. Those beyond are taken for far away, and reached by the tunnel. */
export const SEGMENT_GATEWAYS_MAX = 65_536;

/**
 * Gateways that are taken for near. The kernel looks for an equal next hop among all of the device one after the other (fib_find_info of
 * net/ipv4/fib_semantics.c): routes to 4,096 of them go in within 0.3 s, to 30,000 in 11 s. No segment has as many.
 */
export const NEAR_GATEWAYS_MAX = 4096;

/** What may have changed: everything about the underlay device, or only the ways to the addresses in these prefixes. */
export type Doubt = 'everything' | readonly Cidr[];

/**
 * Which gateways are on the underlay device's own segment: the kernel sends to them without a next hop. The kernel is asked rather than
 * our address with its prefix length, because routes and rules decide, and an administrator may have said otherwise. Answers are kept,
 * since a cluster has thousands of routes by the same gateways.
 */
export class Segment {
  readonly #netlink: Netlink;
  readonly #answers = new Map<Address, boolean>();
  #deviceIndex: number;
  #isShared = false;
  #near = 0;
  /** Where the next part of `reviewSome` begins. */
  #cursor = 0;

  /** Asks nothing before the first question. Throws IoError. */
  constructor(netlink: Netlink, underlay: Underlay) {
    this.#netlink = netlink;
    this.#deviceIndex = underlay.deviceIndex;
    this.#isShared = this.#askDevice();
  }

  get deviceIndex(): number {
    return this.#deviceIndex;
  }

  isOnLink(gateway: Address): boolean {
    const known = this.#answers.get(gateway);
    if (known !== undefined) return known;
    if (this.#answers.size >= SEGMENT_GATEWAYS_MAX) return false;
    return this.#renew(gateway);
  }

  /** The underlay is on another device now: every answer is void. */
  moveTo(underlay: Underlay): void {
    if (underlay.deviceIndex === this.#deviceIndex) return;
    this.#deviceIndex = underlay.deviceIndex;
    this.#isShared = this.#askDevice();
    this.#answers.clear();
    this.#near = 0;
  }

  /** Asks again about what may have changed. Returns whether any answer is another one now. */
  review(doubt: Doubt): boolean {
    if (doubt === 'everything') this.#isShared = this.#askDevice();
    let hasChanged = false;
    for (const [gateway, before] of this.#answers) {
      if (doubt !== 'everything' && !doubt.some((cidr) => cidrHolds(cidr, gateway))) continue;
      if (this.#renew(gateway) !== before) hasChanged = true;
    }
    return hasChanged;
  }

  /** Asks again about the next `count` gateways: routing rules change without a notice that we hear. */
  reviewSome(count: number): boolean {
    const gateways = [...this.#answers.keys()];
    const some = gateways.slice(this.#cursor, this.#cursor + count);
    this.#cursor = this.#cursor + count >= gateways.length ? 0 : this.#cursor + count;
    let hasChanged = false;
    for (const gateway of some) {
      const before = this.#answers.get(gateway);
      if (this.#renew(gateway) !== before) hasChanged = true;
    }
    return hasChanged;
  }

  /** Forgets the gateways that no route has any more. */
  keepOnly(used: ReadonlySet<Address>): void {
    for (const [gateway, isNear] of this.#answers) {
      if (used.has(gateway)) continue;
      this.#answers.delete(gateway);
      if (isNear) this.#near -= 1;
    }
  }

  get size(): number {
    return this.#answers.size;
  }

  #renew(gateway: Address): boolean {
    if (this.#answers.get(gateway) === true) this.#near -= 1;
    const isNear = this.#isShared && this.#near < NEAR_GATEWAYS_MAX && this.#isWithoutNextHop(gateway);
    if (isNear) this.#near += 1;
    this.#answers.set(gateway, isNear);
    return isNear;
  }

  #isWithoutNextHop(address: IpAddress): boolean {
    const answer = this.#netlink.routeTo(address);
    if (answer === undefined || answer.isLocal) return false;
    return answer.deviceIndex === this.#deviceIndex && answer.gateway === undefined;
  }

  /**
   * A point-to-point link has no next hops at all, and behind a default route without one a router answers ARP for the whole world:
   * there, "without a next hop" says nothing about who is near.
   */
  #askDevice(): boolean {
    const link = this.#netlink.links().find((candidate) => candidate.index === this.#deviceIndex);
    if (link === undefined || !link.isShared || !link.isUp) return false;
    return !this.#isWithoutNextHop(BEHIND_DEFAULT_ROUTE.ipv4);
  }
}
