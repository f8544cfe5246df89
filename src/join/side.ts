import type { Cidr } from '../base/address.ts';
import type { ClusterApi } from './cluster-api.ts';

/** Which of a cluster's nodes the other clusters send to, or the addresses themselves. */
export type GatewayChoice =
  | { readonly kind: 'all' }
  | { readonly kind: 'objects' }
  | { readonly kind: 'labels'; readonly selector: string }
  | { readonly kind: 'addresses'; readonly addresses: readonly string[] };

export const SOURCES = ['Kubernetes', 'Calico', 'Cilium'] as const;
export type Source = (typeof SOURCES)[number];

export const AGGREGATES = ['Pool', 'Block'] as const;

/** One of two clusters that are joined, and what a person said of it. */
export interface Side {
  /** As the other cluster calls it. */
  readonly name: string;
  readonly api: ClusterApi;
  /** URL of its API as the other's gateways reach it; undefined: that of the kubeconfig. */
  readonly server: string | undefined;
  readonly gateways: GatewayChoice;
  /** In place of what the API tells, each. */
  readonly podCidrs: readonly Cidr[];
  readonly serviceCidrs: readonly Cidr[];
  readonly source: Source | undefined;
  readonly aggregate: (typeof AGGREGATES)[number] | undefined;
  readonly dnsDomain: string;
}
