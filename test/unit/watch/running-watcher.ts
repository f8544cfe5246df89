import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatCidr } from '../../../src/base/address.ts';
import type { ClaimUpdate } from '../../../src/table/claim.ts';
import type { SourceState } from '../../../src/table/route.ts';
import { Table } from '../../../src/table/table.ts';
import { FileWatcher, type FileWatcherOptions } from '../../../src/watch/file.ts';
import type { Watcher } from '../../../src/watch/watcher.ts';

/** Far beyond any test: what is seen was seen by events, not by the poll. */
export const NO_POLL_MS = 600_000;

const DEADLINE_MS = 10_000;
const STEP_MS = 2;

/** Resolves when `condition` holds; rejects with what `seen` shows when it does not in time. */
export async function until(condition: () => boolean, seen: () => unknown): Promise<void> {
  const endMs = performance.now() + DEADLINE_MS;
  while (!condition()) {
    if (performance.now() > endMs)
      throw new Error(`not within ${DEADLINE_MS} ms; last seen: ${JSON.stringify(seen())}`);
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
  }
}

/** A watcher that feeds a real table, as in the gateway. */
export class RunningWatcher {
  readonly table = new Table();
  readonly updates: ClaimUpdate[] = [];
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;

  constructor(watcher: Watcher, snapshot?: string) {
    this.table.addSource(watcher.name, { priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 0 });
    if (snapshot !== undefined) this.table.restore(snapshot, 0, 0);
    this.#done = this.#run(watcher);
  }

  get routes(): string[] {
    return Array.from(this.table.routes(), ({ cidr, cluster }) => `${formatCidr(cidr)} ${cluster}`).sort();
  }

  get source(): SourceState {
    const [source] = this.table.sources();
    if (source === undefined) throw new Error('the table has its source');
    return source;
  }

  /** Waits for exactly these routes. */
  async shows(...routes: string[]): Promise<void> {
    const wanted = routes.sort().join();
    await until(
      () => this.routes.join() === wanted && this.source.state !== 'waiting',
      () => [this.routes, this.source],
    );
  }

  async isStale(reason: RegExp): Promise<void> {
    const stale = () => this.source.state !== 'fresh' && reason.test(this.source.reason ?? '');
    await until(stale, () => [this.routes, this.source]);
  }

  async isFresh(): Promise<void> {
    await until(
      () => this.source.state === 'fresh',
      () => this.source,
    );
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#done;
  }

  async #run(watcher: Watcher): Promise<void> {
    for await (const update of watcher.watch(this.#abort.signal)) {
      this.updates.push(update);
      this.table.apply(watcher.name, update, 0, 0);
    }
  }
}

export function watchPath(
  path: string,
  options: Partial<FileWatcherOptions> = {},
  snapshot?: string,
): RunningWatcher {
  return new RunningWatcher(new FileWatcher({ path, pollIntervalMs: NO_POLL_MS, ...options }), snapshot);
}

/** A folder of its own, and its removal. */
export function temporaryFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'isthmus-watch-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** The text of a watched file with one cluster. */
export function clusterText(name: string, ...cidrs: string[]): string {
  return `clusters:\n  - name: ${name}\n    cidrs: [${cidrs.join(', ')}]\n    gateways: [{address: 172.31.0.2}]\n`;
}

export function writeCluster(path: string, name: string, ...cidrs: string[]): void {
  writeFileSync(path, clusterText(name, ...cidrs));
}
