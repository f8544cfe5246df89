import { RunningWatcher, until } from './running-watcher.ts';
import { ToldClaims } from './told-claims.ts';

/** A watcher that feeds a table, and what it claims by all that it has told. */
export class ToldWatcher extends RunningWatcher {
  readonly #claims = new ToldClaims();
  #heard = 0;

  /** Each as `IPPool/default 192.168.0.0/16 west by 10.0.0.1`. */
  get told(): readonly string[] {
    for (const update of this.updates.slice(this.#heard)) this.#claims.apply(update);
    this.#heard = this.updates.length;
    return this.#claims.lines;
  }

  /** Waits for exactly these claims. */
  async claims(...lines: string[]): Promise<void> {
    const wanted = lines.sort().join('\n');
    await until(
      () => this.told.join('\n') === wanted && this.updates.some(({ kind }) => kind === 'replace'),
      () => [this.told, this.source],
    );
  }
}
