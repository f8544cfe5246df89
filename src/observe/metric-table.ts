import { readdirSync } from 'node:fs';
import type { SourceState } from '../table/route.ts';
import { HEALTH } from './health-metrics.ts';
import { gauge, gaugeOf, type MetricDefinition } from './metric-definition.ts';
import { PEERS, TRAFFIC } from './traffic-metrics.ts';
import { WATCHES } from './watch-metrics.ts';

const SOURCE_STATES: readonly SourceState['state'][] = ['waiting', 'fresh', 'stale', 'restored'];
const LAG_PERCENTILES = [50, 99, 100];

const ROUTES: readonly MetricDefinition[] = [
  gaugeOf(
    'isthmus_routes',
    'Routes to a remote cluster.',
    ['cluster'],
    (source) => source.clusters(),
    (cluster) => [cluster.routes, cluster.name],
  ),
  gaugeOf(
    'isthmus_gateways',
    'Gateways of a remote cluster.',
    ['cluster'],
    (source) => source.clusters(),
    (cluster) => [cluster.gateways, cluster.name],
  ),
  gaugeOf(
    'isthmus_gateways_alive',
    'Gateways of a remote cluster that flows are sent to: those that probes do not say are dead.',
    ['cluster'],
    (source) => source.clusters(),
    (cluster) => [cluster.gatewaysAlive, cluster.name],
  ),
  gauge(
    'isthmus_refused_claims',
    'Claims that made no route; "isthmus routes --refused" lists them.',
    (source) => source.counts().refused,
  ),
  gauge(
    'isthmus_conflicts',
    'Prefixes that two clusters claim; the one that was there first stays.',
    (source) => source.counts().conflicts,
  ),
  gauge(
    'isthmus_shadows',
    'Prefixes that lie within a shorter one of another cluster.',
    (source) => source.counts().shadows,
  ),
];

const SOURCES: readonly MetricDefinition[] = [
  {
    name: 'isthmus_source_state',
    type: 'gauge',
    help: '1 for the state that a source is in, 0 for the others.',
    labels: ['source', 'state'],
    *samples(source) {
      for (const { name, state } of source.sources()) {
        for (const each of SOURCE_STATES) yield [Number(each === state), name, each];
      }
    },
  },
  gaugeOf(
    'isthmus_source_claims',
    'Claims that a source makes.',
    ['source'],
    (source) => source.sources(),
    (each) => [each.claims, each.name],
  ),
  gaugeOf(
    'isthmus_source_refused_claims',
    'Claims of a source that made no route.',
    ['source'],
    (source) => source.sources(),
    (each) => [each.refused, each.name],
  ),
  gaugeOf(
    'isthmus_source_held_claims',
    'Claims whose withdrawal is held back because too many were withdrawn at once.',
    ['source'],
    (source) => source.sources(),
    (each) => [each.held?.claims ?? 0, each.name],
  ),
  gaugeOf(
    'isthmus_source_last_update_timestamp_seconds',
    'Unix time of the last word from a source; absent before the first.',
    ['source'],
    (source) => source.sources(),
    (each) => (each.lastUpdateMs === undefined ? undefined : [each.lastUpdateMs / 1000, each.name]),
  ),
];

const FIB: readonly MetricDefinition[] = [
  gauge('isthmus_fib_prefixes', 'Prefixes in the FIB image.', (source) => source.fib().prefixes),
  gauge('isthmus_fib_groups', 'Sets of gateways in the FIB image.', (source) => source.fib().groups),
  gauge('isthmus_fib_peers', 'Peers in the FIB image.', (source) => source.fib().peers),
  gauge('isthmus_fib_used_bytes', 'Bytes of the FIB image in use.', (source) => source.fib().bytesUsed),
  gauge(
    'isthmus_fib_capacity_bytes',
    'Bytes that the FIB image can grow to.',
    (source) => source.fib().bytesCapacity,
  ),
  gauge('isthmus_fib_epoch', 'Number of the published FIB image.', (source) => source.fib().epoch),
];

const ICMP: readonly MetricDefinition[] = [
  {
    name: 'isthmus_icmp_received_total',
    type: 'counter',
    help: 'ICMP errors from the underlay, by whether they quote a packet of ours to a known gateway.',
    labels: ['about'],
    *samples(source) {
      const { accepted, ignored } = source.icmp();
      yield [accepted, 'ours'];
      yield [ignored, 'other'];
    },
  },
  {
    name: 'isthmus_icmp_relayed_total',
    type: 'counter',
    help: 'ICMP errors from inside a tunnel that were passed on to the sender of the inner packet (RFC 2003 section 4).',
    labels: [],
    samples: (source) => [[source.icmp().relayed]],
  },
  {
    name: 'isthmus_icmp_not_relayed_total',
    type: 'counter',
    help: 'ICMP errors from inside a tunnel that were not passed on, by the reason.',
    labels: ['reason'],
    *samples(source) {
      const { notForSender, unknownSender, unanswerable, overLimit } = source.icmp();
      yield [notForSender, 'not-for-sender'];
      yield [unknownSender, 'unknown-sender'];
      yield [unanswerable, 'unanswerable'];
      yield [overLimit, 'over-limit'];
    },
  },
];

const GATEWAY: readonly MetricDefinition[] = [
  gauge('isthmus_ready', '1 when the gateway forwards and is fit for traffic, else 0.', (source) =>
    Number(source.ready()),
  ),
  gauge(
    'isthmus_host_problems',
    'Settings of the host that hinder forwarding; "isthmus status" names them.',
    (source) => source.hostProblems(),
  ),
  gauge(
    'isthmus_workers_configured',
    'Packet workers that should run.',
    (source) => source.workers().configured,
  ),
  gauge('isthmus_workers_running', 'Packet workers that run.', (source) => source.workers().running),
  {
    name: 'isthmus_worker_restarts_total',
    type: 'counter',
    help: 'Packet workers that died and were started again.',
    labels: [],
    samples: (source) => [[source.workers().restarts]],
  },
  gauge(
    'isthmus_configuration_reload_success',
    '1 when the last reload of the configuration succeeded, else 0.',
    (source) => Number(source.configuration().lastReloadOk),
  ),
  gauge(
    'isthmus_configuration_last_reload_timestamp_seconds',
    'Unix time of the last reload of the configuration, whatever came of it.',
    (source) => source.configuration().lastReloadAtMs / 1000,
  ),
  {
    name: 'isthmus_configuration_reloads_total',
    type: 'counter',
    help: 'Reloads of the configuration, whatever came of them.',
    labels: [],
    samples: (source) => [[source.configuration().reloads]],
  },
  {
    name: 'isthmus_configuration_reload_failures_total',
    type: 'counter',
    help: 'Reloads that failed; the old configuration stayed.',
    labels: [],
    samples: (source) => [[source.configuration().reloadFailures]],
  },
  {
    name: 'isthmus_build_info',
    type: 'gauge',
    help: 'Always 1; the labels tell what runs.',
    labels: ['version', 'node_version'],
    samples: (source) => [[1, source.version, process.version]],
  },
  {
    name: 'isthmus_event_loop_lag_seconds',
    type: 'gauge',
    help: 'Lag of the main thread since the last scrape, by percentile; 100 is the longest. Packets do not wait for it.',
    labels: ['percentile'],
    *samples(_source, eventLoop) {
      const lags = eventLoop.take(LAG_PERCENTILES);
      for (const [i, lag] of lags.entries()) yield [lag, String(LAG_PERCENTILES[i])];
    },
  },
];

/** The names are the ones that every Prometheus client uses. prom-client's own default metrics add a garbage collection observer, which would run in the process that promises not to disturb packets. */
const PROCESS: readonly MetricDefinition[] = [
  {
    name: 'process_cpu_seconds_total',
    type: 'counter',
    help: 'User and system CPU time of all threads.',
    labels: [],
    samples() {
      const { user, system } = process.cpuUsage();
      return [[(user + system) / 1e6]];
    },
  },
  gauge('process_resident_memory_bytes', 'Resident memory, shared memory with its tables included.', () =>
    process.memoryUsage.rss(),
  ),
  gauge('process_start_time_seconds', 'Unix time at which the process started.', () =>
    Math.floor(performance.timeOrigin / 1000),
  ),
  gauge('process_open_fds', 'Open file descriptors.', () => readdirSync('/proc/self/fd').length),
];

/** Every metric except the histogram of publishing. docs/metrics.md lists them; a test compares the two. */
export const METRICS: readonly MetricDefinition[] = [
  ...TRAFFIC,
  ...ICMP,
  ...PEERS,
  ...HEALTH,
  ...ROUTES,
  ...SOURCES,
  ...WATCHES,
  ...FIB,
  ...GATEWAY,
  ...PROCESS,
];
