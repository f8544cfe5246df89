import type { IpAddress } from '../base/address.ts';
import type { Gateway } from './claim.ts';
import type { Entry } from './entry.ts';
import type { ClusterSummary } from './route.ts';

interface Row {
  readonly name: string;
  routes: number;
  staleRoutes: number;
  readonly gateways: Set<IpAddress>;
  readonly sources: Set<string>;
  /** Most routes of a cluster share one list of gateways; a list is only gone through when it is another than the last. */
  last: readonly Gateway[];
}

/** Counts the routes in force by cluster, in the order in which clusters first appear. */
export function summarize(entries: Iterable<Entry>): ClusterSummary[] {
  const rows = new Map<string, Row>();
  for (const { inForce } of entries) {
    if (inForce === undefined) continue;
    const { stake, gateways, contributors } = inForce;
    let row = rows.get(stake.cluster);
    if (row === undefined) {
      row = {
        name: stake.cluster,
        routes: 0,
        staleRoutes: 0,
        gateways: new Set(),
        sources: new Set(),
        last: [],
      };
      rows.set(stake.cluster, row);
    }
    row.routes += 1;
    if (contributors.every(({ owner }) => owner.quiet)) row.staleRoutes += 1;
    for (const { owner } of contributors) row.sources.add(owner.name);
    if (gateways === row.last) continue;
    row.last = gateways;
    for (const { address } of gateways) row.gateways.add(address);
  }
  return [...rows.values()].map(({ last: _, ...summary }) => summary);
}
