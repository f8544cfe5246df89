import { type CidrKey, cidrKey } from '../base/address.ts';
import type { Claim, ClaimUpdate } from './claim.ts';
import { normalGateways, StoredClaim, sameGateways } from './entry.ts';
import type { Journal } from './journal.ts';
import type { TableLimits } from './limits.ts';
import type { Reconciler } from './reconciler.ts';
import type { Judge } from './refusal.ts';
import type { Hold, Source } from './source.ts';

/** What sources say, turned into claims that attach and leave: staleness, expiry and the hold of mass withdrawals are decided here. */
export class Intake {
  readonly #limits: TableLimits;
  readonly #journal: Journal;
  readonly #reconciler: Reconciler;

  constructor(limits: TableLimits, journal: Journal, reconciler: Reconciler) {
    this.#limits = limits;
    this.#journal = journal;
    this.#reconciler = reconciler;
  }

  /** The caller commits. */
  take(source: Source, update: ClaimUpdate, judge: Judge, nowMs: number, wallMs: number): void {
    if (update.kind === 'stale') {
      this.#silent(source, update.reason, nowMs, wallMs);
      return;
    }
    this.#heard(source, update.kind === 'fresh' ? undefined : update.stale, judge, nowMs, wallMs);
    if (update.kind === 'replace') this.#replace(source, update.claims, judge, nowMs, wallMs);
    else if (update.kind === 'upsert') this.#upsert(source, update.claims, judge);
    else if (update.kind === 'remove') this.#remove(source, update.ids, nowMs, wallMs);
  }

  /** The hold has run out: the source meant it. */
  applyHold(source: Source): void {
    const claims = source.hold?.claims ?? new Set<StoredClaim>();
    source.hold = undefined;
    for (const stored of claims) this.#withdraw(source, stored);
    this.#journal.add(
      'warn',
      'hold-applied',
      { source: source.name, withdrawn: claims.size, left: source.claims.size },
      `${source.name} still does not claim ${claims.size} CIDRs after ${source.options.holdMs} ms: withdrawn`,
    );
  }

  /** Its claims leave, but are not forgotten: the source may come back and say that nothing changed. */
  expire(source: Source): void {
    if (source.hold !== undefined) for (const stored of source.hold.claims) this.#withdraw(source, stored);
    source.hold = undefined;
    source.expired = true;
    for (const stored of source.claims.values()) this.#reconciler.detach(stored);
    this.#journal.add(
      'error',
      'source-expired',
      { source: source.name, claims: source.claims.size },
      `${source.name} was away for ${source.options.staleAfterMs} ms: its ${source.claims.size} claims are withdrawn`,
    );
  }

  #heard(source: Source, partlyStale: string | undefined, judge: Judge, nowMs: number, wallMs: number): void {
    const { state, reason, away } = source;
    if (source.expired) {
      source.expired = false;
      for (const stored of source.claims.values()) this.#reconciler.attach(stored, judge);
    }
    if (away && source.hold !== undefined) setDeadline(source, source.hold, nowMs, wallMs);
    source.lastUpdateMs = wallMs;
    source.expiresAtMs = Number.POSITIVE_INFINITY;
    source.silentSinceMs = Number.NaN;
    source.partial = partlyStale !== undefined;
    source.state = source.partial ? 'stale' : 'fresh';
    source.reason = partlyStale;
    if (partlyStale === undefined && (state === 'stale' || state === 'restored')) {
      this.#journal.add('info', 'source-fresh', { source: source.name }, `${source.name} is fresh again`);
    }
    if (partlyStale !== undefined && (partlyStale !== reason || state !== 'stale'))
      this.#logStale(source, partlyStale);
  }

  #silent(source: Source, reason: string, nowMs: number, wallMs: number): void {
    const changed = !source.quiet || source.reason !== reason;
    if (!source.away) {
      source.expiresAtMs = nowMs + source.options.staleAfterMs;
      source.silentSinceMs = wallMs;
    }
    source.partial = false;
    source.reason = reason;
    if (source.state !== 'restored') source.state = 'stale';
    if (changed) this.#logStale(source, reason);
  }

  #logStale(source: Source, reason: string): void {
    const fields = { source: source.name, claims: source.claims.size };
    this.#journal.add(
      'warn',
      'source-stale',
      fields,
      `${source.name} is stale, its last claims stay: ${reason}`,
    );
  }

  #replace(source: Source, claims: readonly Claim[], judge: Judge, nowMs: number, wallMs: number): void {
    const before = source.claims.size;
    const turnedAwayBefore = source.turnedAway;
    source.generation++;
    source.turnedAway = 0;
    source.firstTurnedAway = undefined;
    const withdrawn: StoredClaim[] = [];
    // Two passes over the claims that stand: only when those that go have gone is there room at the limit for those that come.
    for (const claim of claims) {
      const known = source.claims.get(claim.id);
      if (known !== undefined) known.generation = source.generation;
    }
    for (const stored of source.claims.values()) {
      if (stored.generation !== source.generation) withdrawn.push(stored);
    }
    const held = this.#massOf(source, withdrawn, before, claims);
    for (const stored of withdrawn) if (!held.has(stored)) this.#withdraw(source, stored);
    for (const claim of claims) this.#put(source, claim, judge);
    if (held.size > 0) this.#holdBack(source, held, before, nowMs, wallMs);
    else if (source.hold !== undefined) this.#endHold(source);
    this.#reportTurnedAway(source, turnedAwayBefore);
  }

  /** Those of the withdrawn that are to be held: none, or all whose CIDR the source no longer mentions. */
  #massOf(
    source: Source,
    withdrawn: StoredClaim[],
    before: number,
    claims: readonly Claim[],
  ): Set<StoredClaim> {
    if (!source.isMass(withdrawn.length, before)) return new Set();
    // A file that was renamed or a cluster that was withdraws every id, but still speaks about every CIDR: a wish, not a fault.
    const mentioned = new Set(claims.map(({ cidr }) => cidrKey(cidr)));
    const lost = withdrawn.filter(({ claim }) => !mentioned.has(cidrKey(claim.cidr)));
    return new Set(source.isMass(lost.length, before) ? lost : []);
  }

  #upsert(source: Source, claims: readonly Claim[], judge: Judge): void {
    const turnedAwayBefore = source.turnedAway;
    const takenOver = new Set<CidrKey>();
    for (const claim of claims) {
      const known = source.claims.get(claim.id);
      if (known !== undefined) source.hold?.claims.delete(known);
      this.#put(source, claim, judge);
      if (source.hold !== undefined && known === undefined && source.claims.has(claim.id))
        takenOver.add(cidrKey(claim.cidr));
    }
    if (takenOver.size > 0) this.#releaseHeld(source, takenOver);
    if (source.hold?.claims.size === 0) this.#endHold(source);
    this.#reportTurnedAway(source, turnedAwayBefore);
  }

  /** A new node has the CIDR of one whose withdrawal is held: that one meant it, and half of the packets would go on to it. */
  #releaseHeld(source: Source, takenOver: ReadonlySet<CidrKey>): void {
    for (const stored of source.hold?.claims ?? []) {
      if (!takenOver.has(cidrKey(stored.claim.cidr))) continue;
      source.hold?.claims.delete(stored);
      this.#withdraw(source, stored);
    }
  }

  #remove(source: Source, ids: readonly string[], nowMs: number, wallMs: number): void {
    const going = new Set<StoredClaim>();
    for (const id of ids) {
      const stored = source.claims.get(id);
      if (stored !== undefined && !source.hold?.claims.has(stored)) going.add(stored);
    }
    const before = source.claims.size;
    if (!source.countRemovals(going.size, nowMs)) for (const stored of going) this.#withdraw(source, stored);
    else if (going.size > 0) {
      const held = new Set([...(source.hold?.claims ?? []), ...going]);
      this.#holdBack(source, held, before, nowMs, wallMs);
    }
  }

  /** Adds or changes one claim. The new one attaches before the old one leaves, so that what both say keeps its place. */
  #put(source: Source, claim: Claim, judge: Judge): void {
    const known = source.claims.get(claim.id);
    const gateways = normalGateways(claim.gateways);
    if (known !== undefined) {
      const same =
        known.claim.cluster === claim.cluster &&
        known.claim.local === claim.local &&
        cidrKey(known.claim.cidr) === cidrKey(claim.cidr) &&
        sameGateways(known.claim.gateways, gateways);
      if (same) {
        // The source may keep what it said last; with another copy here an edit of a large file would leave two of everything.
        if (gateways === claim.gateways) known.claim = claim;
        return;
      }
    } else if (source.claims.size >= this.#limits.claimsPerSource) {
      source.turnedAway++;
      source.firstTurnedAway ??= claim;
      return;
    }
    const stored = new StoredClaim(
      source,
      gateways === claim.gateways ? claim : { ...claim, gateways },
      source.generation,
    );
    source.claims.set(claim.id, stored);
    this.#reconciler.attach(stored, judge);
    if (known !== undefined) this.#reconciler.detach(known);
  }

  #withdraw(source: Source, stored: StoredClaim): void {
    source.claims.delete(stored.claim.id);
    this.#reconciler.detach(stored);
  }

  #holdBack(source: Source, claims: Set<StoredClaim>, before: number, nowMs: number, wallMs: number): void {
    if (source.hold !== undefined) {
      // The deadline stays: a source that repeats itself every few seconds would otherwise never be believed.
      source.hold.claims = claims;
      return;
    }
    source.hold = { claims, untilMs: 0, untilWallMs: 0 };
    setDeadline(source, source.hold, nowMs, wallMs);
    this.#journal.add(
      'error',
      'hold-began',
      { source: source.name, withdrawn: claims.size, of: before, untilMs: source.hold.untilWallMs },
      `${source.name} withdraws ${claims.size} of its ${before} claims at once: they stay for ${source.options.holdMs} ms in case that is a fault`,
    );
  }

  #endHold(source: Source): void {
    source.hold = undefined;
    const fields = { source: source.name, claims: source.claims.size };
    this.#journal.add('info', 'hold-ended', fields, `${source.name} takes its mass withdrawal back`);
  }

  #reportTurnedAway(source: Source, before: number): void {
    if (source.turnedAway === 0 || before > 0) return;
    this.#journal.add(
      'error',
      'claims-over-limit',
      { source: source.name, turnedAway: source.turnedAway, limit: this.#limits.claimsPerSource },
      `${source.name} has ${source.turnedAway} claims more than the limit of ${this.#limits.claimsPerSource}: they are ignored`,
    );
  }
}

function setDeadline(source: Source, hold: Hold, nowMs: number, wallMs: number): void {
  hold.untilMs = nowMs + source.options.holdMs;
  hold.untilWallMs = wallMs + source.options.holdMs;
}
