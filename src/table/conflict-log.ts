import { type Cidr, cidrKey, formatCidr } from '../base/address.ts';
import { type Entry, firstOf, type LocalStake, type Stake } from './entry.ts';
import type { Journal } from './journal.ts';
import { CONFLICT_EVENTS_MAX } from './limits.ts';
import type { Conflict } from './route.ts';

/** Which CIDRs two clusters claim, and log lines for the beginning and end of each such conflict. */
export class ConflictLog {
  readonly #contested = new Set<Entry>();
  /** Own CIDRs that wait for a route of another cluster to go. */
  readonly #localWaits = new Map<LocalStake, Entry>();
  readonly #journal: Journal;
  #began: string[] = [];
  #ended: string[] = [];

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** One for each cluster that has to wait. */
  get count(): number {
    let count = this.#localWaits.size;
    for (const entry of this.#contested) count += entry.losers.length;
    return count;
  }

  update(entry: Entry, winner: Stake | undefined, losers: readonly Stake[]): void {
    const before = entry.losers;
    if (before.length === 0 && losers.length === 0) return;
    const cidr = formatCidr(entry.cidr);
    for (const { cluster } of losers) {
      if (before.some((stake) => stake.cluster === cluster)) continue;
      this.#began.push(
        `${cidr} is claimed by ${winner?.cluster}, which was there first and keeps it, and by ${cluster}`,
      );
    }
    for (const { cluster } of before) {
      if (losers.some((stake) => stake.cluster === cluster)) continue;
      const holder = winner === undefined ? 'nobody has it now' : `${winner.cluster} has it`;
      this.#ended.push(`the conflict over ${cidr} with ${cluster} ended: ${holder}`);
    }
    entry.losers = losers;
    if (losers.length > 0) this.#contested.add(entry);
    else this.#contested.delete(entry);
  }

  /** `holder` is the CIDR with the route that keeps an own CIDR from being ours; undefined when nothing does. */
  updateLocal(stake: LocalStake, holder: Entry | undefined): void {
    const before = this.#localWaits.get(stake);
    if (before === holder) return;
    const cidr = formatCidr(stake.cidr);
    if (holder === undefined) {
      this.#localWaits.delete(stake);
      this.#ended.push(`the conflict over our own ${cidr} ended`);
      return;
    }
    this.#localWaits.set(stake, holder);
    if (before === undefined) this.#began.push(lostLocal(stake.cidr, holder));
  }

  *list(): Iterable<Conflict> {
    for (const entry of this.#contested) {
      const winner = firstOf(entry.stakes);
      if (winner === undefined) continue;
      for (const loser of entry.losers) {
        yield {
          cidr: entry.cidr,
          cluster: winner.cluster,
          claimedBy: loser.cluster,
          origins: loser.claims.map(({ owner, claim }) => `${owner.name}/${claim.id}`),
          detail: `${formatCidr(entry.cidr)} belongs to ${winner.cluster}, which was there first; ${loser.cluster} claims it too`,
        };
      }
    }
  }

  *listLocal(): Iterable<Conflict> {
    for (const [{ cidr, claims }, holder] of this.#localWaits) {
      yield {
        cidr,
        cluster: firstOf(holder.stakes)?.cluster ?? '',
        claimedBy: claims[0]?.claim.cluster ?? '',
        origins: claims.map(({ owner, claim }) => `${owner.name}/${claim.id}`),
        detail: lostLocal(cidr, holder),
      };
    }
  }

  report(): void {
    this.#write('warn', 'conflict-began', this.#began);
    this.#write('info', 'conflict-ended', this.#ended);
    this.#began = [];
    this.#ended = [];
  }

  #write(
    level: 'warn' | 'info',
    event: 'conflict-began' | 'conflict-ended',
    messages: readonly string[],
  ): void {
    for (const message of messages.slice(0, CONFLICT_EVENTS_MAX))
      this.#journal.add(level, event, {}, message);
    const more = messages.length - CONFLICT_EVENTS_MAX;
    if (more > 0)
      this.#journal.add(level, event, { more }, `and ${more} more conflicts; isthmus status lists them`);
  }
}

/** Why a CIDR cannot be our own: there is a route in it. */
export function lostLocal(cidr: Cidr, holder: Entry): string {
  const cluster = firstOf(holder.stakes)?.cluster ?? 'another cluster';
  return cidrKey(cidr) === cidrKey(holder.cidr)
    ? `${formatCidr(cidr)} belongs to ${cluster}, which was there first`
    : `${formatCidr(cidr)} holds ${formatCidr(holder.cidr)} of ${cluster}, which was there first`;
}
