import type { Claim } from './claim.ts';
import type { ClaimOwner, StoredClaim } from './entry.ts';
import { MASS_WITHDRAWAL_MIN } from './limits.ts';
import type { SourceState } from './route.ts';

export interface SourceOptions {
  /** Of several sources that claim one CIDR for one cluster, those with the highest priority decide on its gateways. */
  readonly priority: number;
  /** How long the last claims of a source that is away stay in force; Infinity is for ever. */
  readonly staleAfterMs: number;
  /** How long a mass withdrawal waits; 0 never holds one. */
  readonly holdMs: number;
}

/** Claims that their source has withdrawn and that stay in force for now. */
export interface Hold {
  claims: Set<StoredClaim>;
  untilMs: number;
  untilWallMs: number;
}

/** Removals by delta, counted over as long as a hold lasts. */
interface RemovalWindow {
  readonly untilMs: number;
  readonly baseline: number;
  removed: number;
}

/** What the table knows of one source. It decides nothing about routes. */
export class Source implements ClaimOwner {
  readonly name: string;
  /** Name of the source that found this one; undefined where the configuration names it. */
  readonly parent: string | undefined;
  options: SourceOptions;
  readonly claims = new Map<string, StoredClaim>();
  state: SourceState['state'] = 'waiting';
  reason: string | undefined = undefined;
  /** Stale in part: it speaks, but some of what it says is the last that could be understood. */
  partial = false;
  refused = 0;
  /** Claims turned away because the source has too many. Only the first is kept, to show it. */
  turnedAway = 0;
  firstTurnedAway: Claim | undefined = undefined;
  /** Monotonic time at which its claims expire when nothing is heard; Infinity while it is fresh or never expires. */
  expiresAtMs = Number.POSITIVE_INFINITY;
  /** Wall clock at which it fell silent; NaN while fresh. */
  silentSinceMs = Number.NaN;
  expired = false;
  lastUpdateMs: number | undefined = undefined;
  hold: Hold | undefined = undefined;
  generation = 0;
  #window: RemovalWindow = { untilMs: Number.NEGATIVE_INFINITY, baseline: 0, removed: 0 };

  constructor(name: string, options: SourceOptions, parent?: string) {
    this.name = name;
    this.parent = parent;
    this.options = options;
  }

  get priority(): number {
    return this.options.priority;
  }

  get quiet(): boolean {
    return this.state === 'stale' || this.state === 'restored';
  }

  /** Whether the withdrawal of `withdrawn` of `from` claims is more often a fault than a wish. */
  isMass(withdrawn: number, from: number): boolean {
    return this.options.holdMs > 0 && withdrawn > MASS_WITHDRAWAL_MIN && withdrawn * 2 > from;
  }

  /**
   * Counts removals that come one by one. A thousand DELETE events within seconds are as suspicious as a list that lacks a thousand items:
   * the removal that makes them a mass, and those after it, are held. What went before has gone.
   */
  countRemovals(count: number, nowMs: number): boolean {
    if (nowMs >= this.#window.untilMs) {
      this.#window = { untilMs: nowMs + this.options.holdMs, baseline: this.claims.size, removed: 0 };
    }
    this.#window.removed += count;
    return this.isMass(this.#window.removed, this.#window.baseline);
  }

  /** Nothing is heard of it. */
  get away(): boolean {
    return this.quiet && !this.partial;
  }

  /** A hold does not run out while its source is away: what is uncertain then is the withdrawal. */
  get holdEndsAtMs(): number {
    return this.hold === undefined || this.away ? Number.POSITIVE_INFINITY : this.hold.untilMs;
  }

  describe(): SourceState {
    return {
      name: this.name,
      state: this.state,
      ...(this.reason !== undefined && { reason: this.reason }),
      claims: this.claims.size,
      refused: this.refused + this.turnedAway,
      ...(this.lastUpdateMs !== undefined && { lastUpdateMs: this.lastUpdateMs }),
      ...(this.hold !== undefined && {
        held: { claims: this.hold.claims.size, untilMs: this.hold.untilWallMs },
      }),
    };
  }
}
