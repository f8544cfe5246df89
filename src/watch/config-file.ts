import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Clock, systemClock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { type Logger, silentLogger } from '../base/log.ts';
import { PathWatch } from './path-watch.ts';

/** Events come at once; this only serves file systems that have none. */
const POLL_INTERVAL_MS = 5000;

/** Tells when the configuration file has other content than before. A file that is touched, or gone, is no change: the old one runs on. */
export class ConfigFileWatch {
  readonly #file: string;
  readonly #onChange: () => void;
  readonly #around: PathWatch;
  #hash: string | undefined;

  constructor(file: string, onChange: () => void, clock: Clock = systemClock, logger: Logger = silentLogger) {
    this.#file = file;
    this.#onChange = onChange;
    this.#around = new PathWatch(file, {
      clock,
      logger,
      pollIntervalMs: POLL_INTERVAL_MS,
      onSuspicion: () => this.#look(),
    });
    this.#around.arm();
    this.#hash = this.#read();
  }

  close(): void {
    this.#around.close();
  }

  #look(): void {
    this.#around.arm();
    const hash = this.#read();
    if (hash === undefined || hash === this.#hash) return;
    this.#hash = hash;
    this.#onChange();
  }

  /** What cannot be read counts as a change too when the reason is new, so that the reload reports it; a missing file does not. */
  #read(): string | undefined {
    try {
      return createHash('sha256').update(readFileSync(this.#file)).digest('base64');
    } catch (thrown) {
      return (thrown as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : messageOf(thrown);
    }
  }
}
