import { existsSync, type FSWatcher, lstatSync, readlinkSync, statSync, watch } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';

/** A file is often written in several steps; what follows within this time belongs to the same change. */
export const DEBOUNCE_MS = 50;

/** Steady writing must not put a change off for ever: this long after the first event it is looked at in any case. */
export const DEBOUNCE_MS_MAX = 100;

/** As many links in a row as Linux follows (path_resolution(7)). */
const LINKS_MAX = 40;

export interface PathWatchOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The safety net for file systems that report nothing (NFS, FUSE) and for what inotify cannot see. */
  readonly pollIntervalMs: number;
  /** Something may have changed. Called again only after the next `arm`. */
  readonly onSuspicion: () => void;
}

/**
 * Tells when a file or folder may have changed. It watches folders, never the file: inotify follows the inode, and an editor, `mv` and the
 * `..data` link of a mounted ConfigMap all put a new inode in the place of the old. `arm` sets the watches anew, because folders are replaced
 * too; whoever looks at the files after `arm` misses nothing.
 */
export class PathWatch {
  readonly #path: string;
  readonly #options: PathWatchOptions;
  #watches: FSWatcher[] = [];
  #poll: Timer | undefined;
  #debounce: Timer | undefined;
  #firstEventMs: number | undefined;
  #lastFailure = '';

  constructor(path: string, options: PathWatchOptions) {
    this.#path = path;
    this.#options = options;
  }

  arm(): void {
    const old = this.#watches;
    this.#watches = [];
    const failures: string[] = [];
    for (const [folder, name] of foldersAround(this.#path)) {
      try {
        const handle = watch(folder, { persistent: false }, (_event, changed) => {
          // The folder's own name: it was moved or removed itself.
          if (name === undefined || changed === null || changed === name || changed === basename(folder)) {
            this.#suspect();
          }
        });
        // A watch that breaks (its folder vanished) is set anew by the next arm.
        handle.on('error', () => this.#suspect());
        this.#watches.push(handle);
      } catch (thrown) {
        failures.push(`${folder}: ${messageOf(thrown)}`);
      }
    }
    // Closed only now: the new ones were open before the last event of the old ones can be lost.
    for (const handle of old) handle.close();
    this.#report(failures.join('; '));
    this.#poll?.cancel();
    this.#poll = this.#options.clock.after(this.#options.pollIntervalMs, this.#options.onSuspicion);
  }

  close(): void {
    this.#poll?.cancel();
    this.#debounce?.cancel();
    for (const handle of this.#watches) handle.close();
    this.#watches = [];
  }

  #suspect(): void {
    const { clock } = this.#options;
    const nowMs = clock.nowMs();
    this.#firstEventMs ??= nowMs;
    this.#debounce?.cancel();
    const delayMs = Math.min(DEBOUNCE_MS, Math.max(0, this.#firstEventMs + DEBOUNCE_MS_MAX - nowMs));
    this.#debounce = clock.after(delayMs, () => {
      this.#firstEventMs = undefined;
      this.#options.onSuspicion();
    });
  }

  /** Without inotify (fs.inotify.max_user_watches is used up, say) the poll goes on: slower, not blind. */
  #report(failure: string): void {
    if (failure !== '' && failure !== this.#lastFailure) {
      const { logger, pollIntervalMs } = this.#options;
      logger.warn(
        { path: this.#path, failure },
        `cannot watch ${this.#path}, it is compared every ${pollIntervalMs} ms instead`,
      );
    }
    this.#lastFailure = failure;
  }
}

/**
 * The folders in which a change can change what `path` shows, each with the one name that matters in it (undefined: any). These are the
 * folder of the path, the folders of the links that it consists of, and, where it is a folder, that one.
 */
function foldersAround(path: string): Map<string, string | undefined> {
  const folders = new Map<string, string | undefined>();
  let current = resolve(path);
  for (let hop = 0; hop < LINKS_MAX; hop++) {
    const folder = dirname(current);
    if (!existsSync(folder)) {
      // The nearest folder that exists is the one in which the missing one will appear.
      current = folder;
      continue;
    }
    // A link may run through another link beside it, as those of a ConfigMap run through ..data: then every name counts.
    const isLink = lstatSync(current, { throwIfNoEntry: false })?.isSymbolicLink() === true;
    folders.set(folder, isLink || folders.has(folder) ? undefined : basename(current));
    if (!isLink) break;
    current = resolve(folder, readlinkSync(current));
  }
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true)
    folders.set(resolve(path), undefined);
  return folders;
}
