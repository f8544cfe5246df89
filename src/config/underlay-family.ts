import { type Family, familyOf, formatAddress, formatCidr, type IpAddress } from '../base/address.ts';
import type { Complaint } from './section.ts';

interface WithUnderlay {
  readonly underlay: { readonly family: 'auto' | Family; readonly address: 'auto' | IpAddress };
}

/** Of our underlay address and of those of all gateways: one gateway has one underlay. */
export function underlayFamily({ underlay }: WithUnderlay): Family {
  return familyIn(underlay.family, underlay.address);
}

function familyIn(family: unknown, address: unknown): Family {
  if (family === 'ipv4' || family === 'ipv6') return family;
  return typeof address === 'bigint' ? 'ipv6' : 'ipv4';
}

type Draft = { readonly [field: string]: unknown };

interface Sections {
  readonly underlay: Draft;
  readonly tunnel: Draft;
  readonly security: Draft;
  /** Lists of mappings, of which some fields may not have been read. */
  readonly clusters: readonly Draft[];
}

const NAMES = { ipv4: 'IPv4', ipv6: 'IPv6' } as const;

/** What an IPv6 underlay does not have, and what is done instead. */
const IPV4_ONLY = [
  ['encapsulation', 'fou', 'ipip', 'UDP as outer header is there for IPv4 only'],
  ['mode', 'cross-subnet', 'always', 'routes past the tunnel are there for IPv4 only'],
  ['transmit', 'packet', 'raw', 'next hops are looked up for IPv4 only'],
  ['underlaySocket', 'raw-socket', 'batch', 'the package cannot tell the traffic class of what it receives'],
  ['fragment', 'outer', 'inner', 'outer IPv6 packets are fragmented only where nothing else is left'],
] as const;

/** Addresses of the other family, and what the family does not have. */
export function* ofOneFamily({ underlay, tunnel, security, clusters }: Sections): Iterable<Complaint> {
  const family = familyIn(underlay.family, underlay.address);
  const name = NAMES[family];
  const isOther = (address: unknown): address is IpAddress =>
    (typeof address === 'number' || typeof address === 'bigint') && familyOf(address) !== family;
  const wrong = (path: Complaint['path'], what: string): Complaint => ({
    path,
    message: `expected ${name}, of which the underlay is (underlay.family), got ${what}`,
  });
  if (isOther(underlay.address)) yield wrong(['underlay', 'address'], formatAddress(underlay.address));
  for (const [i, cluster] of clusters.entries()) {
    for (const [j, gateway] of listIn(cluster.gateways).entries()) {
      const { address } = gateway;
      if (isOther(address)) yield wrong(['clusters', i, 'gateways', j, 'address'], formatAddress(address));
    }
  }
  for (const [i, { address, prefixLength }] of listIn(security.decapsulateFrom).entries()) {
    if (isOther(address) && typeof prefixLength === 'number')
      yield wrong(['security', 'decapsulateFrom', i], formatCidr({ address, prefixLength } as never));
  }
  if (family === 'ipv4') return;
  for (const [field, value, instead, why] of IPV4_ONLY) {
    if (tunnel[field] !== value) continue;
    const message = `expected ${instead} with an IPv6 underlay, got ${value}; ${why}`;
    yield { path: ['tunnel', field], message };
  }
}

function listIn(value: unknown): readonly Draft[] {
  return Array.isArray(value)
    ? value.map((each) => (typeof each === 'object' && each !== null ? each : {}))
    : [];
}
