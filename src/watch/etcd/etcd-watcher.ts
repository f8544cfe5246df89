import type { ClaimUpdate } from '../../table/claim.ts';
import type { WatchEnvironment } from '../environment.ts';
import type { EtcdAccess } from '../etcd-api/access.ts';
import { EtcdApi } from '../etcd-api/api.ts';
import { EtcdStream } from '../etcd-api/stream.ts';
import type { EtcdStreamLimits } from '../etcd-api/watch-session.ts';
import { streamClaims } from '../stream-claims.ts';
import type { Watcher } from '../watcher.ts';
import { clustersPrefix, decodeRecord, recordKey } from './record.ts';
import { RecordClaims } from './record-claims.ts';
import { Registration } from './registration.ts';

export interface EtcdWatcherOptions {
  readonly name: string;
  readonly access: EtcdAccess;
  /** What all our keys begin with: `/isthmus/`. */
  readonly prefix: string;
  /** Announce this gateway, as `environment.own` says it is. */
  readonly register: boolean;
  /** How long a gateway that died stays announced. */
  readonly leaseMs: number;
  /** Asked for by this gateway: 0 to GATEWAY_WEIGHT_MAX. */
  readonly weight: number;
  readonly environment: WatchEnvironment;
  /**
   * Asked when the watcher stops: whether this gateway takes its record away, so that the others send it nothing from that moment on. Without
   * it the record stays until its lease ends, because a stop is most often the first half of a restart, or a reload that puts another watcher
   * in the place of this one: the next process takes the record over.
   */
  readonly withdrawOnStop?: () => boolean;
  readonly limits?: Partial<EtcdStreamLimits>;
}

/** Gateways that announce themselves in etcd, and the announcement of this one. Neither of the two disturbs the other. */
export class EtcdWatcher implements Watcher {
  readonly name: string;
  readonly #options: EtcdWatcherOptions;

  constructor(options: EtcdWatcherOptions) {
    this.name = options.name;
    this.#options = options;
  }

  async *watch(signal: AbortSignal): AsyncGenerator<ClaimUpdate, void, void> {
    const { access, prefix, environment, limits = {} } = this.#options;
    const { clock, logger, random, streams, own } = environment;
    const api = new EtcdApi(access, { clock });
    const watched = clustersPrefix(prefix);
    const stream = streams.open(this.name, watched);
    const registration = this.#startRegistration(api);
    const nudge = (): void => registration?.nudge();
    const ownKey = (): string => recordKey(prefix, own.current.cluster, own.current.name);
    const claims = new RecordClaims({
      own,
      ownKey,
      onOwnLoss: nudge,
    });
    const records = new EtcdStream({
      ...{ api, prefix: watched, stream, clock, logger, random, limits },
      project: (key, value) => {
        // Here, where each write is seen: a record that came and went since the last word is no change that anybody is told of.
        if (key === ownKey()) nudge();
        return decodeRecord(prefix, key, value);
      },
    });
    try {
      for await (const word of streamClaims({ records }, claims, signal)) {
        this.#note(claims.clusters(), api.server);
        yield word;
      }
    } finally {
      await registration?.stop();
      this.#note(new Set(), api.server);
      streams.close(stream);
      api.close();
    }
  }

  #startRegistration(api: EtcdApi): { nudge: () => void; stop: () => Promise<void> } | undefined {
    const { environment, prefix, register, leaseMs, weight, withdrawOnStop } = this.#options;
    if (!register) return undefined;
    const stream = environment.streams.open(this.name, `announcement of ${environment.own.current.name}`);
    const registration = new Registration({ api, prefix, leaseMs, weight, environment, stream });
    const abort = new AbortController();
    const ended = registration.run(abort.signal);
    return {
      nudge: () => registration.nudge(),
      stop: async () => {
        abort.abort();
        await ended;
        if (withdrawOnStop?.() === true) await registration.withdraw();
        environment.streams.close(stream);
      },
    };
  }

  /** Notes on the clusters that we know; what others noted stays theirs. */
  #note(clusters: ReadonlySet<string>, server: string): void {
    const { notes } = this.#options.environment;
    for (const [cluster, { origin }] of [...notes.entries()]) {
      if (origin === this.name && !clusters.has(cluster)) notes.delete(cluster);
    }
    for (const cluster of clusters) {
      const noted = notes.get(cluster);
      if (noted === undefined || (noted.origin === this.name && noted.server !== server))
        notes.set(cluster, { origin: this.name, dns: null, server, problems: [] });
    }
  }
}
