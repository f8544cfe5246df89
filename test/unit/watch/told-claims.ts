import { formatAddress, formatCidr } from '../../../src/base/address.ts';
import type { Claim, ClaimUpdate } from '../../../src/table/claim.ts';

/** What somebody has who was told all words of a source and holds nothing back. */
export class ToldClaims {
  readonly #claims = new Map<string, Claim>();

  apply(update: ClaimUpdate): void {
    if (update.kind === 'replace') this.#claims.clear();
    if (update.kind === 'replace' || update.kind === 'upsert')
      for (const claim of update.claims) this.#claims.set(claim.id, claim);
    if (update.kind === 'remove') for (const id of update.ids) this.#claims.delete(id);
  }

  claims(): Iterable<Claim> {
    return this.#claims.values();
  }

  get lines(): string[] {
    return linesOf(this.#claims.values());
  }
}

/** `Node/a 10.1.0.0/24 west by 10.0.0.1`, sorted. */
export function linesOf(claims: Iterable<Claim>): string[] {
  return Array.from(claims, ({ id, cidr, cluster, gateways, local }) => {
    const by = gateways.map(
      ({ address, weight }) => `${formatAddress(address)}${weight === 1 ? '' : `*${weight}`}`,
    );
    const whose = local === undefined ? `by ${by.sort().join(' ') || 'nobody'}` : `local ${local}`;
    return `${id} ${formatCidr(cidr)} ${cluster} ${whose}`;
  }).sort();
}
