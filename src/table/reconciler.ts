import { addressBits, type Cidr, type CidrKey, cidrKey, cidrOfKey, type IpAddress } from '../base/address.ts';
import type { Gateway } from './claim.ts';
import { ConflictLog } from './conflict-log.ts';
import { Departures } from './departures.ts';
import {
  Entry,
  firstOf,
  type InForce,
  LOST,
  LocalStake,
  placeInQueue,
  Stake,
  type StoredClaim,
  sameGateways,
} from './entry.ts';
import type { Journal } from './journal.ts';
import { KnownGateways } from './known-gateways.ts';
import type { TableLimits } from './limits.ts';
import { LocalClaims } from './local-claims.ts';
import { PrefixMap } from './prefix-map.ts';
import type { Judge, TableSettings } from './refusal.ts';
import { Refusals } from './refusals.ts';
import { lostTo, refuseSwallowed, routeOf, type Verdicts, winnerOf } from './resolve.ts';
import { RouteOrder } from './route-order.ts';

/** A place in the queue, as a snapshot keeps it. */
export interface Place {
  readonly seq: number;
  readonly rank: number;
  readonly sinceMs: number;
  readonly gatewaysSince: ReadonlyMap<IpAddress, number>;
}

/** What takeChanges compares with: the route as it was when changes were last taken. */
interface Published {
  readonly cluster: string;
  readonly gateways: readonly Gateway[];
}

/**
 * Claims in, routes out. `attach` and `detach` only note what is touched; `commit` then recomputes the touched CIDRs and nothing else, so
 * that one claim among 100,000 costs microseconds and an update is never seen half applied.
 */
export class Reconciler {
  readonly entries = new PrefixMap<Entry>();
  readonly gateways = new KnownGateways();
  readonly refusals: Refusals;
  readonly conflicts: ConflictLog;
  readonly locals: LocalClaims;
  readonly departures: Departures;
  /** Counts commits that may have changed a route; readers cache by it. */
  version = 0;
  /** Next sequence number: the order in which things came. */
  sequence = 0;
  readonly #limits: TableLimits;
  readonly #order = new RouteOrder(this.entries);
  readonly #touched = new Set<Entry>();
  /** Routes as of the last takeChanges, for the CIDRs that changed since; undefined: there was none. */
  readonly #before = new Map<CidrKey, Published | undefined>();
  /** CIDRs that have to wait for room. */
  readonly #waiting = new Set<Entry>();
  /** CIDRs that have to wait because all of their addresses are ours. */
  readonly #covered = new Set<Entry>();
  readonly #routesByCluster = new Map<string, number>();
  #routes = 0;
  /** A route went since the waiting ones were last looked at. */
  #roomCameFree = false;
  /** A route went since the refused own CIDRs were last looked at. */
  #routeWent = false;
  /** Some address is ours no more since the covered ones were last looked at. */
  #coverShrank = false;

  constructor(limits: TableLimits, journal: Journal) {
    this.#limits = limits;
    this.refusals = new Refusals(journal);
    this.conflicts = new ConflictLog(journal);
    this.locals = new LocalClaims(limits.localCidrs, this.refusals, this.conflicts);
    this.departures = new Departures(limits.gatewaysPerRoute);
  }

  get routeCount(): number {
    return this.#routes;
  }

  /** What the settings say besides the judge's rules. Claims are judged again by the caller. */
  configure(settings: TableSettings): void {
    const { filled, shrank } = this.locals.configure(settings.local);
    this.#touchCovered(filled);
    if (shrank) this.#coverShrank = true;
    for (const entry of this.departures.configure(settings.gatewayGraceMs ?? 0, settings.ownAddresses))
      this.#touched.add(entry);
  }

  /** Has routes made anew that keep a gateway whose time is over. */
  expireDepartures(nowMs: number): void {
    for (const entry of this.departures.expire(nowMs)) this.#touched.add(entry);
  }

  /** Lets a claim compete. `judge` may refuse it out of hand. A claim that was detached may come again only after a commit. */
  attach(stored: StoredClaim, judge: Judge, place?: Place): void {
    const refused = judge.refuse(stored.claim);
    this.refusals.set(stored, refused);
    if (refused !== undefined) return;
    const { cidr, cluster, gateways, local } = stored.claim;
    const seq = place?.seq ?? this.sequence++;
    if (local !== undefined) {
      this.locals.attach(stored, seq, place);
      return;
    }
    let entry = this.entries.get(cidr);
    if (entry === undefined) {
      entry = new Entry(cidr);
      this.entries.set(cidr, entry);
    }
    let stake = entry.stake(cluster);
    if (stake === undefined) {
      stake = new Stake(entry, cluster, seq);
      if (place !== undefined) {
        stake.rank = place.rank;
        stake.sinceMs = place.sinceMs;
      }
      // Nearly every CIDR has one stake with one claim, and the first push to an empty array makes room for 17.
      if (entry.stakes.length === 0) entry.stakes = [stake];
      else entry.stakes.push(stake);
    }
    stake.add(stored);
    stored.stake = stake;
    for (const { address } of gateways) this.gateways.name(address, place?.gatewaysSince.get(address) ?? seq);
    this.#touched.add(entry);
  }

  detach(stored: StoredClaim): void {
    this.refusals.set(stored, undefined);
    const { stake } = stored;
    if (stake === undefined) return;
    stored.stake = undefined;
    if (stake instanceof LocalStake) {
      this.locals.touch(stake);
      return;
    }
    for (const { address } of stored.claim.gateways) this.gateways.forget(address);
    this.#touched.add(stake.entry);
  }

  /** Has an entry recomputed at the next commit though none of its claims changed. */
  touch(entry: Entry): void {
    this.#touched.add(entry);
  }

  /** Makes everything attached and detached since the last commit effective, at once. */
  commit(nowMs: number, wallMs: number): void {
    if (this.#touched.size > 0 || this.locals.isTouched || this.#coverShrank) {
      const shifted = this.#settleEntries();
      this.#settleGateways(shifted);
      this.#settleLocals();
      this.#resolveTouched(nowMs, wallMs);
      this.#admitWaiting(nowMs, wallMs);
      this.version++;
    }
    this.refusals.report();
    this.conflicts.report();
  }

  /** Net changes since the last call: what changed and changed back is not among them. */
  takeChanges(): { set: Entry[]; removed: Cidr[] } {
    const set: Entry[] = [];
    const removed: Cidr[] = [];
    for (const [key, before] of this.#before) {
      const cidr = cidrOfKey(key);
      const entry = this.entries.get(cidr);
      const now = entry?.inForce;
      if (entry === undefined || now === undefined) {
        if (before !== undefined) removed.push(cidr);
      } else if (
        before === undefined ||
        before.cluster !== now.stake.cluster ||
        !sameGateways(before.gateways, now.gateways)
      ) {
        set.push(entry);
      }
    }
    this.#before.clear();
    return { set, removed };
  }

  /** Drops what left; returns the entries that came, went or aged. */
  #settleEntries(): Entry[] {
    const shifted: Entry[] = [];
    for (const entry of this.#touched) {
      let empty = 0;
      for (const stake of entry.stakes) if (!stake.prune()) empty++;
      if (empty > 0) entry.stakes = entry.stakes.filter((stake) => stake.claims.length > 0);
      let since = LOST;
      for (const { seq } of entry.stakes) if (since === LOST || seq < since) since = seq;
      if (since !== entry.since) shifted.push(entry);
      entry.since = since;
      if (entry.stakes.length === 0) this.entries.delete(entry.cidr);
    }
    return shifted;
  }

  /** Finds out which gateways lie in which CIDRs now, and touches every entry for which that makes a difference. */
  #settleGateways(shifted: readonly Entry[]): void {
    const { appeared, gone } = this.gateways.flush();
    for (const address of gone) for (const entry of this.entries.holding(address)) this.#touched.add(entry);
    for (const known of appeared) {
      for (const entry of this.entries.holding(known.address)) this.#touched.add(entry);
      this.gateways.setInside(known, this.#olderAround(known.address, known.since));
    }
    const moved = new Set<IpAddress>();
    for (const entry of shifted) {
      for (const known of this.gateways.inside(entry.cidr)) {
        const inside = this.#olderAround(known.address, known.since);
        // Compared by identity also when some CIDR holds it before and after: the reason that people read names that CIDR.
        if (inside !== known.inside) moved.add(known.address);
        this.gateways.setInside(known, inside);
      }
    }
    // No index leads from a gateway to its claims: it would cost memory for every claim and serve only this, a mistake of somebody.
    if (moved.size > 0) this.#touchClaimsOf(moved);
  }

  #olderAround(address: IpAddress, since: number): Entry | undefined {
    return this.entries.longest(address, addressBits(address), (entry) => entry.since < since);
  }

  #touchClaimsOf(addresses: ReadonlySet<IpAddress>): void {
    for (const entry of this.entries.values()) {
      const named = entry.stakes.some((stake) =>
        stake.claims.some(({ claim }) => claim.gateways.some(({ address }) => addresses.has(address))),
      );
      if (named) this.#touched.add(entry);
    }
  }

  #settleLocals(): void {
    if (this.locals.settle()) this.#coverShrank = true;
    if (!this.#coverShrank) return;
    this.#coverShrank = false;
    for (const entry of this.#covered)
      if (this.locals.cover.around(entry.cidr) === undefined) this.#touched.add(entry);
  }

  /**
   * Decides on everything that is touched. What is in force comes first, because it stays or goes for reasons of its own; then what is new,
   * where an own CIDR and a route in it compete, in the order in which they came. An own CIDR that comes may fill a wider CIDR together with
   * others, and a route that goes may let an own CIDR in: then once more. It ends because what is ours only grows meanwhile.
   */
  #resolveTouched(nowMs: number, wallMs: number): void {
    do {
      for (const entry of this.#touched) {
        if (entry.inForce === undefined) continue;
        this.#touched.delete(entry);
        this.#resolve(entry, nowMs, wallMs);
      }
      const candidates = this.locals.candidates(this.#routeWent);
      this.#routeWent = false;
      const contested = candidates.length > 0 ? this.#inside(candidates) : [];
      for (const entry of contested) this.#touched.delete(entry);
      for (const entry of this.#touched) this.#resolve(entry, nowMs, wallMs);
      this.#touched.clear();
      for (const next of [...candidates, ...contested].sort(byAge)) {
        if (next instanceof Entry) this.#resolve(next, nowMs, wallMs);
        else this.#touchCovered(this.locals.admit(next, this.#order, () => this.sequence++, wallMs));
      }
    } while (this.#touched.size > 0 || (this.#routeWent && this.locals.anyRefused));
  }

  /** The touched entries that lie in any of `candidates`. */
  #inside(candidates: readonly LocalStake[]): Entry[] {
    const around = new PrefixMap<LocalStake>();
    for (const stake of candidates) around.set(stake.cidr, stake);
    const inside: Entry[] = [];
    for (const entry of this.#touched)
      if (around.longest(entry.cidr.address, entry.cidr.prefixLength) !== undefined) inside.push(entry);
    return inside;
  }

  #touchCovered(filled: readonly Cidr[]): void {
    for (const cidr of filled) {
      const entry = this.entries.get(cidr);
      if (entry !== undefined) this.#touched.add(entry);
    }
  }

  /** Refuses everything that is claimed about a CIDR all of whose addresses are ours. */
  #refuseCovered(entry: Entry, verdicts: Verdicts): void {
    const refusal = entry.stakes.length === 0 ? undefined : this.locals.refuseInside(entry.cidr);
    if (refusal === undefined) {
      if (this.#covered.size > 0) this.#covered.delete(entry);
      return;
    }
    this.#covered.add(entry);
    for (const stake of entry.stakes) for (const stored of stake.claims) verdicts.set(stored, refusal);
  }

  #resolve(entry: Entry, nowMs: number, wallMs: number): void {
    const verdicts: Verdicts = new Map();
    this.#refuseCovered(entry, verdicts);
    if (verdicts.size === 0) refuseSwallowed(entry, this.gateways, verdicts);
    const winner = winnerOf(entry, verdicts, () => this.sequence++);
    const losers =
      winner === undefined ? [] : entry.stakes.filter((stake) => stake !== winner && stake.rank !== LOST);
    if (winner !== undefined) {
      for (const loser of losers) {
        for (const stored of loser.claims) if (!verdicts.has(stored)) verdicts.set(stored, lostTo(winner));
      }
    }
    let next = winner === undefined ? undefined : routeOf(winner, verdicts, this.#limits.gatewaysPerRoute);
    const full = next === undefined ? undefined : this.#refuseForRoom(entry, next.stake.cluster);
    this.#waiting.delete(entry);
    if (next !== undefined && full !== undefined) {
      for (const stored of next.contributors) verdicts.set(stored, { reason: 'limit', detail: full });
      next = undefined;
      this.#waiting.add(entry);
    }
    for (const stake of entry.stakes) {
      for (const stored of stake.claims) this.refusals.set(stored, verdicts.get(stored));
    }
    this.#putInForce(entry, this.departures.extend(entry, next, nowMs), wallMs);
    this.conflicts.update(entry, winner, losers);
  }

  #putInForce(entry: Entry, next: InForce | undefined, wallMs: number): void {
    const before = entry.inForce;
    if (before === undefined && next === undefined) return;
    const key = cidrKey(entry.cidr);
    if (!this.#before.has(key)) {
      // Only what the comparison needs: to keep the whole would keep every claim that ever made it alive until changes are taken.
      this.#before.set(key, before && { cluster: before.stake.cluster, gateways: before.gateways });
    }
    if (before !== undefined) {
      this.#count(before.stake.cluster, -1);
      this.#roomCameFree = true;
      if (next === undefined) this.#routeWent = true;
    }
    if (next !== undefined) {
      if (before === undefined) this.#order.appeared(entry.cidr);
      this.#count(next.stake.cluster, 1);
      if (Number.isNaN(next.stake.sinceMs)) next.stake.sinceMs = wallMs;
    }
    entry.inForce = next;
  }

  #count(cluster: string, by: number): void {
    this.#routes += by;
    const count = (this.#routesByCluster.get(cluster) ?? 0) + by;
    if (count === 0) this.#routesByCluster.delete(cluster);
    else this.#routesByCluster.set(cluster, count);
  }

  /** Why there is no room for a route of `cluster` here; undefined when there is. */
  #refuseForRoom(entry: Entry, cluster: string): string | undefined {
    const had = entry.inForce?.stake.cluster;
    if (had === undefined && this.#routes >= this.#limits.routes) {
      return `the table is full: ${this.#limits.routes} routes`;
    }
    if (had === cluster || this.#routesByCluster.has(cluster)) return undefined;
    // A route that passes to a new cluster may be the last one of its old cluster, and then makes room itself.
    const freed = had !== undefined && this.#routesByCluster.get(had) === 1 ? 1 : 0;
    if (this.#routesByCluster.size - freed < this.#limits.clusters) return undefined;
    return `the table is full: ${this.#limits.clusters} clusters`;
  }

  /** Room may have come free after an entry of the same commit had to wait, whatever the order of the two. */
  #admitWaiting(nowMs: number, wallMs: number): void {
    if (!this.#roomCameFree) return;
    this.#roomCameFree = false;
    for (const entry of [...this.#waiting]) {
      const first = firstOf(entry.stakes);
      if (first !== undefined && this.#refuseForRoom(entry, first.cluster) === undefined) {
        this.#resolve(entry, nowMs, wallMs);
      }
    }
  }
}

function byAge(a: Entry | LocalStake, b: Entry | LocalStake): number {
  const [left, right] = [placeInQueue(a), placeInQueue(b)];
  return left.rank === right.rank ? left.seq - right.seq : left.rank - right.rank;
}
