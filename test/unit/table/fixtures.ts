import { formatCidr, parseAddress, parseCidr } from '../../../src/base/address.ts';
import type { Claim, Gateway, LocalUse } from '../../../src/table/claim.ts';
import type { TableSettings } from '../../../src/table/refusal.ts';
import type { Refusal } from '../../../src/table/route.ts';
import type { SourceOptions } from '../../../src/table/source.ts';
import { Table } from '../../../src/table/table.ts';

export const SETTINGS: TableSettings = {
  cluster: 'east',
  local: [parseCidr('10.1.0.0/16'), parseCidr('10.96.0.0/16')],
  ownAddresses: [parseAddress('172.31.0.1'), parseAddress('10.1.0.1')],
  underlay: parseAddress('172.31.0.1'),
};

export const HOLD_MS = 30_000;

export function options(changed: Partial<SourceOptions> = {}): SourceOptions {
  return { priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: HOLD_MS, ...changed };
}

/** A table with sources `a` and `b`, or those named. */
export function tableWith(
  sources: Readonly<Record<string, Partial<SourceOptions>>> = { a: {}, b: {} },
): Table {
  const table = new Table(SETTINGS);
  for (const [name, changed] of Object.entries(sources)) table.addSource(name, options(changed));
  return table;
}

/** `gateway('172.31.0.2')`, `gateway('172.31.0.2*3')` with weight 3. */
export function gateway(text: string): Gateway {
  const [address = '', weight = '1'] = text.split('*');
  return { address: parseAddress(address), weight: Number(weight) };
}

/** A claim whose id is `id`, or its cluster and CIDR. */
export function claim(
  cluster: string,
  cidr: string,
  gateways = '172.31.0.2',
  id = `${cluster}:${cidr}`,
): Claim {
  const list = gateways === '' ? [] : gateways.split(' ').map(gateway);
  return { id, cluster, cidr: parseCidr(cidr), gateways: list };
}

/** `count` claims of /24s of one cluster, from 10.100.0.0. */
export function many(count: number, cluster = 'west', gateways = '172.31.0.2'): Claim[] {
  return Array.from({ length: count }, (_, i) =>
    claim(cluster, `10.${100 + (i >> 8)}.${i & 255}.0/24`, gateways),
  );
}

/** Routes as `10.2.0.0/16 west`, sorted. */
export function routesOf(table: Table): string[] {
  return Array.from(table.routes(), ({ cidr, cluster }) => `${formatCidr(cidr)} ${cluster}`).sort();
}

export function refusalsOf(table: Table): string[] {
  return table.refused().map(({ id, reason }: Refusal) => `${id} ${reason}`);
}

export function changesOf(table: Table): { set: string[]; removed: string[] } {
  const { set, removed } = table.takeChanges();
  return {
    set: set.map((route) => `${formatCidr(route.cidr)} ${route.cluster}`),
    removed: removed.map(formatCidr),
  };
}

/** Names of the events since the last call. */
export function eventsOf(table: Table): string[] {
  return table.events().map(({ event }) => event);
}

/** A claim that `cidr` is our own. Its id is `id`, or `local:` and the CIDR. */
export function localClaim(cidr: string, local: LocalUse = 'pods', id = `local:${cidr}`): Claim {
  return { id, cluster: 'east', cidr: parseCidr(cidr), gateways: [], local };
}

/** All that is ours, joined, as the packet path is told. */
export function localOf(table: Table): string[] {
  return table.local().map(formatCidr);
}

/** Own CIDRs that sources claim and that stand, sorted. */
export function learnedOf(table: Table): string[] {
  const learned = table.localCidrs().filter(({ use }) => use !== 'configured');
  return learned.map(({ cidr }) => formatCidr(cidr)).sort();
}
