/** Limits that the configuration checks and the FIB image is built for: one number each, so that neither accepts what the other cannot hold. */

/** Each peer record of the FIB image has one bit for each; Cilium Cluster Mesh stops at 511 as well. */
export const CLUSTERS_MAX = 512;

/** Gateways of a route. With 1,024 buckets a group one of 256 equal ones still gets four on average; with more, some would get none. */
export const GATEWAYS_MAX = 256;

/** Weights above it gain nothing: a share finer than one bucket does not exist. */
export const GATEWAY_WEIGHT_MAX = 1000;

/** Our own CIDRs come from configuration, by hand; the FIB keeps them in a Map beside the trie. */
export const LOCAL_CIDRS_MAX = 4096;

/** The packet path compares an unknown outer source with each of them. */
export const DECAPSULATE_FROM_MAX = 64;
