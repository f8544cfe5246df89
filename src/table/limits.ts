import { CLUSTERS_MAX, GATEWAYS_MAX, LOCAL_CIDRS_MAX } from '../base/limits.ts';

/** Every bound of the table. Beyond it a claim is refused with reason `limit`, it never stops the process. */
export interface TableLimits {
  readonly claimsPerSource: number;
  readonly routes: number;
  readonly clusters: number;
  readonly gatewaysPerRoute: number;
  /** Own CIDRs, configured and learned, before they are joined. */
  readonly localCidrs: number;
}

/** The FIB image is built for a million prefixes; a source that claims more is broken, or not meant for one gateway. */
export const CLAIMS_PER_SOURCE_MAX = 1_000_000;

export const ROUTES_MAX = 1_000_000;

/** The peer records of the FIB image have a bitmap of this many clusters. */
export const ROUTED_CLUSTERS_MAX = CLUSTERS_MAX;

/** As many as one group of the FIB image has. */
export const GATEWAYS_PER_ROUTE_MAX = GATEWAYS_MAX;

/** A `replace` that withdraws this many claims or fewer is never held: small sources change as a whole by intention. */
export const MASS_WITHDRAWAL_MIN = 10;

/** Log events kept until the next drain; what comes after is counted. */
export const EVENTS_MAX = 1000;

/** Conflicts that one update may name one by one in the log; the rest is one line. `isthmus status` lists all. */
export const CONFLICT_EVENTS_MAX = 10;

export const DEFAULT_LIMITS: TableLimits = {
  claimsPerSource: CLAIMS_PER_SOURCE_MAX,
  routes: ROUTES_MAX,
  clusters: ROUTED_CLUSTERS_MAX,
  gatewaysPerRoute: GATEWAYS_PER_ROUTE_MAX,
  localCidrs: LOCAL_CIDRS_MAX,
};
