import { type Cidr, compareAddresses, type IpAddress } from '../base/address.ts';
import type { Claim, Gateway } from './claim.ts';
import type { RefusalReason } from './route.ts';

/** Why a claim makes no route, without the claim itself. */
export interface Refused {
  readonly reason: RefusalReason;
  readonly detail: string;
}

/** What a claim must know of its source. */
export interface ClaimOwner {
  readonly name: string;
  readonly priority: number;
  /** Not fresh: away, or not heard of since the restart. */
  readonly quiet: boolean;
  /** Count of its refused claims; kept by the reconciler. */
  refused: number;
}

/**
 * A claim as a source last made it. Its content never changes: a changed claim is a new one, so that lists may drop what was replaced whenever it
 * suits them, by `stake` alone.
 */
export class StoredClaim {
  readonly owner: ClaimOwner;
  /** Gateways sorted by address, each once. Replaced only by its equal. */
  claim: Claim;
  /** Where it competes; undefined while it is refused out of hand or its source has expired. */
  stake: Stake | LocalStake | undefined = undefined;
  refusal: Refused | undefined = undefined;
  /** Number of the `replace` that last repeated it. */
  generation: number;

  constructor(owner: ClaimOwner, claim: Claim, generation: number) {
    this.owner = owner;
    this.claim = claim;
    this.generation = generation;
  }
}

/** Never pushed to: the first element makes an array of its own. */
const NO_CLAIMS: StoredClaim[] = [];
const NO_STAKES: Stake[] = [];

/** Claims that say the same: together they compete with others, and keep their place while one of them is left. */
class Contender {
  /** When it came, as a sequence number: who was there first. */
  readonly seq: number;
  /** When it last became able to stand. LOST while nothing of it can: who is refused loses the place in the queue. */
  rank: number;
  /** Wall clock of when it first stood; NaN before. */
  sinceMs = Number.NaN;
  /** May hold claims that have left; `prune` drops them. */
  claims: StoredClaim[] = NO_CLAIMS;

  constructor(seq: number) {
    this.seq = seq;
    this.rank = seq;
  }

  add(stored: StoredClaim): void {
    if (this.claims.length === 0) this.claims = [stored];
    else this.claims.push(stored);
  }

  /** Drops the claims that left. False when none is left. */
  prune(): boolean {
    if (this.claims.some((stored) => (stored.stake as Contender | undefined) !== this)) {
      this.claims = this.claims.filter((stored) => (stored.stake as Contender | undefined) === this);
    }
    return this.claims.length > 0;
  }
}

/** All the claims of one cluster on one CIDR. */
export class Stake extends Contender {
  readonly entry: Entry;
  readonly cluster: string;

  constructor(entry: Entry, cluster: string, seq: number) {
    super(seq);
    this.entry = entry;
    this.cluster = cluster;
  }
}

/** All the claims that one CIDR is our own. */
export class LocalStake extends Contender {
  readonly cidr: Cidr;
  inForce = false;

  constructor(cidr: Cidr, seq: number) {
    super(seq);
    this.cidr = cidr;
  }
}

/** No number, Infinity say, that is not a small integer: a field that once held one costs 16 bytes more in each of a million objects. */
export const LOST = -1;

/** The stake that has the CIDR, of those that can make a route. */
export function firstOf(stakes: readonly Stake[]): Stake | undefined {
  let first: Stake | undefined;
  for (const stake of stakes) {
    if (stake.rank !== LOST && (first === undefined || stake.rank < first.rank)) first = stake;
  }
  return first;
}

/** What is in force on a CIDR. Lean, because there is one for each route: what people read is made from it on demand. */
export interface InForce {
  readonly stake: Stake;
  readonly gateways: readonly Gateway[];
  readonly contributors: readonly StoredClaim[];
}

/** One CIDR with everything that is claimed about it. */
export class Entry {
  readonly cidr: Cidr;
  stakes: Stake[] = NO_STAKES;
  /** Smallest `seq` of its stakes as of the last commit: since when the CIDR is claimed at all. */
  since = LOST;
  inForce: InForce | undefined = undefined;
  /** Stakes that could make a route and may not, because another cluster was there first. */
  losers: readonly Stake[] = NO_STAKES;

  constructor(cidr: Cidr) {
    this.cidr = cidr;
  }

  stake(cluster: string): Stake | undefined {
    for (const stake of this.stakes) if (stake.cluster === cluster) return stake;
    return undefined;
  }
}

/** Where it stands among those that wait to be decided on: who never lost the place comes first. */
export function placeInQueue(one: Entry | LocalStake): { rank: number; seq: number } {
  if (one instanceof LocalStake) return { rank: ownPlace(one.rank), seq: one.seq };
  let rank = Number.MAX_VALUE;
  for (const stake of one.stakes) rank = Math.min(rank, ownPlace(stake.rank));
  return { rank, seq: one.since };
}

function ownPlace(rank: number): number {
  return rank === LOST ? Number.MAX_VALUE : rank;
}

/** Sorted by address, each address once with its largest weight. Returns the same array where it is in order already. */
export function normalGateways(gateways: readonly Gateway[]): readonly Gateway[] {
  let inOrder = true;
  for (let i = 1; i < gateways.length; i++) {
    const [before, here] = [gateways[i - 1] as Gateway, gateways[i] as Gateway];
    if (compareAddresses(before.address, here.address) >= 0) inOrder = false;
  }
  return inOrder ? gateways : mergeGateways(gateways);
}

/** The gateways of several claims as one list: sorted by address, each address once with its largest weight. */
export function mergeGateways(gateways: Iterable<Gateway>): readonly Gateway[] {
  const best = new Map<IpAddress, Gateway>();
  for (const gateway of gateways) {
    const known = best.get(gateway.address);
    if (known === undefined || known.weight < gateway.weight) best.set(gateway.address, gateway);
  }
  return [...best.values()].sort((a, b) => compareAddresses(a.address, b.address));
}

/** Whether both name the same addresses with the same weights; both must be in the order of `normalGateways`. */
export function sameGateways(a: readonly Gateway[], b: readonly Gateway[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    const left = a[i] as Gateway;
    const right = b[i] as Gateway;
    if (left.address !== right.address || left.weight !== right.weight) return false;
  }
  return true;
}
