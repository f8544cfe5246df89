import { addressBits, type Cidr, cidrKey, type IpAddress, networkOf } from '../base/address.ts';
import { assert } from '../base/assert.ts';
import type { ClaimUpdate } from './claim.ts';
import { type Entry, Stake } from './entry.ts';
import { Intake } from './intake.ts';
import { Journal, type TableEvent } from './journal.ts';
import { DEFAULT_LIMITS, type TableLimits } from './limits.ts';
import { Reconciler } from './reconciler.ts';
import { Judge, type TableSettings } from './refusal.ts';
import type {
  ClusterSummary,
  Conflict,
  ForwardedRoute,
  LocalCidr,
  Refusal,
  Route,
  RouteChanges,
  Shadow,
  SourceState,
} from './route.ts';
import { shadowsAmong } from './shadows.ts';
import { decodeSnapshot, encodeSnapshot, restoreContent } from './snapshot.ts';
import { Source, type SourceOptions } from './source.ts';
import { summarize } from './summary.ts';

const NOWHERE: TableSettings = { cluster: '', local: [], ownAddresses: [], underlay: null };

/**
 * Claims of all sources in, routes out. Pure: time comes with each call, `nowMs` monotonic for deadlines and `wallMs` for what people
 * read. Every call that changes something takes effect as a whole; `takeChanges` then says what the data plane has to do.
 */
export class Table {
  readonly #limits: TableLimits;
  readonly #journal = new Journal();
  readonly #reconciler: Reconciler;
  readonly #intake: Intake;
  readonly #sources = new Map<string, Source>();
  #judge: Judge;
  #localTaken: readonly Cidr[] = [];
  #shadows: { version: number; list: readonly Shadow[] } = { version: -1, list: [] };

  constructor(settings: TableSettings = NOWHERE, limits: Partial<TableLimits> = {}) {
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#reconciler = new Reconciler(this.#limits, this.#journal);
    this.#intake = new Intake(this.#limits, this.#journal, this.#reconciler);
    this.#judge = new Judge(settings, this.#limits.gatewaysPerRoute);
    this.#reconciler.configure(settings);
  }

  /** With `parent`, a source that another one found: it leaves with that, and a snapshot brings both back. */
  addSource(name: string, options: SourceOptions, parent?: string): void {
    assert(!this.#sources.has(name), `a source is added once: ${name}`);
    this.#sources.set(name, new Source(name, options, parent));
  }

  /** Names of the sources that `parent` found, those too that only a snapshot remembers. */
  children(parent: string): string[] {
    const names: string[] = [];
    for (const source of this.#sources.values()) if (source.parent === parent) names.push(source.name);
    return names;
  }

  /** A reload changed how a source is treated. Deadlines that are already running stay. */
  setSourceOptions(name: string, options: SourceOptions, nowMs: number, wallMs: number): void {
    const source = this.#source(name);
    const priorityChanged = source.options.priority !== options.priority;
    source.options = options;
    if (!priorityChanged) return;
    for (const { stake } of source.claims.values())
      if (stake instanceof Stake) this.#reconciler.touch(stake.entry);
    this.#reconciler.commit(nowMs, wallMs);
  }

  /** Nobody wants the source any more: its claims go at once, and those of the sources that it found. */
  removeSource(name: string, nowMs: number, wallMs: number): void {
    for (const gone of [name, ...this.children(name)]) {
      for (const stored of this.#source(gone).claims.values()) this.#reconciler.detach(stored);
      this.#sources.delete(gone);
    }
    this.#reconciler.commit(nowMs, wallMs);
  }

  apply(name: string, update: ClaimUpdate, nowMs: number, wallMs: number): void {
    this.#intake.take(this.#source(name), update, this.#judge, nowMs, wallMs);
    this.#reconciler.commit(nowMs, wallMs);
  }

  /** Judges every claim again by new settings. A claim that was refused and no longer is comes as if it were new. */
  reconfigure(settings: TableSettings, nowMs: number, wallMs: number): void {
    this.#judge = new Judge(settings, this.#limits.gatewaysPerRoute);
    this.#reconciler.configure(settings);
    for (const source of this.#sources.values()) {
      if (source.expired) continue;
      for (const stored of source.claims.values()) {
        const refused = this.#judge.refuse(stored.claim);
        if (refused === undefined && stored.stake === undefined) this.#reconciler.attach(stored, this.#judge);
        if (refused === undefined) continue;
        this.#reconciler.detach(stored);
        this.#reconciler.refusals.set(stored, refused);
      }
    }
    this.#reconciler.commit(nowMs, wallMs);
  }

  /** Does what has become due: see nextDeadlineMs. */
  tick(nowMs: number, wallMs: number): void {
    for (const source of this.#sources.values()) {
      if (nowMs >= source.holdEndsAtMs) this.#intake.applyHold(source);
      if (nowMs >= source.expiresAtMs && !source.expired) this.#intake.expire(source);
    }
    this.#reconciler.expireDepartures(nowMs);
    this.#reconciler.commit(nowMs, wallMs);
  }

  /** Monotonic time at which `tick` has something to do. */
  nextDeadlineMs(): number | undefined {
    let next = this.#reconciler.departures.nextMs;
    for (const source of this.#sources.values()) {
      next = Math.min(
        next,
        source.holdEndsAtMs,
        source.expired ? Number.POSITIVE_INFINITY : source.expiresAtMs,
      );
    }
    return next === Number.POSITIVE_INFINITY ? undefined : next;
  }

  /** What changed since the last call, net: a route that changed and changed back is not in it. */
  takeChanges(): RouteChanges {
    const { set, removed } = this.#reconciler.takeChanges();
    const local = this.local();
    const isLocalSame = sameCidrs(local, this.#localTaken);
    this.#localTaken = local;
    return { set: set.map(forwardedFrom), removed, local: isLocalSame ? undefined : local };
  }

  /** All that is our own, configured and learned, IPv4 first and by address: none inside another, and no two that are the halves of one. */
  local(): readonly Cidr[] {
    return this.#reconciler.locals.cover.joined();
  }

  /** The CIDRs that are our own, each as it was configured or learned. */
  localCidrs(): LocalCidr[] {
    return this.#reconciler.locals.list();
  }

  isLocal(address: IpAddress): boolean {
    const alone = networkOf(address, addressBits(address));
    return this.#reconciler.locals.cover.around(alone) !== undefined;
  }

  *routes(): Iterable<Route> {
    for (const entry of this.#reconciler.entries.values()) {
      const route = routeFrom(entry);
      if (route !== undefined) yield route;
    }
  }

  /** All routes, with what the packet path has to know of them. */
  forwarded(): ForwardedRoute[] {
    const forwarded: ForwardedRoute[] = [];
    for (const entry of this.#reconciler.entries.values()) {
      if (entry.inForce !== undefined) forwarded.push(forwardedFrom(entry));
    }
    return forwarded;
  }

  /** The routes by cluster, without making them: status and every scrape ask for this. */
  clusters(): ClusterSummary[] {
    return summarize(this.#reconciler.entries.values());
  }

  route(cidr: Cidr): Route | undefined {
    const entry = this.#reconciler.entries.get(cidr);
    return entry && routeFrom(entry);
  }

  /** The routes that hold an address, longest prefix first: the first is the one in use. */
  candidates(address: IpAddress): Route[] {
    const holding = this.#reconciler.entries.holding(address);
    return holding.map(routeFrom).filter((route) => route !== undefined);
  }

  refused(): Refusal[] {
    return [...this.refusals()];
  }

  /** As `refused`, one by one: a million of them at once is a quarter of a gigabyte. */
  *refusals(): Iterable<Refusal> {
    yield* this.#reconciler.refusals.list();
    for (const { name, turnedAway, firstTurnedAway } of this.#sources.values()) {
      if (firstTurnedAway === undefined) continue;
      const { id, cidr, cluster } = firstTurnedAway;
      const detail = `${name} claims more than ${this.#limits.claimsPerSource}: this and ${turnedAway - 1} others were not even looked at`;
      yield { source: name, id, cidr, cluster, reason: 'limit', detail };
    }
  }

  conflicts(): Conflict[] {
    const { conflicts } = this.#reconciler;
    return [...conflicts.list(), ...conflicts.listLocal()];
  }

  shadows(): readonly Shadow[] {
    const { version, entries, locals } = this.#reconciler;
    if (this.#shadows.version !== version) {
      const list = shadowsAmong(entries, locals.inForce(), this.#judge.settings.cluster);
      this.#shadows = { version, list };
    }
    return this.#shadows.list;
  }

  sources(): SourceState[] {
    return [...this.#sources.values()].map((source) => source.describe());
  }

  /** For metrics: what the lists would have as their lengths, without making them (shadows are kept between changes). */
  counts(): { routes: number; refused: number; conflicts: number; shadows: number } {
    let refused = this.#reconciler.refusals.count;
    for (const { turnedAway } of this.#sources.values()) refused += turnedAway;
    return {
      routes: this.#reconciler.routeCount,
      refused,
      conflicts: this.#reconciler.conflicts.count,
      shadows: this.shadows().length,
    };
  }

  /** Lines for the log since the last call. */
  events(): TableEvent[] {
    return this.#journal.drain();
  }

  /** All claims, with the order in which they came: conflicts resolve the same way after a restart. Ends in a newline. */
  snapshot(): string {
    return encodeSnapshot(this.#sources.values(), this.#reconciler);
  }

  /**
   * Takes over a snapshot: call it after `addSource`, before any source spoke. The claims of a source that is no longer there are left out.
   * Restored claims stand like those of a stale source until theirs speaks. Throws ISTHMUS_ERR_STATE, with nothing changed, where the text
   * is damaged or of another version.
   */
  restore(text: string, nowMs: number, wallMs: number): void {
    const spoken = [...this.#sources.values()].find((source) => source.state !== 'waiting');
    assert(spoken === undefined, `a snapshot is restored before any source speaks: ${spoken?.name}`);
    const content = decodeSnapshot(text);
    const { claims, unknown } = restoreContent(
      content,
      this.#sources,
      this.#reconciler,
      this.#judge,
      nowMs,
      wallMs,
    );
    const left = unknown.length === 0 ? '' : `; sources that are gone: ${unknown.join(', ')}`;
    this.#journal.add(
      'info',
      'restored',
      { claims, unknown },
      `${claims} claims restored from the snapshot${left}`,
    );
    this.#reconciler.commit(nowMs, wallMs);
  }

  #source(name: string): Source {
    const source = this.#sources.get(name);
    assert(source !== undefined, `a source speaks only after it was added: ${name}`);
    return source;
  }
}

/** What people and the data plane read of an entry; undefined where nothing is in force. */
function forwardedFrom({ cidr, inForce }: Entry): ForwardedRoute {
  assert(inForce !== undefined, 'only a CIDR with a route is forwarded');
  return { cidr, cluster: inForce.stake.cluster, gateways: inForce.gateways };
}

function routeFrom({ cidr, inForce }: Entry): Route | undefined {
  if (inForce === undefined) return undefined;
  const { stake, gateways, contributors } = inForce;
  return {
    cidr,
    cluster: stake.cluster,
    gateways,
    origins: contributors.map(({ owner, claim }) => `${owner.name}/${claim.id}`),
    stale: contributors.every(({ owner }) => owner.quiet),
    sinceMs: stake.sinceMs,
  };
}

function sameCidrs(a: readonly Cidr[], b: readonly Cidr[]): boolean {
  if (a === b) return true;
  return a.length === b.length && a.every((cidr, i) => cidrKey(cidr) === cidrKey(b[i] as Cidr));
}
