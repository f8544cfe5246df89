import type { Cidr, IpAddress } from '../base/address.ts';
import type { Gateway, LocalUse } from './claim.ts';

/** What the table made of the claims on one CIDR. */
export interface Route {
  readonly cidr: Cidr;
  readonly cluster: string;
  /** Sorted by address, each once. */
  readonly gateways: readonly Gateway[];
  /** `source/id` of each claim that made it. */
  readonly origins: readonly string[];
  /** All the sources behind it are stale. */
  readonly stale: boolean;
  /** Wall clock, ms since the epoch, when this CIDR first had a route of this cluster. */
  readonly sinceMs: number;
}

/** What the packet path has to know of a route. */
export type ForwardedRoute = Pick<Route, 'cidr' | 'cluster' | 'gateways'>;

/** One of our own CIDRs, as it was configured or learned. */
export interface LocalCidr {
  readonly cidr: Cidr;
  /** What it was learned for, also where it is configured too: what is DNATed weighs more than pods, and pods more than routes. */
  readonly use: LocalUse | 'configured';
  /** `config` where it is configured, and `source/id` of each claim. */
  readonly origins: readonly string[];
  /** It is not configured, and all the sources behind it are stale. */
  readonly stale: boolean;
}

export interface RouteChanges {
  /** New, or with other gateways or another cluster than before. A route of which only origins or staleness changed is not here. */
  readonly set: readonly ForwardedRoute[];
  readonly removed: readonly Cidr[];
  /** All our own CIDRs, configured and learned, none inside another and none the half of a larger one; undefined when they are as before. */
  readonly local: readonly Cidr[] | undefined;
}

/** Why a claim made no route. One word each; `isthmus routes --refused` shows them. */
export type RefusalReason =
  | 'inside-local'
  | 'default-route'
  | 'martian'
  | 'too-short'
  | 'own-gateway'
  | 'no-gateways'
  | 'gateway-inside'
  | 'gateway-family'
  | 'protected'
  | 'own-cluster'
  | 'conflict'
  | 'limit';

export interface Refusal {
  readonly source: string;
  readonly id: string;
  readonly cidr: Cidr;
  readonly cluster: string;
  readonly reason: RefusalReason;
  /** A sentence that names the other party: the local CIDR, the gateway, the cluster that was there first. */
  readonly detail: string;
}

/** A CIDR that two clusters claim. */
export interface Conflict {
  readonly cidr: Cidr;
  /** Was there first and keeps it. */
  readonly cluster: string;
  /** Has to wait. */
  readonly claimedBy: string;
  /** `source/id` of each claim of `claimedBy`. */
  readonly origins: readonly string[];
  readonly detail: string;
}

/**
 * A prefix of one cluster inside a shorter prefix of another. Allowed, shown. `within` is the next shorter prefix that has a route: where
 * that is of the same cluster, the longer prefix changes nothing and is no shadow, whatever lies further out.
 */
export interface Shadow {
  readonly cidr: Cidr;
  readonly cluster: string;
  readonly within: Cidr;
  readonly withinCluster: string;
}

export interface SourceState {
  readonly name: string;
  readonly state: 'waiting' | 'fresh' | 'stale' | 'restored';
  readonly reason?: string;
  readonly claims: number;
  readonly refused: number;
  /** Wall clock of the last word from it. */
  readonly lastUpdateMs?: number;
  /** Claims whose withdrawal is held back, and the wall-clock time at which it takes effect. */
  readonly held?: { readonly claims: number; readonly untilMs: number };
}

/** What there is of a cluster that has a route. */
export interface ClusterSummary {
  readonly name: string;
  readonly routes: number;
  /** Routes of which every source is away. */
  readonly staleRoutes: number;
  readonly gateways: ReadonlySet<IpAddress>;
  /** Names of the sources whose claims made them. */
  readonly sources: ReadonlySet<string>;
}
