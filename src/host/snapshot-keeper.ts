import { join } from 'node:path';
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Table } from '../table/table.ts';
import { readSnapshotFile, writeFileAtomically } from './snapshot-file.ts';

/** What is on disk is this much behind at most; a storm of changes to 100,000 claims (150 ms a write) costs 3 % of a processor. */
export const SNAPSHOT_DELAY_MS = 5000;

const SNAPSHOT_NAME = 'table.json';

/** Keeps the table on disk, so that a restart forwards while every source is still unreachable. */
export class SnapshotKeeper {
  readonly #file: string;
  readonly #table: Table;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #onResult: (failure: string | undefined) => void;
  #due: Timer | undefined;

  /** `onResult` hears after each write what went wrong, or undefined. */
  constructor(
    directory: string,
    table: Table,
    clock: Clock,
    logger: Logger,
    onResult: (failure: string | undefined) => void,
  ) {
    this.#file = join(directory, SNAPSHOT_NAME);
    this.#table = table;
    this.#clock = clock;
    this.#logger = logger;
    this.#onResult = onResult;
  }

  /** What the sources said before the last stop stands until they speak again. A damaged file is reported and left out. */
  restore(): void {
    try {
      const text = readSnapshotFile(this.#file);
      if (text !== undefined) this.#table.restore(text, this.#clock.nowMs(), this.#clock.wallMs());
    } catch (thrown) {
      this.#logger.error(
        { file: this.#file, reason: messageOf(thrown) },
        'the snapshot cannot be used; starting without it',
      );
    }
  }

  /** The table changed: write it soon. */
  schedule(): void {
    this.#due ??= this.#clock.after(SNAPSHOT_DELAY_MS, () => this.#write());
  }

  /** Writes what is due now, and no more later. */
  close(): void {
    if (this.#due === undefined) return;
    this.#due.cancel();
    this.#write();
  }

  #write(): void {
    this.#due = undefined;
    try {
      writeFileAtomically(this.#file, this.#table.snapshot());
      this.#onResult(undefined);
    } catch (thrown) {
      this.#onResult(
        `the snapshot cannot be written, so a restart has to wait for its sources: ${messageOf(thrown)}`,
      );
    }
  }
}
