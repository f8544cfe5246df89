import type { Cidr } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import type { Fib } from '../fib/fib.ts';
import type { ForwardedRoute, RouteChanges } from '../table/route.ts';
import type { Table } from '../table/table.ts';

/** What has to happen to the host's routes for the same change. */
export interface HostRoutes {
  /**
   * New routes, and known ones with other gateways. Before the packet path knows the new ones, nothing may be led to it; after it forgot the
   * old ones, nothing may still be.
   */
  add(routes: readonly ForwardedRoute[]): void;
  remove(cidrs: readonly Cidr[]): void;
}

/**
 * Carries what the table decided to the packet path and to the host's routes, in the order in which no packet falls between: a new
 * prefix is in the FIB image before the kernel leads packets to it, an old one leaves the kernel's table first. Our own CIDRs change before
 * the routes do: an address that becomes ours is never sent away by an old route, and one that passes to another cluster was free before.
 */
export class Publisher {
  readonly #table: Table;
  readonly #fib: Fib;
  readonly #hostRoutes: HostRoutes;
  readonly #clock: Clock;
  /** Of what is ours it is told all that has not been published before, also where an earlier publication took it and failed. */
  readonly #onPublished: (durationMs: number, changes: RouteChanges) => void;
  #lastPublishMs = 0;
  /** A change did not fit: what the packet path has is older than the table, and the next publication carries everything. */
  #behind = false;

  constructor(
    table: Table,
    fib: Fib,
    hostRoutes: HostRoutes,
    clock: Clock,
    onPublished: (durationMs: number, changes: RouteChanges) => void,
  ) {
    this.#table = table;
    this.#fib = fib;
    this.#hostRoutes = hostRoutes;
    this.#clock = clock;
    this.#onPublished = onPublished;
  }

  /** How long the last change took from the table to the FIB image. */
  get lastPublishMs(): number {
    return this.#lastPublishMs;
  }

  /** The packet path does not have all that the table has, because it did not fit. */
  get isBehind(): boolean {
    return this.#behind;
  }

  /** Publishes what changed since the last time. Returns whether anything had. Throws ISTHMUS_ERR_CAPACITY; what was published before stays. */
  publish(): boolean {
    const changes = this.#table.takeChanges();
    const isQuiet = changes.set.length === 0 && changes.removed.length === 0 && changes.local === undefined;
    // What did not fit last time is tried again even then: readers may have passed what was in its way.
    if (isQuiet && !this.#behind) {
      this.#fib.reclaim();
      return false;
    }
    const startMs = this.#clock.nowMs();
    this.#hostRoutes.remove(changes.removed);
    const everything = this.#behind;
    const added = everything ? this.#table.forwarded() : changes.set;
    // Set before, cleared after: when the image is full and this throws, the next publication tries to carry everything.
    this.#behind = true;
    const local = everything ? this.#table.local() : changes.local;
    if (local !== undefined) this.#fib.setLocal(local);
    if (everything) this.#fib.replace(added);
    else this.#fib.apply(added, changes.removed);
    this.#behind = false;
    this.#lastPublishMs = this.#clock.nowMs() - startMs;
    this.#hostRoutes.add(added);
    this.#fib.reclaim();
    this.#onPublished(this.#lastPublishMs, { ...changes, local });
    return true;
  }
}
