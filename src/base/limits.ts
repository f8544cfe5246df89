/** Limits that the configuration checks and the FIB image is built for: one number each, so that neither accepts what the other cannot hold or means to use. */

/** Each peer record of the FIB image has one bit for each; Cilium Cluster Mesh stops at 511 as well. */
export const CLUSTERS_MAX = 512;

/** Gateways of a route. With 1,024 buckets a group one of 256 equal ones still gets four on average; with more, some would get none. */
export const GATEWAYS_MAX = 256;

/** Weights above it gain nothing: a share finer than one bucket does not exist. */
export const GATEWAY_WEIGHT_MAX = 1000;

/**
 * Our own CIDRs, configured and learned. Those of 10,000 nodes whose CIDRs do not join, or some blocks of Calico for each of them; a node
 * more or less is compared with all, which takes 2 ms for 10,000.
 */
export const LOCAL_CIDRS_MAX = 65_536;

/** The packet path compares an unknown outer source with each of them. */
export const DECAPSULATE_FROM_MAX = 64;

/** UDP, both ports of a probe; from the dynamic range of RFC 6335 §6, since nothing listens on it: the tunnel takes probes out before. */
export const PROBE_PORT = 49_461;
