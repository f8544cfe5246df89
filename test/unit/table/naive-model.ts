import {
  type CidrKey,
  cidrHolds,
  cidrKey,
  compareAddresses,
  formatCidr,
  type IpAddress,
} from '../../../src/base/address.ts';
import type { Claim, ClaimUpdate } from '../../../src/table/claim.ts';
import { Judge } from '../../../src/table/refusal.ts';
import { SETTINGS } from './fixtures.ts';

interface Held {
  readonly source: string;
  readonly claim: Claim;
}

/**
 * The rules of the table written down as plainly as possible: lists, no index, everything computed anew after each update. What it must keep
 * besides the claims is who came when: of each (CIDR, cluster), and of each gateway.
 */
export class NaiveModel {
  readonly #judge = new Judge(SETTINGS, 256);
  readonly #priorities: Readonly<Record<string, number>>;
  #claims: Held[] = [];
  #clock = 0;
  /** By `cidr cluster`: when it was first claimed, and when it became able to make a route. */
  readonly #places = new Map<string, { seq: number; rank: number }>();
  readonly #gateways = new Map<IpAddress, number>();
  readonly #cidrKeys = new Map<string, CidrKey>();

  constructor(priorities: Readonly<Record<string, number>>) {
    this.#priorities = priorities;
  }

  apply(source: string, update: ClaimUpdate): void {
    if (update.kind === 'stale' || update.kind === 'fresh') return;
    const ids = new Set(update.kind === 'remove' ? update.ids : []);
    const given = new Map((update.kind === 'remove' ? [] : update.claims).map((claim) => [claim.id, claim]));
    const leaves = ({ claim, source: from }: Held) =>
      from === source && (ids.has(claim.id) || (update.kind === 'replace' && !given.has(claim.id)));
    this.#claims = this.#claims.filter((held) => !leaves(held));
    for (const claim of update.kind === 'remove' ? [] : update.claims) this.#put({ source, claim });
    this.#forget();
    this.#rank();
  }

  /** `cidr cluster gateway*weight …` of each route, sorted. */
  routes(): string[] {
    const routes: string[] = [];
    for (const key of new Set(this.#standing().map(({ claim }) => cidrKey(claim.cidr)))) {
      const here = this.able().filter(({ claim }) => cidrKey(claim.cidr) === key);
      const order = ({ claim }: Held) => this.#places.get(placeOf(claim))?.rank ?? Number.NaN;
      const first = here.toSorted((a, b) => order(a) - order(b))[0];
      if (first === undefined) continue;
      const mine = here.filter(({ claim }) => claim.cluster === first.claim.cluster);
      const best = Math.max(...mine.map(({ source }) => this.#priorities[source] ?? Number.NaN));
      const weights = new Map<IpAddress, number>();
      for (const { source, claim } of mine) {
        if (this.#priorities[source] !== best) continue;
        for (const { address, weight } of claim.gateways)
          weights.set(address, Math.max(weight, weights.get(address) ?? 0));
      }
      const gateways = [...weights]
        .sort(([a], [b]) => compareAddresses(a, b))
        .map(([address, weight]) => `${address}*${weight}`);
      routes.push(`${formatCidr(first.claim.cidr)} ${first.claim.cluster} ${gateways.join(' ')}`);
    }
    return routes.sort();
  }

  /** Claims that no rule but a conflict may keep from making a route. */
  able(): Held[] {
    return this.#standing().filter(({ claim }) => {
      for (const [address, since] of this.#gateways) {
        if (cidrHolds(claim.cidr, address) && since < this.#since(cidrKey(claim.cidr))) return false;
      }
      return !claim.gateways.some(({ address }) =>
        this.#standing().some(
          (other) =>
            cidrHolds(other.claim.cidr, address) &&
            this.#since(cidrKey(other.claim.cidr)) < (this.#gateways.get(address) ?? Number.NaN),
        ),
      );
    });
  }

  #standing(): Held[] {
    return this.#claims.filter(({ claim }) => this.#judge.refuse(claim) === undefined);
  }

  /** When the CIDR was first claimed by anybody who still claims it. */
  #since(key: CidrKey): number {
    const seqs = [...this.#places]
      .filter(([place]) => this.#cidrKeys.get(place) === key)
      .map(([, { seq }]) => seq);
    return Math.min(...seqs);
  }

  #put(held: Held): void {
    const { claim } = held;
    const at = this.#claims.findIndex(
      ({ source, claim: { id } }) => source === held.source && id === claim.id,
    );
    if (at >= 0) this.#claims[at] = held;
    else this.#claims.push(held);
    if (this.#judge.refuse(claim) !== undefined) return;
    const seq = this.#clock++;
    const place = placeOf(claim);
    this.#cidrKeys.set(place, cidrKey(claim.cidr));
    if (!this.#places.has(place)) this.#places.set(place, { seq, rank: seq });
    for (const { address } of claim.gateways)
      if (!this.#gateways.has(address)) this.#gateways.set(address, seq);
  }

  #forget(): void {
    const standing = this.#standing();
    for (const place of this.#places.keys()) {
      if (!standing.some(({ claim }) => placeOf(claim) === place)) this.#places.delete(place);
    }
    for (const address of this.#gateways.keys()) {
      const named = standing.some(({ claim }) =>
        claim.gateways.some((gateway) => gateway.address === address),
      );
      if (!named) this.#gateways.delete(address);
    }
  }

  #rank(): void {
    const able = this.able();
    for (const [name, place] of this.#places) {
      if (!able.some(({ claim }) => placeOf(claim) === name)) place.rank = Number.POSITIVE_INFINITY;
      else if (place.rank === Number.POSITIVE_INFINITY) place.rank = this.#clock++;
    }
  }
}

function placeOf(claim: Claim): string {
  return `${formatCidr(claim.cidr)} ${claim.cluster}`;
}
