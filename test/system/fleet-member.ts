import { createInterface } from 'node:readline';
import { formatCidr, parseAddress, parseCidr } from '../../src/base/address.ts';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { monotonicMs } from '../../src/measure/load/monotonic.ts';
import { Table } from '../../src/table/table.ts';
import { ClusterNotes } from '../../src/watch/cluster-notes.ts';
import { EtcdWatcher } from '../../src/watch/etcd/etcd-watcher.ts';
import { OwnGatewayFeed } from '../../src/watch/own-gateway.ts';
import { SourceRunner } from '../../src/watch/source-runner.ts';
import { StreamRegistry } from '../../src/watch/stream-state.ts';

/**
 * `fleet-member OPTIONS`: the control plane of one gateway of a fleet over etcd, without a packet path. OPTIONS and all that it reads and
 * writes are lines of JSON: it writes what its routes have become, it reads which CIDRs it has from now on.
 */
export interface MemberOptions {
  readonly endpoint: string;
  readonly cluster: string;
  readonly address: string;
  readonly cidrs: readonly string[];
  readonly leaseMs: number;
}

export type MemberWord =
  /** Times are of the monotonic clock, which all processes of a machine share. */
  | { readonly kind: 'announcing'; readonly at: number }
  | {
      readonly kind: 'routes';
      readonly at: number;
      readonly set: readonly string[];
      readonly removed: readonly string[];
    }
  | { readonly kind: 'source'; readonly state: string };

function say(word: MemberWord): void {
  process.stdout.write(`${JSON.stringify(word)}\n`);
}

function run({ endpoint, cluster, address, cidrs, leaseMs }: MemberOptions): void {
  const gateway = { cluster, name: 'gw-1', address: parseAddress(address) };
  const own = new OwnGatewayFeed({ ...gateway, cidrs: cidrs.map(parseCidr) });
  const environment = {
    family: 'ipv4' as const,
    ...{ clock: systemClock, logger: silentLogger, random: Math.random, own },
    ...{ streams: new StreamRegistry(), notes: new ClusterNotes() },
  };
  const table = new Table();
  let state = '';
  const runner = new SourceRunner(table, systemClock, silentLogger, () => {
    const at = monotonicMs();
    const { set, removed } = table.takeChanges();
    if (set.length + removed.length > 0)
      say({
        kind: 'routes',
        at,
        set: set.map(({ cidr }) => formatCidr(cidr)),
        removed: removed.map(formatCidr),
      });
    const now = table.sources()[0]?.state ?? '';
    if (now !== state) say({ kind: 'source', state: now });
    state = now;
  });
  const watcher = new EtcdWatcher({
    ...{ name: 'etcd:/isthmus/', access: { endpoints: [endpoint] }, prefix: '/isthmus/' },
    ...{ register: true, leaseMs, weight: 1, environment },
  });
  void runner.add(watcher, { priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 30_000 });
  createInterface({ input: process.stdin })
    .on('line', (line) => {
      const next = JSON.parse(line) as readonly string[];
      say({ kind: 'announcing', at: monotonicMs() });
      own.set({ ...gateway, cidrs: next.map(parseCidr) });
    })
    .on('close', () => process.exit(0));
}

run(JSON.parse(process.argv[2]!) as MemberOptions);
