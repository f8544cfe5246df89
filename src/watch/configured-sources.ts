import { isDeepStrictEqual } from 'node:util';
import type { Family } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Config } from '../config/schema.ts';
import { sourceName } from '../config/source-name.ts';
import { underlayFamily } from '../config/underlay-family.ts';
import type { WatchConfig } from '../config/watch-schema.ts';
import { ClusterNotes } from './cluster-notes.ts';
import { gatewayName, OwnGatewayFeed } from './own-gateway.ts';
import type { SourceOptions, SourceRunner } from './source-runner.ts';
import { StaticWatcher } from './static.ts';
import { StreamRegistry } from './stream-state.ts';
import type { Watcher } from './watcher.ts';
import { type WatcherParts, watcherOf } from './watcher-of.ts';

/** The configuration's own clusters: never stale, and held like those of any other source. */
const STATIC_OPTIONS: SourceOptions = {
  priority: 0,
  staleAfterMs: Number.POSITIVE_INFINITY,
  holdMs: 30_000,
};

export interface ConfiguredSourcesSetup extends Pick<WatcherParts, 'leaves' | 'report'> {
  readonly runner: SourceRunner;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Asked when a watcher is made. */
  readonly host: () => Pick<WatcherParts, 'native' | 'netlink'>;
}

/** The watchers that the configuration asks for, now and after each reload. */
export class ConfiguredSources {
  readonly #setup: ConfiguredSourcesSetup;
  readonly #static: StaticWatcher;
  /** How the list-watches of all sources are doing. */
  readonly streams = new StreamRegistry();
  /** What sources know of remote clusters besides their CIDRs. */
  readonly notes = new ClusterNotes();
  /** This gateway as it is announced; the composition root keeps it up to date. */
  readonly own: OwnGatewayFeed;
  /** Another one needs a restart. */
  readonly #family: Family;

  constructor(setup: ConfiguredSourcesSetup, config: Config) {
    this.#setup = setup;
    this.#static = new StaticWatcher(config.clusters);
    this.#family = underlayFamily(config);
    this.own = new OwnGatewayFeed({
      cluster: config.cluster.name,
      name: gatewayName(config),
      address: undefined,
      cidrs: config.cluster.cidrs,
    });
  }

  get #runner(): SourceRunner {
    return this.#setup.runner;
  }

  /** Starts all; resolves when each has spoken once. */
  async start(config: Config): Promise<void> {
    const spoken = [this.#runner.add(this.#static, STATIC_OPTIONS)];
    for (const watch of config.watch) spoken.push(this.#runner.add(this.#watcherOf(watch), optionsOf(watch)));
    await Promise.all(spoken);
  }

  /** Takes over another configuration. What did not change goes on untouched; a source that is gone takes its claims along. */
  async change(previous: Config, next: Config): Promise<void> {
    this.#static.update(next.clusters);
    const fresh = new Map(next.watch.map((watch) => [sourceName(watch), watch]));
    for (const watch of previous.watch) {
      const name = sourceName(watch);
      const successor = fresh.get(name);
      if (successor === undefined) {
        await this.#runner.remove(name);
        continue;
      }
      fresh.delete(name);
      if (isDeepStrictEqual(watch, successor)) continue;
      this.#runner.setOptions(name, optionsOf(successor));
      // Everything that is not the table's is built into the watcher.
      if (!isDeepStrictEqual(ownFields(watch), ownFields(successor)))
        await this.#runner.replace(this.#watcherOf(successor));
    }
    for (const watch of fresh.values()) void this.#runner.add(this.#watcherOf(watch), optionsOf(watch));
  }

  #watcherOf(watch: WatchConfig): Watcher {
    const { runner, clock, logger, host, leaves, report } = this.#setup;
    const { streams, notes, own } = this;
    const family = this.#family;
    return watcherOf(watch, {
      environment: { clock, logger, streams, notes, own, family, random: Math.random },
      ...host(),
      children: (parent) => runner.children(parent),
      leaves,
      report,
    });
  }
}

function optionsOf(watch: WatchConfig): SourceOptions {
  return { priority: watch.priority, staleAfterMs: watch.staleAfter, holdMs: watch.massWithdrawalHold };
}

/** What the watcher itself depends on. */
function ownFields(watch: WatchConfig): object {
  const { priority: _priority, staleAfter: _staleAfter, massWithdrawalHold: _hold, ...own } = watch;
  return own;
}
