import type { Entry, LocalStake } from './entry.ts';
import type { PrefixMap } from './prefix-map.ts';
import type { Shadow } from './route.ts';

/** With the learned ones among our own CIDRs; what is configured to be ours was meant to be. Linear in the routes, times the prefix lengths in use: each asks the hash map for the next shorter prefix that has a route. */
export function shadowsAmong(
  entries: PrefixMap<Entry>,
  locals: Iterable<LocalStake>,
  ownCluster: string,
): Shadow[] {
  const shadows: Shadow[] = [];
  for (const { cidr, inForce } of entries.values()) {
    if (inForce === undefined) continue;
    const around = entries.longest(
      cidr.address,
      cidr.prefixLength - 1,
      (entry) => entry.inForce !== undefined,
    );
    const withinCluster = around?.inForce?.stake.cluster;
    if (around === undefined || withinCluster === undefined || withinCluster === inForce.stake.cluster)
      continue;
    shadows.push({ cidr, cluster: inForce.stake.cluster, within: around.cidr, withinCluster });
  }
  for (const { cidr } of locals) {
    const around = entries.longest(
      cidr.address,
      cidr.prefixLength - 1,
      (entry) => entry.inForce !== undefined,
    );
    const withinCluster = around?.inForce?.stake.cluster;
    if (around === undefined || withinCluster === undefined) continue;
    shadows.push({ cidr, cluster: ownCluster, within: around.cidr, withinCluster });
  }
  return shadows;
}
