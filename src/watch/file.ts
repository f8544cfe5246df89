import { type Clock, systemClock } from '../base/clock.ts';
import { type Logger, silentLogger } from '../base/log.ts';
import type { ClaimUpdate } from '../table/claim.ts';
import { ClusterFiles, type FileLimits } from './cluster-files.ts';
import { PathWatch } from './path-watch.ts';
import { Wake } from './wake.ts';
import type { Watcher } from './watcher.ts';

export interface FileWatcherOptions {
  /** Absolute: a file, or a folder of *.yaml, *.yml and *.json. */
  readonly path: string;
  readonly pollIntervalMs: number;
  readonly clock?: Clock;
  readonly logger?: Logger;
  readonly limits?: Partial<FileLimits>;
}

/** Remote clusters from a file or a folder of files; a change is seen within DEBOUNCE_MS_MAX, without inotify within pollIntervalMs. */
export class FileWatcher implements Watcher {
  readonly name: string;
  readonly #options: FileWatcherOptions;

  constructor(options: FileWatcherOptions) {
    this.name = `file:${options.path}`;
    this.#options = options;
  }

  async *watch(signal: AbortSignal): AsyncIterable<ClaimUpdate> {
    const { path, pollIntervalMs, clock = systemClock, logger = silentLogger, limits } = this.#options;
    const wake = new Wake();
    const ring = () => wake.ring();
    const files = new ClusterFiles(path, limits);
    const around = new PathWatch(path, { clock, logger, pollIntervalMs, onSuspicion: ring });
    signal.addEventListener('abort', ring, { once: true });
    try {
      while (!signal.aborted) {
        // In this order: what changes after the look rings again.
        around.arm();
        yield* await files.look();
        await wake.wait();
      }
    } finally {
      around.close();
      signal.removeEventListener('abort', ring);
    }
  }
}
