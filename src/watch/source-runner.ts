import { type Clock, pause, type Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Table } from '../table/table.ts';
import type { ChildSources } from './environment.ts';
import type { Watcher } from './watcher.ts';

export interface SourceOptions {
  /** Among sources that claim the same CIDR for the same cluster, the highest decides on the gateways. */
  readonly priority: number;
  /** Infinity: never. */
  readonly staleAfterMs: number;
  readonly holdMs: number;
}

/** A watcher that ended without being told to is a fault of ours; it is started again after this. */
export const RESTART_AFTER_MS = 1000;

/** As many as the packet path has clusters would do; twice that, because a cluster may be read by more than one name while it moves. */
export const CHILDREN_MAX = 1024;

interface Running {
  readonly watcher: Watcher;
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

/** Runs the watchers and carries their updates to the table; tells when there is something to publish. */
export class SourceRunner {
  readonly #table: Table;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #onChange: () => void;
  readonly #running = new Map<string, Running>();
  readonly #options = new Map<string, SourceOptions>();
  readonly #waiting = new Map<string, () => void>();
  /** Sources that were given a `ChildSources`. */
  readonly #parents = new Set<string>();
  /** Watchers that were told to end, until they have: `stop` waits for them too. */
  readonly #ending = new Map<string, Promise<void>>();
  #deadline: Timer | undefined;

  constructor(table: Table, clock: Clock, logger: Logger, onChange: () => void) {
    this.#table = table;
    this.#clock = clock;
    this.#logger = logger;
    this.#onChange = onChange;
  }

  /** Starts a watcher. The promise resolves when it has spoken for the first time. */
  add(watcher: Watcher, options: SourceOptions): Promise<void> {
    this.#table.addSource(watcher.name, options);
    this.#options.set(watcher.name, options);
    const spoken = new Promise<void>((resolve) => this.#waiting.set(watcher.name, resolve));
    this.#start(watcher);
    return spoken;
  }

  /** Puts another watcher in the place of the one with its name; the claims stay and are compared with what the new one says. */
  async replace(watcher: Watcher): Promise<void> {
    if (!this.#running.has(watcher.name)) return;
    const ended = this.#end(watcher.name);
    this.#start(watcher);
    await ended;
  }

  /** Treats a running source, and those that it found, differently from now on; their claims stay. */
  setOptions(name: string, options: SourceOptions): void {
    this.#options.set(name, options);
    for (const source of [name, ...this.#table.children(name)])
      this.#table.setSourceOptions(source, options, this.#clock.nowMs(), this.#clock.wallMs());
    this.#changed();
  }

  /** Stops a watcher and those that it found; their claims go with them, because somebody took the source out of the configuration. */
  async remove(name: string): Promise<void> {
    if (!this.#running.has(name)) return;
    const ended = this.#end(name);
    for (const child of this.#table.children(name)) void this.#end(child);
    this.#table.removeSource(name, this.#clock.nowMs(), this.#clock.wallMs());
    this.#options.delete(name);
    this.#waiting.delete(name);
    this.#parents.delete(name);
    this.#changed();
    await ended;
  }

  /**
   * For a watcher that finds other sources while it runs; ask for it before the watcher is added. Of a source that never asked, those that a
   * snapshot remembers go as soon as it speaks. Whoever replaces a watcher that asked by one that does not calls `retain` with nothing.
   */
  children(parent: string): ChildSources {
    this.#parents.add(parent);
    return {
      set: (child) => this.#setChild(parent, child),
      retain: (names) => this.#retainChildren(parent, names),
    };
  }

  /** Stops all watchers; their claims stay. */
  async stop(): Promise<void> {
    this.#deadline?.cancel();
    for (const name of [...this.#running.keys()]) void this.#end(name);
    await Promise.all(this.#ending.values());
  }

  #setChild(parent: string, child: Watcher): void {
    const options = this.#options.get(parent);
    // A parent that was told to end may still be in the middle of a sentence.
    if (options === undefined || !this.#running.has(parent)) return;
    if (this.#running.get(child.name)?.watcher === child) return;
    const known = this.#table.children(parent);
    if (!known.includes(child.name)) {
      if (known.length >= CHILDREN_MAX) {
        this.#logger.error(
          { source: child.name, limit: CHILDREN_MAX },
          'a source finds more sources than the limit; this one is not read',
        );
        return;
      }
      this.#table.addSource(child.name, options, parent);
    }
    void this.#end(child.name);
    this.#start(child);
  }

  #retainChildren(parent: string, names: ReadonlySet<string>): void {
    const gone = this.#table.children(parent).filter((name) => !names.has(name));
    for (const name of gone) {
      void this.#end(name);
      this.#table.removeSource(name, this.#clock.nowMs(), this.#clock.wallMs());
    }
    if (gone.length > 0) this.#changed();
  }

  /** What was under its name before ends first: two that write the same notes would undo one another's. */
  #start(watcher: Watcher): void {
    const abort = new AbortController();
    const before = this.#ending.get(watcher.name) ?? Promise.resolve();
    const done = before.then(() => this.#run(watcher, abort.signal));
    this.#running.set(watcher.name, { watcher, abort, done });
  }

  /** From now on nothing that it says reaches the table. Resolves when it has ended. */
  #end(name: string): Promise<void> {
    const running = this.#running.get(name);
    if (running === undefined) return this.#ending.get(name) ?? Promise.resolve();
    this.#running.delete(name);
    running.abort.abort();
    const ended = running.done.then(() => {
      if (this.#ending.get(name) === ended) this.#ending.delete(name);
    });
    this.#ending.set(name, ended);
    return ended;
  }

  async #run(watcher: Watcher, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        for await (const update of watcher.watch(signal)) {
          if (signal.aborted) return;
          this.#table.apply(watcher.name, update, this.#clock.nowMs(), this.#clock.wallMs());
          this.#spoke(watcher.name);
          this.#changed();
        }
      } catch (thrown) {
        if (signal.aborted) return;
        const reason = messageOf(thrown);
        this.#logger.error(
          { source: watcher.name, reason },
          'watcher failed; its claims stay, it is started again',
        );
        this.#table.apply(watcher.name, { kind: 'stale', reason }, this.#clock.nowMs(), this.#clock.wallMs());
        this.#changed();
      }
      if (!signal.aborted) await pause(this.#clock, RESTART_AFTER_MS, signal);
    }
  }

  #spoke(name: string): void {
    const waiting = this.#waiting.get(name);
    if (waiting === undefined) return;
    this.#waiting.delete(name);
    if (!this.#parents.has(name)) this.#retainChildren(name, new Set());
    waiting();
  }

  /** Publishes, and comes back by itself when a hold ends or stale claims expire. */
  #changed(): void {
    this.#onChange();
    this.#deadline?.cancel();
    const next = this.#table.nextDeadlineMs();
    if (next === undefined) return;
    this.#deadline = this.#clock.after(Math.max(0, next - this.#clock.nowMs()), () => {
      this.#table.tick(this.#clock.nowMs(), this.#clock.wallMs());
      this.#changed();
    });
  }
}
