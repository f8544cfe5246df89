import type { ClaimUpdate } from '../table/claim.ts';
import type { ClaimLedger } from './claim-ledger.ts';
import { combineStreams, type StreamsOf, type Told } from './combine-streams.ts';

/** Reasons that one sentence names; the rest are counted. Status and log lines stay readable when every object is wrong. */
const REASONS_NAMED_MAX = 3;

/** What makes claims of the objects of several streams. */
export interface Deriver<S> {
  readonly ledger: ClaimLedger;
  /** Takes in a `replace` or `change` of one stream. */
  apply(told: Told<S>): void;
  /** After all events of a batch: brings the ledger up to date. */
  settle(): void;
  /** Sentences on objects that cannot be understood. */
  problems(): Iterable<string>;
}

/**
 * The words of a source that is derived from several streams. Nothing is claimed before each of them has listed once: claims of half the
 * objects would withdraw what the other half is about to say. After that a stream that is away holds up nothing but itself.
 */
export async function* streamClaims<S>(
  streams: StreamsOf<S>,
  deriver: Deriver<S>,
  signal: AbortSignal,
): AsyncGenerator<ClaimUpdate, void, void> {
  const speaker = new Speaker(Object.keys(streams), deriver);
  for await (const batch of combineStreams(streams, signal)) {
    for (const told of batch) speaker.hear(told);
    yield* speaker.speak();
  }
}

class Speaker<S> {
  readonly #deriver: Deriver<S>;
  readonly #unheard: Set<string>;
  readonly #streams: number;
  /** Why a stream is away, by name. */
  readonly #away = new Map<string, string>();
  #relisted = false;
  #told: 'nothing' | 'claims' | 'away' = 'nothing';
  #reason: string | undefined;

  constructor(names: readonly string[], deriver: Deriver<S>) {
    this.#deriver = deriver;
    this.#unheard = new Set(names);
    this.#streams = names.length;
  }

  hear(told: Told<S>): void {
    const { stream, event } = told;
    if (event.kind === 'stale' || event.kind === 'absent') {
      this.#away.set(stream, event.reason);
      return;
    }
    this.#away.delete(stream);
    if (event.kind === 'fresh') return;
    this.#deriver.apply(told);
    if (event.kind !== 'replace') return;
    this.#unheard.delete(stream);
    this.#relisted = true;
  }

  *speak(): Iterable<ClaimUpdate> {
    if (this.#unheard.size > 0) {
      if (this.#away.size > 0) yield* this.#sayAway();
      return;
    }
    this.#deriver.settle();
    const reason = sentence([...this.#away.values(), ...this.#deriver.problems()]);
    const stale = reason === undefined ? {} : { stale: reason };
    const words: ClaimUpdate[] = this.#relisted
      ? [{ kind: 'replace', claims: this.#deriver.ledger.all() }]
      : this.#deriver.ledger.changes();
    this.#relisted = false;
    for (const word of words) yield { ...word, ...stale };
    if (words.length === 0) {
      // Only where nobody can be heard is the source away, and expires one day; as long as some can, their word is worth something.
      if (this.#away.size === this.#streams) return yield* this.#sayAway();
      if (this.#told === 'claims' && this.#reason === reason) return;
      yield reason === undefined ? { kind: 'fresh' } : { kind: 'upsert', claims: [], stale: reason };
    }
    this.#told = 'claims';
    this.#reason = reason;
  }

  *#sayAway(): Iterable<ClaimUpdate> {
    const reason = sentence([...this.#away.values()]) ?? '';
    if (this.#told === 'away' && this.#reason === reason) return;
    this.#told = 'away';
    this.#reason = reason;
    yield { kind: 'stale', reason };
  }
}

function sentence(reasons: readonly string[]): string | undefined {
  const distinct = [...new Set(reasons)];
  if (distinct.length === 0) return undefined;
  const more = distinct.length - REASONS_NAMED_MAX;
  return `${distinct.slice(0, REASONS_NAMED_MAX).join('; ')}${more > 0 ? `; and ${more} more` : ''}`;
}
