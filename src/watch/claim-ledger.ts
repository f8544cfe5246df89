import { cidrKey } from '../base/address.ts';
import type { Claim, ClaimUpdate, Gateway } from '../table/claim.ts';

/** The claims of a source by the object they come from, and how they differ from what the table was told. */
export class ClaimLedger {
  readonly #claims = new Map<string, readonly Claim[]>();
  readonly #upserts = new Map<string, Claim>();
  readonly #removed = new Set<string>();

  /** What `owner` claims now, in place of what it claimed before. No two owners have claims with the same id. */
  put(owner: string, claims: readonly Claim[]): void {
    const before = this.#claims.get(owner) ?? [];
    if (claims.length === 0) this.#claims.delete(owner);
    else this.#claims.set(owner, claims);
    for (const claim of claims) {
      const known = before.find(({ id }) => id === claim.id);
      if (known !== undefined && sameClaim(known, claim)) continue;
      this.#removed.delete(claim.id);
      this.#upserts.set(claim.id, claim);
    }
    for (const { id } of before) {
      if (claims.some((claim) => claim.id === id)) continue;
      this.#upserts.delete(id);
      this.#removed.add(id);
    }
  }

  /** All claims; from now on only what differs from them is told. */
  all(): readonly Claim[] {
    this.#forget();
    return [...this.#claims.values()].flat();
  }

  /**
   * What changed since the last time, in one word or two. Additions come first: a CIDR that one object gives up and another takes over keeps
   * its route.
   */
  changes(): ClaimUpdate[] {
    const words: ClaimUpdate[] = [];
    if (this.#upserts.size > 0) words.push({ kind: 'upsert', claims: [...this.#upserts.values()] });
    if (this.#removed.size > 0) words.push({ kind: 'remove', ids: [...this.#removed] });
    this.#forget();
    return words;
  }

  #forget(): void {
    this.#upserts.clear();
    this.#removed.clear();
  }
}

function sameClaim(a: Claim, b: Claim): boolean {
  return (
    cidrKey(a.cidr) === cidrKey(b.cidr) &&
    a.cluster === b.cluster &&
    a.local === b.local &&
    sameGateways(a.gateways, b.gateways)
  );
}

function sameGateways(a: readonly Gateway[], b: readonly Gateway[]): boolean {
  if (a === b) return true;
  return (
    a.length === b.length &&
    a.every(({ address, weight }, i) => address === b[i]?.address && weight === b[i]?.weight)
  );
}
