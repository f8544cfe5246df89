import type { ClaimUpdate } from '../../table/claim.ts';
import type { WatchEnvironment } from '../environment.ts';
import type { KubernetesAccess } from '../kubernetes-api/access.ts';
import { KubernetesApi } from '../kubernetes-api/client.ts';
import type { Watcher } from '../watcher.ts';
import type { ClusterReport } from './cluster-status.ts';
import { StatusWriter } from './status-writer.ts';

export interface ReportingWatcherOptions {
  readonly watcher: Watcher;
  readonly api: KubernetesAccess;
  readonly environment: WatchEnvironment;
  /** How this gateway is doing with a cluster. */
  readonly report: (cluster: string) => ClusterReport | undefined;
}

/** A watcher that, for as long as it runs, also writes into RemoteCluster objects how it is doing with them. */
export class ReportingWatcher implements Watcher {
  readonly name: string;
  readonly #options: ReportingWatcherOptions;

  constructor(options: ReportingWatcherOptions) {
    this.name = options.watcher.name;
    this.#options = options;
  }

  async *watch(signal: AbortSignal): AsyncIterable<ClaimUpdate> {
    const { watcher, api: access, environment, report } = this.#options;
    const { clock, logger, random, own } = environment;
    // A connection of its own: watches must not wait for writes.
    const api = new KubernetesApi(access, { clock, logger });
    const stop = new AbortController();
    const writer = new StatusWriter({ api, gateway: own.current.name, report, clock, logger, random });
    const written = writer.run(stop.signal);
    try {
      yield* watcher.watch(signal);
    } finally {
      stop.abort();
      await written;
      api.close();
    }
  }
}
