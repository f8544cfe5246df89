import type { IpAddress } from '../base/address.ts';
import type { Gateway } from './claim.ts';
import { type Entry, type InForce, mergeGateways } from './entry.ts';

/** A gateway that no claim names any more and that may still send. */
interface Leaving {
  readonly address: IpAddress;
  /** Monotonic. */
  readonly untilMs: number;
}

interface Extended {
  readonly gateways: readonly Gateway[];
  readonly leaving: readonly Leaving[];
}

/** Results kept for other routes of the same change: more sets of gateways than that are not shared by many routes. */
const SHARED_MAX = 1024;

/**
 * The gateways that left a route which stays. For a while they keep a place in it with weight 0: nothing is sent to them any more, but the
 * other side learns of the change in its own time, and until then what comes from the old address is no stranger's.
 */
export class Departures {
  readonly #gatewaysMax: number;
  #graceMs = 0;
  #own: ReadonlySet<IpAddress> = new Set();
  readonly #leaving = new Map<Entry, readonly Leaving[]>();
  /** When something is due for which entries; an entry may no longer have anything then. */
  readonly #due = new Map<number, Set<Entry>>();
  /** Thousands of routes of a cluster change in the same way at once: they share one result, and the packet path one group. By what was. */
  readonly #shared = new Map<readonly Gateway[], Extended & { readonly next: readonly Gateway[] }>();
  #sharedMs = Number.NaN;

  constructor(gatewaysMax: number) {
    this.#gatewaysMax = gatewaysMax;
  }

  /** Monotonic time at which `expire` has something to do; Infinity when never. */
  get nextMs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const untilMs of this.#due.keys()) if (untilMs < next) next = untilMs;
    return next;
  }

  /** Returns the routes that have to be made anew. Those that are leaving already keep their time. */
  configure(graceMs: number, ownAddresses: readonly IpAddress[]): Entry[] {
    this.#graceMs = graceMs;
    this.#own = new Set(ownAddresses);
    this.#shared.clear();
    const changed: Entry[] = [];
    for (const [entry, leaving] of this.#leaving)
      if (leaving.some(({ address }) => this.#own.has(address))) changed.push(entry);
    return changed;
  }

  /** Returns the routes that have to be made anew because the time of a gateway is over. */
  expire(nowMs: number): Set<Entry> {
    const over = new Set<Entry>();
    for (const [untilMs, entries] of this.#due) {
      if (untilMs > nowMs) continue;
      this.#due.delete(untilMs);
      for (const entry of entries) if (this.#leaving.has(entry)) over.add(entry);
    }
    return over;
  }

  /** What is to be in force on `entry` instead of `next`: the same with the gateways that are leaving. */
  extend(entry: Entry, next: InForce | undefined, nowMs: number): InForce | undefined {
    const before = entry.inForce;
    if (before === undefined) return next;
    if (next === undefined || next.stake.cluster !== before.stake.cluster) {
      // What comes from the old gateways belonged to another cluster, and would be taken for this one's.
      this.#leaving.delete(entry);
      return next;
    }
    if (before.gateways === next.gateways) return next;
    const { gateways, leaving } = this.#extended(entry, before.gateways, next.gateways, nowMs);
    if (leaving.length === 0) {
      this.#leaving.delete(entry);
      return next;
    }
    this.#leaving.set(entry, leaving);
    for (const { untilMs } of leaving) this.#remind(untilMs, entry);
    return { ...next, gateways };
  }

  /** Routes that have the same array before have the same gateways leaving, each until the same time: it was made for all of them. */
  #extended(entry: Entry, before: readonly Gateway[], next: readonly Gateway[], nowMs: number): Extended {
    if (this.#sharedMs !== nowMs || this.#shared.size >= SHARED_MAX) this.#shared.clear();
    this.#sharedMs = nowMs;
    const shared = this.#shared.get(before);
    if (shared?.next === next) return shared;
    const leaving = this.#leavingOf(entry, before, next, nowMs);
    const kept = leaving.map(({ address }) => ({ address, weight: 0 }));
    const result = { next, leaving, gateways: mergeGateways([...next, ...kept]) };
    this.#shared.set(before, result);
    return result;
  }

  #leavingOf(entry: Entry, before: readonly Gateway[], next: readonly Gateway[], nowMs: number): Leaving[] {
    const known = this.#leaving.get(entry);
    const leaving: Leaving[] = [];
    for (const { address } of before) {
      if (this.#own.has(address) || next.some((gateway) => gateway.address === address)) continue;
      const untilMs = known?.find((one) => one.address === address)?.untilMs ?? nowMs + this.#graceMs;
      if (untilMs > nowMs) leaving.push({ address, untilMs });
    }
    // A group of the packet path has only so many members: who left first has the least left to send.
    const room = Math.max(0, this.#gatewaysMax - next.length);
    if (leaving.length > room) leaving.sort((a, b) => b.untilMs - a.untilMs).splice(room);
    return leaving;
  }

  #remind(untilMs: number, entry: Entry): void {
    const entries = this.#due.get(untilMs);
    if (entries === undefined) this.#due.set(untilMs, new Set([entry]));
    else entries.add(entry);
  }
}
