import { formatCidr } from '../base/address.ts';
import type { ClaimOwner, Refused, StoredClaim } from './entry.ts';
import type { Journal } from './journal.ts';
import type { Refusal } from './route.ts';

/** The claims that make no route, each with its reason; one log line for a source and commit, however many there are. */
export class Refusals {
  readonly #refused = new Set<StoredClaim>();
  /** By source: the refused claims that are new since the last report. */
  readonly #news = new Map<ClaimOwner, Set<StoredClaim>>();
  readonly #journal: Journal;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  get count(): number {
    return this.#refused.size;
  }

  set(stored: StoredClaim, refusal: Refused | undefined): void {
    const before = stored.refusal;
    stored.refusal = refusal;
    if (before?.reason === refusal?.reason) return;
    const { owner } = stored;
    let news = this.#news.get(owner);
    if (news === undefined) {
      news = new Set();
      this.#news.set(owner, news);
    }
    if (refusal !== undefined) {
      if (before === undefined) owner.refused++;
      this.#refused.add(stored);
      news.add(stored);
    } else {
      owner.refused--;
      this.#refused.delete(stored);
      news.delete(stored);
    }
  }

  *list(): Iterable<Refusal> {
    for (const { owner, claim, refusal } of this.#refused) {
      if (refusal === undefined) continue;
      yield { source: owner.name, id: claim.id, cidr: claim.cidr, cluster: claim.cluster, ...refusal };
    }
  }

  report(): void {
    for (const [owner, news] of this.#news) {
      const [first] = news;
      const fields = { source: owner.name, refused: owner.refused, added: news.size };
      if (first?.refusal !== undefined) {
        const { claim, refusal } = first;
        this.#journal.add(
          'warn',
          'refusals-changed',
          {
            ...fields,
            first: {
              id: claim.id,
              cidr: formatCidr(claim.cidr),
              cluster: claim.cluster,
              reason: refusal.reason,
            },
          },
          `${owner.refused} of the claims of ${owner.name} are refused, ${news.size} of them new; the first: ${refusal.detail}`,
        );
      } else if (owner.refused === 0) {
        this.#journal.add(
          'info',
          'refusals-changed',
          fields,
          `no claim of ${owner.name} is refused any more`,
        );
      } else {
        this.#journal.add(
          'info',
          'refusals-changed',
          fields,
          `${owner.refused} claims of ${owner.name} are still refused`,
        );
      }
    }
    this.#news.clear();
  }
}
