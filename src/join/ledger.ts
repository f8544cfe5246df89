/** What became of one object. */
export type Outcome = 'created' | 'changed' | 'unchanged' | 'removed' | 'kept' | 'absent';

/** Tells a person step by step what is done, and remembers how much that was. */
export class Ledger {
  readonly #print: (line: string) => void;
  readonly #counts = new Map<Outcome, number>();

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  /** `title` names the object, `why` says what is not obvious. */
  step(cluster: string, outcome: Outcome, title: string, why = ''): void {
    this.#counts.set(outcome, this.count(outcome) + 1);
    // What a removal does not find is what a second removal is about: nobody needs a line for each.
    if (outcome === 'absent') return;
    this.#print(`${cluster}: ${outcome} ${title}${why === '' ? '' : ` (${why})`}`);
  }

  note(cluster: string, text: string): void {
    this.#print(`${cluster}: note: ${text}`);
  }

  count(outcome: Outcome): number {
    return this.#counts.get(outcome) ?? 0;
  }

  /** How many objects are other than before. */
  get changes(): number {
    return this.count('created') + this.count('changed') + this.count('removed');
  }

  /** `3 created, 2 changed`. */
  summary(): string {
    const said = (['created', 'changed', 'removed', 'unchanged', 'kept'] as const)
      .filter((outcome) => this.count(outcome) > 0)
      .map((outcome) => `${this.count(outcome)} ${outcome}`);
    return said.length === 0 ? 'nothing was there' : said.join(', ');
  }
}
