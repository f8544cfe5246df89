import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Document } from 'yaml';
import {
  CLUSTERS_MAX,
  DECAPSULATE_FROM_MAX,
  GATEWAY_WEIGHT_MAX,
  GATEWAYS_MAX,
  LOCAL_CIDRS_MAX,
} from '../../../src/base/limits.ts';
import { formatListen, parseListen, SOCKET_PATH_BYTES_MAX } from '../../../src/config/listen.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { CIDRS_MAX } from '../../../src/config/schema.ts';
import { suggest } from '../../../src/config/suggest.ts';
import {
  DURATION_MS_MAX,
  formatDuration,
  formatSize,
  parseDuration,
  parseSize,
} from '../../../src/config/units.ts';
import * as layout from '../../../src/fib/layout.ts';
import { EVERY_FIELD, MINIMAL } from './example.ts';

/** Whether `value` is accepted at `path` of an otherwise valid file. */
function accepts(path: readonly (string | number)[], value: unknown): boolean {
  const document = new Document(EVERY_FIELD);
  document.setIn(path, document.createNode(value));
  return parseConfig(document.toString(), 'x').problems === undefined;
}

const BOUNDS: readonly [path: (string | number)[], accepted: unknown[], refused: unknown[]][] = [
  [
    ['tunnel', 'mtu'],
    ['auto', 576, 65_515],
    [575, 65_516, '1400', 1400.5],
  ],
  [
    ['tunnel', 'ttl'],
    ['inherit', 1, 255],
    [0, 256],
  ],
  [
    ['tunnel', 'dscp'],
    ['inherit', 0, 63],
    [-1, 64],
  ],
  [
    ['tunnel', 'workers'],
    ['auto', 1, 32],
    [0, 33],
  ],
  [['tunnel', 'mode'], ['always', 'cross-subnet'], ['never']],
  [['tunnel', 'engine'], ['auto', 'userspace'], ['ebpf']],
  [
    ['tunnel', 'device'],
    ['a', 'isthmus0', 'x'.repeat(15), 'eth0.5'],
    ['', 'x'.repeat(16), 'a/b', 'a b', '.', '..', 'a:b', 'tun%d', 'é'],
  ],
  [
    ['cluster', 'name'],
    ['a', 'a-1', '0', 'x'.repeat(63)],
    ['', 'A', '-a', 'a-', 'a_b', 'a.b', 'x'.repeat(64), 5],
  ],
  [
    ['clusters', 0, 'gateways', 0, 'address'],
    ['1.0.0.1', '223.255.255.255'],
    ['0.0.0.1', '127.0.0.1', '224.0.0.1', '255.255.255.255', '1.2.3', '1.2.3.4/32', 'host'],
  ],
  [
    ['clusters', 0, 'gateways', 0, 'weight'],
    [0, GATEWAY_WEIGHT_MAX],
    [-1, GATEWAY_WEIGHT_MAX + 1],
  ],
  [
    ['watch', 0, 'staleAfter'],
    ['never', '1s', '24d', '1.5h'],
    ['999ms', '25d', 30, '30', '-1s', '1 s', '0.5ms'],
  ],
  [
    ['watch', 0, 'massWithdrawalHold'],
    ['0s', '500ms', '1h30m'],
    ['never', ''],
  ],
  [
    ['tunnel', 'receiveBuffer'],
    [65_536, '64KiB', '1GiB'],
    [65_535, '2GiB', '8MB', '8 MiB', 1e12],
  ],
  [
    ['routes', 'table'],
    [1, 254, 4_294_967_295],
    [0, 4_294_967_296],
  ],
  [
    ['routes', 'protocol'],
    [5, 255],
    [4, 256],
  ],
  [
    ['admin', 'listen'],
    ['none', '127.0.0.1:0', '[::1]:9461', 'localhost:65535', 'unix:/a'],
    ['9461', ':9461', '127.0.0.1', '127.0.0.1:65536', 'unix:a', '1.2.3:80', '[::x]:1', 'a b:1'],
  ],
  [
    ['state', 'directory'],
    ['none', '/var/lib/isthmus'],
    ['var/lib', ''],
  ],
  [
    ['security', 'decapsulateFrom', 0],
    ['172.31.0.0/24', '172.31.0.7', '0.0.0.0/0'],
    ['172.31.0.7/24', 'x'],
  ],
];

for (const [path, accepted, refused] of BOUNDS) {
  test(`${path.join('.')} accepts its bounds and refuses what lies beyond`, () => {
    for (const value of accepted) assert.ok(accepts(path, value), `accepts ${JSON.stringify(value)}`);
    for (const value of refused) assert.ok(!accepts(path, value), `refuses ${JSON.stringify(value)}`);
  });
}

test('lists are accepted at their limit and refused one beyond', () => {
  const sources = (count: number) => Array.from({ length: count }, (_, i) => `172.31.1.${i}`);
  assert.ok(accepts(['security', 'decapsulateFrom'], sources(DECAPSULATE_FROM_MAX)));
  assert.ok(!accepts(['security', 'decapsulateFrom'], sources(DECAPSULATE_FROM_MAX + 1)));
  const gateways = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ address: `172.31.${2 + (i >> 8)}.${i & 255}` }));
  assert.ok(accepts(['clusters', 0, 'gateways'], gateways(GATEWAYS_MAX)));
  assert.ok(!accepts(['clusters', 0, 'gateways'], gateways(GATEWAYS_MAX + 1)));
  const ours = (count: number) => Array.from({ length: count }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
  assert.ok(accepts(['cluster', 'cidrs'], ours(LOCAL_CIDRS_MAX)));
  assert.ok(!accepts(['cluster', 'cidrs'], ours(LOCAL_CIDRS_MAX + 1)));
});

test('what the configuration accepts has room in the table and in the FIB', () => {
  assert.equal(CLUSTERS_MAX % 32, 0, 'the bitmap of clusters in a peer record fills its words');
  assert.ok(CIDRS_MAX <= layout.PREFIXES_MAX);
});

test('what this version does not support is told apart from what does not exist', () => {
  const document = new Document(EVERY_FIELD);
  document.setIn(['tunnel', 'engine'], 'ebpf');
  assert.match(
    parseConfig(document.toString(), 'x').problems?.[0]?.message ?? '',
    /got "ebpf" \(not supported by this version\)$/,
  );
});

test('durations are read and written', () => {
  for (const [text, ms] of [
    ['500ms', 500],
    ['30s', 30_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    ['1.5s', 1500],
    ['0s', 0],
  ] as const) {
    assert.equal(parseDuration(text), ms, text);
  }
  for (const text of ['', 's', '5', '5 s', '1e3s', '-5s', '5S', '0.0001ms', '5s!', 'never']) {
    assert.equal(parseDuration(text), undefined, text);
  }
  for (const ms of [0, 1, 999, 1000, 1001, 60_000, 61_000, 3_600_000, DURATION_MS_MAX]) {
    assert.equal(parseDuration(formatDuration(ms)), ms);
  }
  assert.equal(formatDuration(90_000), '90s');
  assert.equal(formatDuration(7_200_000), '2h');
});

test('sizes are read and written', () => {
  assert.equal(parseSize('8MiB'), 8 * 2 ** 20);
  assert.equal(parseSize('1GiB'), 2 ** 30);
  for (const text of ['8MB', '8', '', '1.5MiB', '-1KiB', '8 MiB', '8mib'])
    assert.equal(parseSize(text), undefined, text);
  assert.equal(formatSize(8 * 2 ** 20), '8MiB');
  assert.equal(formatSize(1000), 1000);
});

test('listen addresses are read and written', () => {
  for (const text of ['127.0.0.1:9461', '[::1]:80', 'localhost:0', 'unix:/run/a.sock']) {
    const parsed = parseListen(text);
    assert.notEqual(typeof parsed, 'string', text);
    if (typeof parsed !== 'string') assert.equal(formatListen(parsed), text);
  }
  assert.equal(parseListen(':9461'), 'a host is missing; 0.0.0.0 stands for every address of this machine');
  assert.equal(typeof parseListen(`unix:/${'x'.repeat(SOCKET_PATH_BYTES_MAX - 1)}`), 'object');
  assert.match(String(parseListen(`unix:/${'x'.repeat(SOCKET_PATH_BYTES_MAX)}`)), /107 bytes at most/);
});

test('a suggestion is near, and there is none when nothing is', () => {
  assert.equal(suggest('tunel', ['cluster', 'tunnel']), 'tunnel');
  assert.equal(suggest('clampMSS', ['clampMss', 'ttl']), 'clampMss');
  assert.equal(suggest('zzz', ['cluster', 'tunnel']), undefined);
  assert.equal(suggest('x'.repeat(100_000), ['cluster', 'tunnel']), undefined);
});

test('a source that contradicts itself is reported at its field', () => {
  const cases: [string, string][] = [
    ['{kind: etcd}', 'watch[0].endpoints: expected at least one endpoint of etcd, got none'],
    [
      '{kind: calico, datastore: etcd, endpoints: [http://10.0.0.5:2379], gateways: objects}',
      'watch[0].gateways: expected all or labels, got objects; TunnelGateway objects are in Kubernetes, not in etcd',
    ],
    [
      '{kind: etcd, endpoints: [http://10.0.0.5:2379], certFile: a.pem}',
      'watch[0].keyFile: expected a file, got none; certificate and key belong together',
    ],
    [
      '{kind: kernel-routes, via: [{address: 172.31.0.2}]}',
      'watch[0].via: expected none, since our own CIDRs are behind no gateway; name a remote cluster in `cluster`',
    ],
    [
      '{kind: cilium, cluster: east}',
      'watch[0].cluster: expected local or the name of a remote cluster, got "east", which is our own (cluster.name)',
    ],
  ];
  for (const [source, expected] of cases) {
    const { problems = [] } = parseConfig(`${MINIMAL}watch: [${source}]\n`, 'x');
    assert.deepEqual(
      problems.map(({ field, message }) => `${field}: ${message}`),
      [expected],
    );
  }
});

test('two entries for the same source are one too many, whatever else they say', () => {
  const text = `${MINIMAL}watch: [{kind: cilium, cluster: west}, {kind: cilium, cluster: west, priority: 3}, {kind: calico, cluster: west}]\n`;
  const { problems = [] } = parseConfig(text, 'x');
  assert.deepEqual(
    problems.map(({ field, message }) => `${field}: ${message}`),
    ['watch[1].kind: expected each source once, got cilium:west again (first at element 0)'],
  );
});

test('files of sources are looked for from the folder of the configuration file, and words stay words', () => {
  const text = `${MINIMAL}watch: [{kind: etcd, endpoints: [http://10.0.0.5:2379/], caFile: ca.pem}, {kind: kubernetes, cluster: west, kubeconfig: k/west}]\n`;
  const [etcd, kubernetes] = parseConfig(text, '/etc/isthmus/x.yaml').value?.watch ?? [];
  assert.ok(etcd?.kind === 'etcd' && kubernetes?.kind === 'kubernetes');
  assert.deepEqual(
    [etcd.caFile, etcd.certFile, etcd.endpoints, kubernetes.kubeconfig],
    ['/etc/isthmus/ca.pem', 'none', ['http://10.0.0.5:2379'], '/etc/isthmus/k/west'],
  );
});

test('own CIDRs may all be learned, where a source learns them', () => {
  const learned = 'cluster: {name: east}\nwatch: [{kind: kubernetes}]\n';
  assert.deepEqual(parseConfig(learned, 'x').value?.cluster.cidrs, []);
  const nowhere = 'cluster: {name: east}\nwatch: [{kind: kubernetes, cluster: west}]\n';
  assert.deepEqual(
    parseConfig(nowhere, 'x').problems?.map(({ field, message }) => `${field}: ${message}`),
    [
      'cluster.cidrs: expected one or more CIDRs, got none; no source in `watch` learns those of our own cluster',
    ],
  );
});
