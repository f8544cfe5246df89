import { type Cidr, type CidrKey, cidrKey, cidrOfKey, formatCidr } from '../base/address.ts';
import type { LocalUse } from './claim.ts';
import { type ConflictLog, lostLocal } from './conflict-log.ts';
import { Cover } from './cover.ts';
import { type Entry, LOST, LocalStake, type Refused, type StoredClaim } from './entry.ts';
import { PrefixMap } from './prefix-map.ts';
import type { Refusals } from './refusals.ts';
import type { LocalCidr } from './route.ts';
import type { RouteOrder } from './route-order.ts';

/** Of several claims on one CIDR the first of these that any makes: what is DNATed needs more than what is only forwarded. */
const USES: readonly LocalUse[] = ['services', 'pods', 'routes'];

/**
 * The CIDRs that are our own: those of the configuration, which always are, and those that sources claim. A learned one is refused while a
 * route of another cluster lies in it that was there first; once it stands, no route comes to lie in it. A learned one inside a wider route
 * takes nothing from anybody but itself, because the longest prefix wins: it stands, and is shown as a shadow.
 */
export class LocalClaims {
  readonly cover = new Cover();
  readonly #limit: number;
  readonly #refusals: Refusals;
  readonly #conflicts: ConflictLog;
  readonly #stakes = new PrefixMap<LocalStake>();
  readonly #refused = new Set<LocalStake>();
  #touched = new Set<LocalStake>();
  #configured: ReadonlySet<CidrKey> = new Set();
  #learned = 0;
  /** One went since the refused ones were last looked at: there may be room now. */
  #roomCame = false;

  constructor(limit: number, refusals: Refusals, conflicts: ConflictLog) {
    this.#limit = limit;
    this.#refusals = refusals;
    this.#conflicts = conflicts;
  }

  get isTouched(): boolean {
    return this.#touched.size > 0;
  }

  /** Whether any is refused, and could stand some day. */
  get anyRefused(): boolean {
    return this.#refused.size > 0;
  }

  attach(
    stored: StoredClaim,
    seq: number,
    place?: { readonly rank: number; readonly sinceMs: number },
  ): void {
    const { cidr } = stored.claim;
    let stake = this.#stakes.get(cidr);
    if (stake === undefined) {
      stake = new LocalStake(cidr, seq);
      if (place !== undefined) {
        stake.rank = place.rank;
        stake.sinceMs = place.sinceMs;
      }
      this.#stakes.set(cidr, stake);
    }
    stake.add(stored);
    stored.stake = stake;
    this.#touched.add(stake);
  }

  touch(stake: LocalStake): void {
    this.#touched.add(stake);
  }

  /** Returns what `cidrs`, instead of those configured before, have filled together with others, and whether anything was let go. */
  configure(cidrs: readonly Cidr[]): { filled: Cidr[]; shrank: boolean } {
    const wanted = new Set<CidrKey>(cidrs.map((cidr) => cidrKey(cidr)));
    const filled: Cidr[] = [];
    let shrank = false;
    for (const key of wanted) if (!this.#configured.has(key)) filled.push(...this.cover.add(cidrOfKey(key)));
    for (const key of this.#configured) {
      if (!wanted.has(key) && this.cover.remove(cidrOfKey(key))) shrank = true;
    }
    this.#configured = wanted;
    if (shrank) this.#roomCame = true;
    return { filled, shrank };
  }

  /** Drops what left. Returns whether any address is no longer ours. */
  settle(): boolean {
    let shrank = false;
    for (const stake of this.#touched) {
      if (stake.prune()) continue;
      this.#touched.delete(stake);
      this.#stakes.delete(stake.cidr);
      this.#refused.delete(stake);
      this.#conflicts.updateLocal(stake, undefined);
      if (!stake.inForce) continue;
      stake.inForce = false;
      this.#learned--;
      this.#roomCame = true;
      if (this.cover.remove(stake.cidr)) shrank = true;
    }
    return shrank;
  }

  /** Those to be decided on: new ones, and the refused ones where a route or one of ours has gone. */
  candidates(routeWent: boolean): LocalStake[] {
    const candidates = new Set<LocalStake>();
    for (const stake of this.#touched) if (!stake.inForce) candidates.add(stake);
    this.#touched = new Set();
    if (routeWent || this.#roomCame) for (const stake of this.#refused) candidates.add(stake);
    this.#roomCame = false;
    return [...candidates];
  }

  /** Lets one stand, or refuses it. Returns the CIDRs that are full with it though it does not hold them alone. */
  admit(stake: LocalStake, routes: RouteOrder, nextSeq: () => number, wallMs: number): Cidr[] {
    const holder = routes.inside(stake.cidr);
    const refusal = holder === undefined ? this.#refuseForRoom() : conflictWith(stake.cidr, holder);
    this.#conflicts.updateLocal(stake, holder);
    for (const stored of stake.claims) this.#refusals.set(stored, refusal);
    if (refusal !== undefined) {
      stake.rank = LOST;
      this.#refused.add(stake);
      return [];
    }
    this.#refused.delete(stake);
    if (stake.rank === LOST) stake.rank = nextSeq();
    if (Number.isNaN(stake.sinceMs)) stake.sinceMs = wallMs;
    stake.inForce = true;
    this.#learned++;
    return this.cover.add(stake.cidr);
  }

  /** Why a claim of another cluster on `cidr` cannot stand; undefined where not all of it is ours. */
  refuseInside(cidr: Cidr): Refused | undefined {
    const around = this.cover.around(cidr);
    if (around === undefined) return undefined;
    const stake = this.#stakes.get(around);
    const first = stake?.inForce === true ? stake.claims[0] : undefined;
    const origin = first === undefined ? '' : ` (${first.owner.name}/${first.claim.id})`;
    return {
      reason: 'inside-local',
      detail: `${formatCidr(cidr)} is inside ${formatCidr(around)}, which is local${origin}`,
    };
  }

  /** Learned CIDRs that stand. */
  *inForce(): Iterable<LocalStake> {
    for (const stake of this.#stakes.values()) if (stake.inForce) yield stake;
  }

  /** Configured and learned, each CIDR once. */
  list(): LocalCidr[] {
    const list: LocalCidr[] = [];
    for (const key of this.#configured) {
      const cidr = cidrOfKey(key);
      const stake = this.#stakes.get(cidr);
      if (stake?.inForce !== true) list.push({ cidr, use: 'configured', origins: ['config'], stale: false });
      else list.push({ cidr, use: useOf(stake), origins: ['config', ...originsOf(stake)], stale: false });
    }
    for (const stake of this.inForce()) {
      if (this.#configured.has(cidrKey(stake.cidr))) continue;
      const stale = stake.claims.every(({ owner }) => owner.quiet);
      list.push({ cidr: stake.cidr, use: useOf(stake), origins: originsOf(stake), stale });
    }
    return list;
  }

  #refuseForRoom(): Refused | undefined {
    if (this.#learned + this.#configured.size < this.#limit) return undefined;
    return { reason: 'limit', detail: `the table is full: ${this.#limit} own CIDRs` };
  }
}

function conflictWith(cidr: Cidr, holder: Entry): Refused {
  return { reason: 'conflict', detail: lostLocal(cidr, holder) };
}

function useOf(stake: LocalStake): LocalUse {
  return USES.find((use) => stake.claims.some(({ claim }) => claim.local === use)) ?? 'routes';
}

function originsOf(stake: LocalStake): string[] {
  return stake.claims.map(({ owner, claim }) => `${owner.name}/${claim.id}`);
}
