import type { Cidr, IpAddress } from '../base/address.ts';

/** An underlay address that decapsulates for a cluster. Flows are shared among the gateways of a route in proportion to `weight`. */
export interface Gateway {
  readonly address: IpAddress;
  /** Up to GATEWAY_WEIGHT_MAX of base/limits.ts. 0: it gets no flows, but what comes from it is accepted (it drains, or changed its address). */
  readonly weight: number;
}

/** What an own CIDR is for: services are DNATed by this host, everything else is forwarded. */
export type LocalUse = 'pods' | 'services' | 'routes';

/** One watcher's statement: this CIDR of this cluster is behind these gateways. */
export interface Claim {
  /** Unique within its source and stable over time; names where it comes from, as people know it: `west.yaml:west`, `Node/worker-3`. */
  readonly id: string;
  readonly cidr: Cidr;
  readonly cluster: string;
  readonly gateways: readonly Gateway[];
  /** Present: the CIDR is our own, learned and not configured; `cluster` is our own name then and `gateways` is empty. */
  readonly local?: LocalUse;
}

/**
 * What a source says. The same words for every source; the table alone reconciles.
 *
 * Any word but `stale` ends staleness, except where it carries `stale` itself: then parts of what the source has are the last that could be
 * understood (one broken file among many). It is shown as stale for that reason, but does not expire, because it is not away.
 */
export type ClaimUpdate =
  /** The whole truth of this source. */
  | { readonly kind: 'replace'; readonly claims: readonly Claim[]; readonly stale?: string }
  /** Added or changed claims, by id. */
  | { readonly kind: 'upsert'; readonly claims: readonly Claim[]; readonly stale?: string }
  | { readonly kind: 'remove'; readonly ids: readonly string[]; readonly stale?: string }
  /** The source cannot be reached or understood: its last claims stay. */
  | { readonly kind: 'stale'; readonly reason: string }
  /** The source is well again and nothing changed. */
  | { readonly kind: 'fresh' };
