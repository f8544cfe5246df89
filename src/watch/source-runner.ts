import type { Clock, Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Table } from '../table/table.ts';
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

interface Running {
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
  readonly #waiting = new Map<string, () => void>();
  #deadline: Timer | undefined;

  constructor(table: Table, clock: Clock, logger: Logger, onChange: () => void) {
    this.#table = table;
    this.#clock = clock;
    this.#logger = logger;
    this.#onChange = onChange;
  }

  /** Starts a watcher. The promise resolves when it has spoken for the first time. */
  add(watcher: Watcher, options: SourceOptions): Promise<void> {
    const abort = new AbortController();
    this.#table.addSource(watcher.name, options);
    const spoken = new Promise<void>((resolve) => this.#waiting.set(watcher.name, resolve));
    this.#running.set(watcher.name, { abort, done: this.#run(watcher, abort.signal) });
    return spoken;
  }

  /** Puts another watcher in the place of the one with its name; the claims stay and are compared with what the new one says. */
  async replace(watcher: Watcher): Promise<void> {
    const running = this.#running.get(watcher.name);
    if (running === undefined) return;
    running.abort.abort();
    await running.done;
    const abort = new AbortController();
    this.#running.set(watcher.name, { abort, done: this.#run(watcher, abort.signal) });
  }

  /** Treats a running source differently from now on; its claims stay. */
  setOptions(name: string, options: SourceOptions): void {
    this.#table.setSourceOptions(name, options, this.#clock.nowMs(), this.#clock.wallMs());
    this.#changed();
  }

  /** Stops a watcher; its claims go with it, because somebody took the source out of the configuration. */
  async remove(name: string): Promise<void> {
    const running = this.#running.get(name);
    if (running === undefined) return;
    this.#running.delete(name);
    running.abort.abort();
    await running.done;
    this.#table.removeSource(name, this.#clock.nowMs(), this.#clock.wallMs());
    this.#changed();
  }

  /** Stops all watchers; their claims stay. */
  async stop(): Promise<void> {
    this.#deadline?.cancel();
    const running = [...this.#running.values()];
    this.#running.clear();
    for (const { abort } of running) abort.abort();
    await Promise.all(running.map(({ done }) => done));
  }

  async #run(watcher: Watcher, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        for await (const update of watcher.watch(signal)) {
          if (signal.aborted) return;
          this.#table.apply(watcher.name, update, this.#clock.nowMs(), this.#clock.wallMs());
          this.#waiting.get(watcher.name)?.();
          this.#waiting.delete(watcher.name);
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
      if (!signal.aborted) await this.#pause(signal);
    }
  }

  #pause(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.after(RESTART_AFTER_MS, resolve);
      signal.addEventListener(
        'abort',
        () => {
          timer.cancel();
          resolve();
        },
        { once: true },
      );
    });
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
