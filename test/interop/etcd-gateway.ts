import { parseAddress, parseCidr } from '../../src/base/address.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { Logger } from '../../src/base/log.ts';
import { ClusterNotes } from '../../src/watch/cluster-notes.ts';
import { EtcdWatcher, type EtcdWatcherOptions } from '../../src/watch/etcd/etcd-watcher.ts';
import { OwnGatewayFeed } from '../../src/watch/own-gateway.ts';
import { StreamRegistry, type StreamState } from '../../src/watch/stream-state.ts';
import { RunningWatcher, until } from '../unit/watch/running-watcher.ts';

/** Long, because a machine with other work must not let gateways seem dead that are not. */
const LEASE_MS = 60_000;

interface EtcdGatewayOptions extends Partial<Omit<EtcdWatcherOptions, 'access' | 'environment' | 'name'>> {
  readonly access: EtcdWatcherOptions['access'];
  readonly cluster: string;
  readonly gateway: string;
  readonly address?: string | undefined;
  readonly cidrs?: readonly string[];
}

/** The control plane of one gateway that knows only etcd: watcher, table, and what it shows. */
export class EtcdGateway {
  readonly own: OwnGatewayFeed;
  readonly notes = new ClusterNotes();
  readonly streams = new StreamRegistry();
  readonly running: RunningWatcher;
  readonly logged: string[] = [];
  readonly #options: EtcdGatewayOptions;

  constructor(options: EtcdGatewayOptions) {
    this.#options = options;
    this.own = new OwnGatewayFeed(this.#gateway(options.address, options.cidrs ?? []));
    const keep = (fields: object, message: string): void => {
      this.logged.push(`${message} ${JSON.stringify(fields)}`);
    };
    const logger: Logger = { debug() {}, info: keep, warn: keep, error: keep };
    const { streams, notes, own } = this;
    const environment = {
      clock: systemClock,
      logger,
      random: () => 0,
      streams,
      notes,
      own,
      family: 'ipv4' as const,
    };
    this.running = new RunningWatcher(
      new EtcdWatcher({
        ...{ name: 'etcd:/isthmus/', prefix: '/isthmus/', register: true, leaseMs: LEASE_MS, weight: 1 },
        ...options,
        environment,
      }),
    );
  }

  /** Another address or other CIDRs. */
  become(address: string | undefined, cidrs: readonly string[]): void {
    this.own.set(this.#gateway(address, cidrs));
  }

  get list(): StreamState {
    return this.#stream((resource) => resource.startsWith('/'));
  }

  get announcement(): StreamState {
    return this.#stream((resource) => resource.startsWith('announcement'));
  }

  /** Waits until it is announced. */
  async announced(): Promise<void> {
    await until(
      () => this.announcement.phase === 'watching',
      () => [this.announcement, this.logged],
    );
  }

  async stop(): Promise<void> {
    await this.running.stop();
  }

  #stream(has: (resource: string) => boolean): StreamState {
    const found = this.streams.list().find(({ resource }) => has(resource));
    if (found === undefined) throw new Error('the watcher does not run');
    return found;
  }

  #gateway(address: string | undefined, cidrs: readonly string[]) {
    const { cluster, gateway: name } = this.#options;
    const parsed = address === undefined ? undefined : parseAddress(address);
    return { cluster, name, address: parsed, cidrs: cidrs.map(parseCidr) };
  }
}

/** Everything that a test starts, ended in reverse when it is over. */
export class Started {
  readonly #ends: (() => Promise<unknown>)[] = [];

  gateway(options: EtcdGatewayOptions): EtcdGateway {
    const gateway = new EtcdGateway(options);
    this.#ends.push(() => gateway.stop());
    return gateway;
  }

  add<T>(thing: T, end: (thing: T) => Promise<unknown>): T {
    this.#ends.push(() => end(thing));
    return thing;
  }

  async end(): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
  }
}
