import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { messageOf } from '../base/errors.ts';
import { FILE_BYTES_MAX } from '../config/document.ts';
import type { Claim, ClaimUpdate } from '../table/claim.ts';
import { ClusterFile } from './cluster-file.ts';

export interface FileLimits {
  readonly fileBytes: number;
  readonly files: number;
}

/** One file a cluster is the custom, and the packet path knows 512 clusters. */
export const FILES_MAX = 1024;

/** A reason is one line of status; more problems than this in it help nobody. */
const PROBLEMS_SHOWN_MAX = 3;

/** Files that editors and kubelet put beside the real ones begin with a dot. */
const CLUSTER_FILE = /^[^.].*\.(?:ya?ml|json)$/;

/**
 * The files behind one path and the last good claims of each. A file that is broken, unreadable or too large keeps what it last said; a file
 * that is gone takes its claims along, because that is how one says so. A folder that is gone says nothing: it was more often unmounted.
 */
export class ClusterFiles {
  readonly #path: string;
  readonly #limits: FileLimits;
  #files = new Map<string, ClusterFile>();
  /** What the path was when it was last there. */
  #seenAs: 'nothing' | 'file' | 'folder' = 'nothing';
  /** Of the last look: `undefined` at the start. */
  #lastTrouble: string | undefined;
  #looked = false;
  /** Ids that were told without the whole being known. */
  #told = new Set<string>();

  constructor(path: string, limits: Partial<FileLimits> = {}) {
    this.#path = path;
    this.#limits = { fileBytes: FILE_BYTES_MAX, files: FILES_MAX, ...limits };
  }

  /** Looks at the path and returns what to say about it: nothing where nothing changed. Never rejects. */
  async look(): Promise<ClaimUpdate[]> {
    const found = await this.#find();
    if (found.away !== undefined) return this.#sayAway(found.away);
    const troubles = [...found.troubles];
    let changed = !this.#looked;
    for (const [name, file] of this.#files) {
      if (found.paths.has(name)) continue;
      this.#files.delete(name);
      changed ||= file.claims !== undefined;
    }
    for (const [name, path] of found.paths) {
      let file = this.#files.get(name);
      if (file === undefined) {
        file = new ClusterFile(name, path, this.#limits.fileBytes);
        this.#files.set(name, file);
      }
      if (await file.look()) changed = true;
      if (file.trouble !== undefined) troubles.push(file.trouble);
    }
    return this.#say(changed, troubles);
  }

  async #find(): Promise<Found> {
    try {
      const what = await stat(this.#path);
      if (what.isDirectory()) return await this.#findInFolder();
      this.#seenAs = 'file';
      return { paths: new Map([[basename(this.#path), this.#path]]), troubles: [] };
    } catch (thrown) {
      const wasDeleted =
        this.#seenAs === 'file' && isMissing(thrown) && (await isFolder(dirname(this.#path)));
      const troubles = [`${this.#path} was deleted`];
      return wasDeleted
        ? { paths: new Map(), troubles }
        : { paths: new Map(), troubles: [], away: messageOf(thrown) };
    }
  }

  async #findInFolder(): Promise<Found> {
    const names = (await readdir(this.#path)).filter((name) => CLUSTER_FILE.test(name)).sort();
    this.#seenAs = 'folder';
    const { files: filesMax } = this.#limits;
    if (names.length <= filesMax) return { paths: this.#pathsOf(names), troubles: [] };
    // Those already read come first: a new file must not push out one whose routes carry traffic.
    const known = names.filter((name) => this.#files.has(name));
    const others = names.filter((name) => !this.#files.has(name));
    const kept = [...known, ...others].slice(0, filesMax);
    const trouble = `${this.#path} has ${names.length} files, at most ${filesMax} are read; left out are ${others.slice(kept.length - known.length)[0]} and ${names.length - filesMax - 1} others`;
    return { paths: this.#pathsOf(kept), troubles: [trouble] };
  }

  #pathsOf(names: readonly string[]): Map<string, string> {
    return new Map(names.map((name) => [name, join(this.#path, name)]));
  }

  #sayAway(reason: string): ClaimUpdate[] {
    if (this.#lastTrouble === reason) return [];
    this.#lastTrouble = reason;
    return [{ kind: 'stale', reason }];
  }

  #say(changed: boolean, troubles: readonly string[]): ClaimUpdate[] {
    const trouble = summary(troubles);
    const before = this.#lastTrouble;
    if (!changed && trouble === before) return [];
    this.#lastTrouble = trouble;
    const files = [...this.#files.values()];
    // All that there is cannot be understood: the source counts as away.
    if (!changed || (files.length > 0 && files.every((file) => file.claims === undefined))) {
      if (trouble !== undefined) return [{ kind: 'stale', reason: trouble }];
    }
    this.#looked = true;
    const claims = files.flatMap((file) => file.claims ?? []);
    const stale = trouble === undefined ? {} : { stale: trouble };
    if (files.every((file) => file.claims !== undefined)) {
      this.#told.clear();
      return [{ kind: 'replace', claims, ...stale }];
    }
    return this.#sayPart(claims, stale);
  }

  /**
   * A file has been broken ever since we started: what it said before a restart is only in the table. A `replace` would withdraw that, so the
   * good files speak in deltas until the broken one was understood once.
   */
  #sayPart(claims: readonly Claim[], stale: { stale?: string }): ClaimUpdate[] {
    const gone = this.#told;
    this.#told = new Set(claims.map(({ id }) => id));
    const ids = [...gone].filter((id) => !this.#told.has(id));
    const upsert: ClaimUpdate = { kind: 'upsert', claims, ...stale };
    return ids.length === 0 ? [upsert] : [upsert, { kind: 'remove', ids, ...stale }];
  }
}

interface Found {
  readonly paths: ReadonlyMap<string, string>;
  readonly troubles: readonly string[];
  /** Why nothing can be said about the path at all. */
  readonly away?: string;
}

function summary(troubles: readonly string[]): string | undefined {
  if (troubles.length === 0) return undefined;
  const more = troubles.length - PROBLEMS_SHOWN_MAX;
  const shown = troubles.slice(0, PROBLEMS_SHOWN_MAX).join('; ');
  return more > 0 ? `${shown}; and ${more} more files` : shown;
}

export function isMissing(thrown: unknown): boolean {
  const code = (thrown as NodeJS.ErrnoException | null)?.code;
  return code === 'ENOENT';
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
