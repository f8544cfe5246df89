import type { Entry } from './entry.ts';
import type { PrefixMap } from './prefix-map.ts';
import type { Shadow } from './route.ts';

/** Linear in the routes, times the prefix lengths in use: each asks the hash map for the next shorter prefix that has a route. */
export function shadowsAmong(entries: PrefixMap<Entry>): Shadow[] {
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
  return shadows;
}
