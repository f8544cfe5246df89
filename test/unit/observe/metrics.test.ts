import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, test } from 'node:test';
import {
  DROPS_INBOUND,
  DROPS_OUTBOUND,
  PEER_CELL,
  peerCell,
  TOTAL,
} from '../../../src/dataplane/counters.ts';
import { METRICS } from '../../../src/observe/metric-table.ts';
import { Metrics, PUBLISH_HISTOGRAM } from '../../../src/observe/metrics.ts';
import type { MetricsSource } from '../../../src/observe/metrics-source.ts';
import { DROP_REASONS, VERDICT } from '../../../src/packet/verdict.ts';
import { dropRows, metricRows } from './documented.ts';
import { type Exposition, parseExposition } from './exposition.ts';
import { emptyBlocks, fakeSource } from './fake-source.ts';

const opened: Metrics[] = [];
afterEach(() => {
  for (const metrics of opened.splice(0)) metrics.close();
});

function metricsOf(source: MetricsSource): Metrics {
  const metrics = new Metrics(source);
  opened.push(metrics);
  return metrics;
}

async function scrape(metrics: Metrics): Promise<Exposition> {
  return parseExposition(await metrics.text());
}

/** The only sample of the name with exactly these labels. */
function sampleOf({ samples }: Exposition, name: string, labels: Record<string, string> = {}): number {
  const wanted = JSON.stringify(Object.entries(labels).sort());
  const found = samples.filter(
    (sample) => sample.name === name && JSON.stringify(Object.entries(sample.labels).sort()) === wanted,
  );
  assert.equal(found.length, 1, `${name} ${wanted}`);
  return found[0]?.value ?? Number.NaN;
}

test('every metric has a help text, a type and at least one sample', async () => {
  const exposition = await scrape(metricsOf(fakeSource()));
  const names = [...METRICS.map(({ name }) => name), PUBLISH_HISTOGRAM.name];
  assert.deepEqual([...exposition.help.keys()].sort(), names.sort());
  assert.deepEqual([...exposition.types.keys()].sort(), names);
  for (const { name } of METRICS) {
    assert.ok(
      exposition.samples.some((sample) => sample.name === name),
      name,
    );
  }
});

test('names follow the rules that promtool checks', () => {
  const names = new Set<string>();
  for (const { name, type, help, labels } of METRICS) {
    assert.match(name, /^(isthmus|process)_[a-z0-9]+(_[a-z0-9]+)*$/, name);
    assert.ok(!names.has(name), `${name} is there once`);
    names.add(name);
    assert.equal(
      name.endsWith('_total'),
      type === 'counter',
      `${name}: counters, and only they, end in _total`,
    );
    assert.doesNotMatch(
      name,
      /_(counter|gauge|histogram|summary|metric)(_|$)/,
      `${name} does not name its type`,
    );
    assert.doesNotMatch(name, /_(count|sum|bucket|info_total)$/, `${name} is no part of a histogram`);
    assert.doesNotMatch(
      name,
      /_(ms|millis|milliseconds|microseconds|minutes|hours|kib|mib|kilobytes|percent|bits)(_|$)/,
      `${name} is in base units`,
    );
    assert.match(name.replace(/_total$/, ''), /^(?!.*_(?:bytes|seconds)_).*$/, `${name}: the unit is last`);
    assert.ok(help.length > 10 && !help.startsWith(name), `${name} has a help text of its own`);
    for (const label of labels) {
      assert.match(label, /^[a-z]+(_[a-z]+)*$/, label);
      assert.ok(!['le', 'quantile', 'job', 'instance'].includes(label), `${label} is reserved`);
      assert.ok(!name.includes(`_by_${label}`), `${name} does not repeat its label`);
    }
  }
});

test('packets and bytes are added up over all engines at the scrape', async () => {
  const [first, second] = emptyBlocks(1);
  const metrics = metricsOf(fakeSource({ counterBlocks: () => [first, second] }));
  first[TOTAL.OUTBOUND_PACKETS] = 3;
  second[TOTAL.OUTBOUND_PACKETS] = 4;
  second[TOTAL.INBOUND_BYTES] = 1500;
  const before = await scrape(metrics);
  assert.equal(sampleOf(before, 'isthmus_packets_total', { direction: 'outbound' }), 7);
  assert.equal(sampleOf(before, 'isthmus_packets_total', { direction: 'inbound' }), 0);
  assert.equal(sampleOf(before, 'isthmus_bytes_total', { direction: 'inbound' }), 1500);
  first[TOTAL.OUTBOUND_PACKETS] = 10;
  const later = await scrape(metrics);
  assert.equal(
    sampleOf(later, 'isthmus_packets_total', { direction: 'outbound' }),
    14,
    'a second scrape does not add to the first',
  );
});

test('byte counters beyond 32 bits and up to 2^53 are exact', async () => {
  const [block] = emptyBlocks(1);
  block[TOTAL.OUTBOUND_BYTES] = 2 ** 53 - 1;
  const text = await metricsOf(fakeSource({ counterBlocks: () => [block] })).text();
  assert.match(text, /isthmus_bytes_total\{direction="outbound"\} 9007199254740991\n/);
});

for (const [name, cell] of [
  ['isthmus_fragmented_packets_total', TOTAL.FRAGMENTED],
  ['isthmus_fragments_total', TOTAL.FRAGMENTS],
  ['isthmus_mss_clamped_packets_total', TOTAL.MSS_CLAMPED],
  ['isthmus_icmp_queued_packets_total', TOTAL.ICMP_QUEUED],
  ['isthmus_icmp_suppressed_packets_total', TOTAL.ICMP_SUPPRESSED],
  ['isthmus_soft_state_exceeded_packets_total', TOTAL.SOFT_STATE_EXCEEDED],
  ['isthmus_receive_errors_total', TOTAL.RECEIVE_ERRORS],
  ['isthmus_overflowed_packets_total', TOTAL.OVERFLOWED],
  ['isthmus_system_calls_total', TOTAL.SYSTEM_CALLS],
  ['isthmus_worker_turns_total', TOTAL.TURNS],
] as const) {
  test(`${name} shows its counter cell`, async () => {
    const [first, second] = emptyBlocks(1);
    first[cell] = 5;
    second[cell] = 6;
    assert.equal(
      sampleOf(await scrape(metricsOf(fakeSource({ counterBlocks: () => [first, second] }))), name),
      11,
    );
  });
}

test('packets to peers are told by the socket that they left by', async () => {
  const [first, second] = emptyBlocks(1);
  first[TOTAL.SENT_BY_PACKET_SOCKET] = 5;
  second[TOTAL.SENT_BY_PACKET_SOCKET] = 2;
  second[TOTAL.SENT_BY_RAW_SOCKET] = 3;
  const exposition = await scrape(metricsOf(fakeSource({ counterBlocks: () => [first, second] })));
  const sent = (socket: string) => sampleOf(exposition, 'isthmus_transmitted_packets_total', { socket });
  assert.deepEqual([sent('packet'), sent('raw')], [7, 3]);
});

test('every drop reason is there in its directions, at 0 before it ever happened', async () => {
  const exposition = await scrape(metricsOf(fakeSource()));
  const drops = exposition.samples.filter(({ name }) => name === 'isthmus_dropped_packets_total');
  const wanted = DROP_REASONS.slice(1).flatMap(({ name, direction }) =>
    (direction === 'both' ? ['outbound', 'inbound'] : [direction]).map((each) => `${each} ${name}`),
  );
  assert.deepEqual(
    drops.map(({ labels }) => `${labels.direction} ${labels.reason}`),
    wanted,
  );
  assert.ok(drops.every(({ value }) => value === 0));
});

test('a drop is counted under its reason and direction', async () => {
  const [block] = emptyBlocks(1);
  block[DROPS_OUTBOUND + VERDICT.NO_ROUTE] = 2;
  block[DROPS_INBOUND + VERDICT.SPOOFED_SOURCE] = 3;
  block[DROPS_INBOUND + VERDICT.INNER_CHECKSUM] = 4;
  const exposition = await scrape(metricsOf(fakeSource({ counterBlocks: () => [block] })));
  const drops = (direction: string, reason: string) =>
    sampleOf(exposition, 'isthmus_dropped_packets_total', { direction, reason });
  assert.equal(drops('outbound', 'no-route'), 2);
  assert.equal(drops('inbound', 'spoofed-source'), 3);
  assert.equal(drops('inbound', 'inner-checksum'), 4);
  assert.equal(drops('outbound', 'inner-checksum'), 0);
});

test('a peer has one series for each direction, whatever number of clusters it serves', async () => {
  const [block] = emptyBlocks(4);
  block[peerCell(2) + PEER_CELL.OUTBOUND_PACKETS] = 8;
  block[peerCell(2) + PEER_CELL.INBOUND_BYTES] = 900;
  block[peerCell(2) + PEER_CELL.INBOUND_DROPS] = 1;
  const peers = () => [
    {
      ...{ index: 2, address: '172.31.0.9', clusters: ['north', 'west'], alive: false, pathMtuBytes: 1400 },
      health: undefined,
    },
  ];
  const exposition = await scrape(metricsOf(fakeSource({ counterBlocks: () => [block], peers })));
  const labels = { peer: '172.31.0.9', cluster: 'north,west' };
  assert.equal(sampleOf(exposition, 'isthmus_peer_packets_total', { ...labels, direction: 'outbound' }), 8);
  assert.equal(sampleOf(exposition, 'isthmus_peer_bytes_total', { ...labels, direction: 'inbound' }), 900);
  assert.equal(
    sampleOf(exposition, 'isthmus_peer_dropped_packets_total', { ...labels, direction: 'inbound' }),
    1,
  );
  assert.equal(sampleOf(exposition, 'isthmus_peer_alive', labels), 0);
  assert.equal(sampleOf(exposition, 'isthmus_peer_path_mtu_bytes', labels), 1400);
});

test('a peer that went away has no series any more', async () => {
  let peers = fakeSource().peers();
  const metrics = metricsOf(fakeSource({ peers: () => peers }));
  assert.match(await metrics.text(), /peer="172\.31\.0\.2"/);
  peers = [];
  assert.doesNotMatch(await metrics.text(), /peer="/);
});

test('clusters, the table and the FIB are shown', async () => {
  const exposition = await scrape(metricsOf(fakeSource()));
  const values = (names: Record<string, number>, labels = {}) => {
    for (const [name, value] of Object.entries(names))
      assert.equal(sampleOf(exposition, name, labels), value, name);
  };
  values({ isthmus_routes: 3, isthmus_gateways: 2, isthmus_gateways_alive: 1 }, { cluster: 'west' });
  values({ isthmus_refused_claims: 1, isthmus_conflicts: 2, isthmus_shadows: 3 });
  values({
    isthmus_fib_prefixes: 3,
    isthmus_fib_used_bytes: 4096,
    isthmus_fib_capacity_bytes: 65_536,
    isthmus_fib_epoch: 7,
    isthmus_fib_groups: 2,
    isthmus_fib_peers: 1,
  });
});

test('a source has one state at a time, and no time before its first word', async () => {
  const sources = () =>
    [
      {
        name: 'file:/a',
        state: 'stale',
        reason: 'gone',
        claims: 4,
        refused: 0,
        lastUpdateMs: 1500,
        held: { claims: 2, untilMs: 9 },
      },
      { name: 'file:/b', state: 'waiting', claims: 0, refused: 0 },
    ] as const;
  const exposition = await scrape(metricsOf(fakeSource({ sources })));
  for (const state of ['waiting', 'fresh', 'stale', 'restored']) {
    assert.equal(
      sampleOf(exposition, 'isthmus_source_state', { source: 'file:/a', state }),
      Number(state === 'stale'),
    );
    assert.equal(
      sampleOf(exposition, 'isthmus_source_state', { source: 'file:/b', state }),
      Number(state === 'waiting'),
    );
  }
  assert.equal(sampleOf(exposition, 'isthmus_source_claims', { source: 'file:/a' }), 4);
  assert.equal(sampleOf(exposition, 'isthmus_source_refused_claims', { source: 'file:/a' }), 0);
  assert.equal(sampleOf(exposition, 'isthmus_source_held_claims', { source: 'file:/a' }), 2);
  const times = exposition.samples.filter(
    ({ name }) => name === 'isthmus_source_last_update_timestamp_seconds',
  );
  assert.deepEqual(
    times.map(({ labels, value }) => [labels.source, value]),
    [['file:/a', 1.5]],
  );
});

test('the gateway itself is shown', async () => {
  const exposition = await scrape(metricsOf(fakeSource()));
  const wanted = {
    isthmus_ready: 1,
    isthmus_host_problems: 1,
    isthmus_workers_configured: 2,
    isthmus_workers_running: 1,
    isthmus_worker_restarts_total: 5,
    isthmus_configuration_reload_success: 0,
    isthmus_configuration_last_reload_timestamp_seconds: 1_700_000_001,
    isthmus_configuration_reloads_total: 4,
    isthmus_configuration_reload_failures_total: 1,
  };
  for (const [name, value] of Object.entries(wanted)) assert.equal(sampleOf(exposition, name), value, name);
  assert.equal(
    sampleOf(exposition, 'isthmus_build_info', { version: '1.2.3', node_version: process.version }),
    1,
  );
});

test('the process and the lag of the event loop are measured', async () => {
  const exposition = await scrape(metricsOf(fakeSource()));
  assert.ok(sampleOf(exposition, 'process_resident_memory_bytes') > 1e6);
  assert.ok(sampleOf(exposition, 'process_cpu_seconds_total') > 0);
  assert.ok(sampleOf(exposition, 'process_open_fds') >= 3);
  assert.ok(
    Math.abs(sampleOf(exposition, 'process_start_time_seconds') * 1000 - performance.timeOrigin) < 1001,
  );
  for (const percentile of ['50', '99', '100']) {
    const lag = sampleOf(exposition, 'isthmus_event_loop_lag_seconds', { percentile });
    assert.ok(lag >= 0 && lag < 3600, `${percentile}: ${lag}`);
  }
});

test('publications fall into the bucket of their duration', async () => {
  const metrics = metricsOf(fakeSource());
  metrics.observePublish(0.0008);
  metrics.observePublish(0.12);
  metrics.observePublish(60);
  const exposition = await scrape(metrics);
  const bucket = (le: string) => sampleOf(exposition, `${PUBLISH_HISTOGRAM.name}_bucket`, { le });
  assert.deepEqual(
    [bucket('0.0005'), bucket('0.001'), bucket('0.1'), bucket('0.15'), bucket('2.5'), bucket('+Inf')],
    [0, 1, 1, 2, 2, 3],
  );
  assert.equal(sampleOf(exposition, `${PUBLISH_HISTOGRAM.name}_count`), 3);
});

test('two gateways in one process have separate metrics, and scrapes at once do not mix', async () => {
  const [one, other] = [emptyBlocks(1)[0], emptyBlocks(1)[0]];
  one[TOTAL.FRAGMENTED] = 1;
  other[TOTAL.FRAGMENTED] = 2;
  const metrics = [
    metricsOf(fakeSource({ counterBlocks: () => [one] })),
    metricsOf(fakeSource({ counterBlocks: () => [other] })),
  ];
  const scrapes = await Promise.all([...metrics, ...metrics].map(scrape));
  assert.deepEqual(
    scrapes.map((each) => sampleOf(each, 'isthmus_fragmented_packets_total')),
    [1, 2, 1, 2],
  );
});

test('names of sources with quotes, backslashes and line ends are escaped', async () => {
  const sources = () => [{ name: 'file:/a"b\\c\nd', state: 'fresh', claims: 1, refused: 0 }] as const;
  const text = await metricsOf(fakeSource({ sources })).text();
  assert.ok(text.includes('isthmus_source_claims{source="file:/a\\"b\\\\c\\nd"} 1\n'));
  parseExposition(text);
});

test('every metric and every drop reason is in docs/metrics.md, as the source says it', () => {
  const page = readFileSync(new URL('../../../../docs/metrics.md', import.meta.url), 'utf8');
  const lines = new Set(page.split('\n'));
  assert.deepEqual(
    [...metricRows(), ...dropRows()].filter((row) => !lines.has(row)),
    [],
  );
  const named = page.match(/^\| `(?:isthmus|process)_[a-z_]+` \|/gm)?.length;
  assert.equal(named, metricRows().length, 'the page has no other metrics');
});

test('a watch shows how long ago its server spoke, and nothing before the first word', async () => {
  const exposition = await scrape(metricsOf(fakeSource()));
  const nodes = { source: 'kubernetes:west', resource: 'nodes' };
  const services = { source: 'kubernetes:west', resource: 'servicecidrs.networking.k8s.io' };
  assert.equal(sampleOf(exposition, 'isthmus_watch_last_event_age_seconds', nodes), 12.5);
  assert.equal(
    exposition.samples.some(
      ({ name, labels }) =>
        name === 'isthmus_watch_last_event_age_seconds' && labels.resource === services.resource,
    ),
    false,
  );
  assert.equal(sampleOf(exposition, 'isthmus_watch_healthy', nodes), 1);
  assert.equal(sampleOf(exposition, 'isthmus_watch_healthy', services), 0);
  assert.equal(sampleOf(exposition, 'isthmus_watch_lists_total', { ...nodes, reason: 'error' }), 3);
  assert.equal(sampleOf(exposition, 'isthmus_watch_errors_total', nodes), 4);
});
