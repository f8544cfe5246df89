import { formatAddress, formatCidr, type IpAddress } from '../base/address.ts';
import type { Gateway } from './claim.ts';
import {
  type Entry,
  firstOf,
  type InForce,
  LOST,
  mergeGateways,
  type Refused,
  type Stake,
  type StoredClaim,
} from './entry.ts';
import type { KnownGateway, KnownGateways } from './known-gateways.ts';

export type Verdicts = Map<StoredClaim, Refused>;

/**
 * Claims of the entry that may not stand because of the gateways of others. Between a CIDR and a gateway inside it the older one stays: a
 * newcomer with a mistyped gateway must not take down the route that happens to hold that address, nor a newcomer with a wide CIDR the
 * tunnel of others. Only ages decide, never whether the other one stands, so one refusal never leads to a chain of others.
 */
export function refuseSwallowed(entry: Entry, gateways: KnownGateways, verdicts: Verdicts): void {
  const older = olderInside(entry, gateways);
  for (const stake of entry.stakes) {
    for (const stored of stake.claims) {
      if (older !== undefined) {
        verdicts.set(stored, {
          reason: 'gateway-inside',
          detail: `${formatCidr(entry.cidr)} holds ${formatAddress(older.address)}, a gateway that was there first`,
        });
        continue;
      }
      if (!gateways.anySwallowed) continue;
      for (const { address } of stored.claim.gateways) {
        const inside = gateways.get(address)?.inside;
        if (inside === undefined) continue;
        const clusters = inside.stakes.map((other) => other.cluster).join(', ');
        verdicts.set(stored, {
          reason: 'gateway-inside',
          detail: `gateway ${formatAddress(address)} lies in ${formatCidr(inside.cidr)} of ${clusters}, which was there first`,
        });
        break;
      }
    }
  }
}

function olderInside(entry: Entry, gateways: KnownGateways): KnownGateway | undefined {
  for (const known of gateways.inside(entry.cidr)) if (known.since < entry.since) return known;
  return undefined;
}

/** Renews the places of the stakes and returns the one that has the CIDR: the first that can make a route. */
export function winnerOf(entry: Entry, verdicts: Verdicts, nextSeq: () => number): Stake | undefined {
  for (const stake of entry.stakes) {
    const able = verdicts.size === 0 || stake.claims.some((stored) => !verdicts.has(stored));
    if (!able) stake.rank = LOST;
    else if (stake.rank === LOST) stake.rank = nextSeq();
  }
  return firstOf(entry.stakes);
}

/**
 * The gateways that the best claims of a stake give: those of the sources of the highest priority, merged by address with the largest
 * weight. Claims that would lead beyond `gatewaysMax` get a verdict instead, oldest claims first.
 */
export function routeOf(stake: Stake, verdicts: Verdicts, gatewaysMax: number): InForce {
  const able = verdicts.size === 0 ? stake.claims : stake.claims.filter((stored) => !verdicts.has(stored));
  const only = able[0] as StoredClaim;
  if (able.length === 1) return { stake, gateways: only.claim.gateways, contributors: able };
  let priority = Number.NEGATIVE_INFINITY;
  for (const { owner } of able) if (owner.priority > priority) priority = owner.priority;
  const contributors: StoredClaim[] = [];
  const addresses = new Set<IpAddress>();
  const gateways: Gateway[] = [];
  for (const stored of able) {
    if (stored.owner.priority !== priority) continue;
    const added = stored.claim.gateways.filter(({ address }) => !addresses.has(address));
    if (addresses.size + added.length > gatewaysMax) {
      verdicts.set(stored, {
        reason: 'limit',
        detail: `with the claims before it ${formatCidr(stored.claim.cidr)} would have more than ${gatewaysMax} gateways`,
      });
      continue;
    }
    for (const { address } of added) addresses.add(address);
    gateways.push(...stored.claim.gateways);
    contributors.push(stored);
  }
  return { stake, gateways: mergeGateways(gateways), contributors };
}

/** The verdict on the claims of a stake that came too late. */
export function lostTo(winner: Stake): Refused {
  return {
    reason: 'conflict',
    detail: `${formatCidr(winner.entry.cidr)} belongs to ${winner.cluster}, which was there first`,
  };
}
