import { pause } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { Native } from '../../io/native.ts';
import type { Netlink } from '../../io/netlink.ts';
import { NetlinkSubscription, NOTICE_GROUP } from '../../io/netlink-subscription.ts';
import type { ClaimUpdate } from '../../table/claim.ts';
import type { WatchEnvironment } from '../environment.ts';
import type { StreamState } from '../stream-state.ts';
import { Wake } from '../wake.ts';
import type { Watcher } from '../watcher.ts';
import { claimsOfRoutes, type RouteReading } from './route-claims.ts';

/** A daemon changes its routes in bursts: what follows within this time is read together. */
export const DEBOUNCE_MS = 20;

/** A table of 100,000 routes takes a while to read; while it churns, reading gets at most one part in this many of the thread. */
const READING_SHARE = 5;

/** Notices may get lost without a word where another process fills the socket's buffer limit: look again this often in any case. */
const POLL_MS = 60_000;

/** After a table could not be read. */
const RETRY_MS = 1000;

export interface KernelRoutesOptions extends RouteReading {
  readonly name: string;
  readonly native: Native;
  readonly netlink: Netlink;
  readonly table: number;
  readonly environment: WatchEnvironment;
}

/**
 * Routes that BIRD, FRR or somebody else put into a routing table of this host: CIDRs of our own to announce, or of a remote cluster. The
 * kernel is always there, so this source is stale only where a table cannot be read; a routing daemon that ends takes its routes along, and
 * they are withdrawn like any others (see massWithdrawalHold).
 */
export class KernelRoutesWatcher implements Watcher {
  readonly name: string;
  readonly #options: KernelRoutesOptions;

  constructor(options: KernelRoutesOptions) {
    this.name = options.name;
    this.#options = options;
  }

  async *watch(signal: AbortSignal): AsyncIterable<ClaimUpdate> {
    const { native, environment, table, protocols } = this.#options;
    const { clock, streams } = environment;
    const wake = new Wake();
    const ring = (): void => wake.ring();
    const stream = streams.open(this.name, `routes of table ${table}`);
    let isPending = false;
    const subscription = new NetlinkSubscription(
      native,
      NOTICE_GROUP.ROUTES | NOTICE_GROUP.ROUTES6,
      (notice) => {
        if (notice.kind === 'route') {
          if (notice.route.table !== table || !protocols.includes(notice.route.protocol)) return;
          stream.events += 1;
        }
        if (isPending) return;
        isPending = true;
        ring();
      },
    );
    signal.addEventListener('abort', ring, { once: true });
    let isFirst = true;
    try {
      while (!signal.aborted) {
        isPending = false;
        const startMs = clock.nowMs();
        const word = this.#read(stream, isFirst);
        yield word;
        isFirst = false;
        const tookMs = clock.nowMs() - startMs;
        const timer = clock.after(word.kind === 'stale' ? RETRY_MS : POLL_MS, ring);
        await wake.wait();
        timer.cancel();
        if (!signal.aborted) await pause(clock, Math.max(DEBOUNCE_MS, tookMs * (READING_SHARE - 1)), signal);
      }
    } finally {
      subscription.close();
      signal.removeEventListener('abort', ring);
      streams.close(stream);
    }
  }

  /** All routes that count, each time: the table tells what changed, and the kernel reads them faster than it would tell a history. */
  #read(stream: StreamState, isFirst: boolean): ClaimUpdate {
    const { netlink, table, protocols, environment } = this.#options;
    try {
      stream.phase = 'listing';
      // The kernel filters by one protocol; asked for several, it would walk the whole table for each.
      const [only, ...others] = protocols;
      const filter = others.length === 0 && only !== undefined ? { table, protocol: only } : { table };
      const claims = claimsOfRoutes(netlink.routes(filter), this.#options);
      if (isFirst || stream.problem !== null) stream.lists[isFirst ? 'start' : 'error'] += 1;
      stream.phase = 'watching';
      stream.problem = null;
      stream.objects = claims.length;
      stream.lastEventMs = environment.clock.wallMs();
      return { kind: 'replace', claims };
    } catch (thrown) {
      stream.phase = 'waiting';
      stream.errors += 1;
      stream.problem = `routing table ${table} cannot be read: ${messageOf(thrown)}`;
      return { kind: 'stale', reason: stream.problem };
    }
  }
}
