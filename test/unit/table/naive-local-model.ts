import {
  type Cidr,
  type CidrKey,
  cidrContains,
  cidrHolds,
  cidrKey,
  formatCidr,
} from '../../../src/base/address.ts';
import type { Claim, ClaimUpdate } from '../../../src/table/claim.ts';

interface Held {
  readonly source: string;
  readonly claim: Claim;
}

/** One CIDR of one cluster, or one that is said to be ours. */
interface Place {
  readonly cidr: Cidr;
  readonly cluster: string;
  readonly isLocal: boolean;
  readonly seq: number;
  rank: number;
  /** Of an own CIDR: it stands. */
  stands: boolean;
}

const LAST = Number.POSITIVE_INFINITY;

/**
 * What is ours and what is another cluster's, decided with lists alone: whoever stands stays while it is claimed; of those that do not, the
 * oldest is asked first; an own CIDR may come where no route lies in it, a route where not all of it is ours.
 */
export class NaiveLocalModel {
  readonly #sources: readonly string[];
  #configured: readonly Cidr[];
  #claims: Held[] = [];
  readonly #places: Place[] = [];
  /** By CIDR: it has a route. */
  readonly #routed = new Set<CidrKey>();
  #clock = 0;

  constructor(sources: readonly string[], configured: readonly Cidr[]) {
    this.#sources = sources;
    this.#configured = configured;
  }

  apply(source: string, update: ClaimUpdate): void {
    if (update.kind === 'stale' || update.kind === 'fresh') return;
    const ids = new Set(update.kind === 'remove' ? update.ids : []);
    const given = new Set((update.kind === 'remove' ? [] : update.claims).map(({ id }) => id));
    this.#claims = this.#claims.filter(
      ({ claim, source: from }) =>
        from !== source || !(ids.has(claim.id) || (update.kind === 'replace' && !given.has(claim.id))),
    );
    for (const claim of update.kind === 'remove' ? [] : update.claims) this.#put({ source, claim });
    this.#decide();
  }

  configure(configured: readonly Cidr[]): void {
    this.#configured = configured;
    for (const source of this.#sources) {
      for (const held of this.#claims) if (held.source === source) this.#place(held.claim);
    }
    this.#decide();
  }

  /** `cidr cluster` of each route, sorted. */
  routes(): string[] {
    return [...this.#routed].map((key) => this.#text(key)).sort();
  }

  /** Learned CIDRs that stand, sorted. */
  learned(): string[] {
    return this.#places
      .filter(({ stands }) => stands)
      .map(({ cidr }) => formatCidr(cidr))
      .sort();
  }

  /** Whether every address of the CIDR is ours, going from the end of one of ours to the next. */
  isOurs({ address, prefixLength }: Cidr): boolean {
    const ours = [
      ...this.#configured,
      ...this.#places.filter(({ stands }) => stands).map(({ cidr }) => cidr),
    ];
    const isFourBytes = typeof address === 'number';
    const endOf = (cidr: Cidr) =>
      BigInt(cidr.address) + 2n ** BigInt((isFourBytes ? 32 : 128) - cidr.prefixLength);
    const end = endOf({ address, prefixLength } as Cidr);
    for (let at = BigInt(address); at < end; ) {
      const around = ours.filter((cidr) => cidrHolds(cidr, isFourBytes ? Number(at) : at));
      if (around.length === 0) return false;
      at = around.map(endOf).sort((a, b) => Number(a < b) - Number(a > b))[0]!;
    }
    return true;
  }

  #text(key: CidrKey): string {
    const here = this.#places.filter(({ isLocal, cidr }) => !isLocal && cidrKey(cidr) === key);
    const first = here.toSorted((a, b) => a.rank - b.rank)[0]!;
    return `${formatCidr(first.cidr)} ${first.cluster}`;
  }

  #put(held: Held): void {
    const at = this.#claims.findIndex(
      ({ source, claim: { id } }) => source === held.source && id === held.claim.id,
    );
    if (at >= 0) this.#claims[at] = held;
    else this.#claims.push(held);
    this.#place(held.claim);
  }

  #place(claim: Claim): void {
    if (!this.#isAdmissible(claim) || this.#places.some((place) => isOf(place, claim))) return;
    const { cidr, cluster, local } = claim;
    const seq = this.#clock++;
    this.#places.push({ cidr, cluster, isLocal: local !== undefined, seq, rank: seq, stands: false });
  }

  #isAdmissible({ cidr, local }: Claim): boolean {
    return local !== undefined || !this.#configured.some((ours) => cidrContains(ours, cidr));
  }

  #decide(): void {
    for (const place of [...this.#places]) {
      const isClaimed = this.#claims.some(({ claim }) => this.#isAdmissible(claim) && isOf(place, claim));
      if (!isClaimed) this.#places.splice(this.#places.indexOf(place), 1);
    }
    for (let before = ''; before !== this.#state(); ) {
      before = this.#state();
      for (const key of this.#routed) if (!this.#canBeRouted(key)) this.#refuse(key);
      const waiting = this.#places.filter(({ isLocal, stands, cidr }) =>
        isLocal ? !stands : !this.#routed.has(cidrKey(cidr)),
      );
      waiting.sort((a, b) => (a.rank === b.rank ? a.seq - b.seq : a.rank - b.rank));
      for (const place of waiting) {
        if (place.isLocal) this.#admit(place);
        else if (this.#canBeRouted(cidrKey(place.cidr))) this.#route(place);
        else place.rank = LAST;
      }
    }
  }

  #admit(place: Place): void {
    const inside = [...this.#routed].some((key) =>
      cidrContains(place.cidr, this.#places.find(({ cidr }) => cidrKey(cidr) === key)!.cidr),
    );
    place.stands = !inside;
    if (inside) place.rank = LAST;
    else if (place.rank === LAST) place.rank = this.#clock++;
  }

  #route(place: Place): void {
    this.#routed.add(cidrKey(place.cidr));
    if (place.rank === LAST) place.rank = this.#clock++;
  }

  #canBeRouted(key: CidrKey): boolean {
    const place = this.#places.find(({ isLocal, cidr }) => !isLocal && cidrKey(cidr) === key);
    return place !== undefined && !this.isOurs(place.cidr);
  }

  #refuse(key: CidrKey): void {
    this.#routed.delete(key);
    for (const place of this.#places) if (!place.isLocal && cidrKey(place.cidr) === key) place.rank = LAST;
  }

  #state(): string {
    return `${[...this.#routed].sort().join()} ${this.learned().join()}`;
  }
}

function isOf(place: Place, { cidr, cluster, local }: Claim): boolean {
  const isSameCidr = cidrKey(place.cidr) === cidrKey(cidr);
  return place.isLocal
    ? isSameCidr && local !== undefined
    : isSameCidr && place.cluster === cluster && local === undefined;
}
