import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parse } from 'yaml';
import { prefixMask } from '../../../src/base/address.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { configJsonSchema, printConfig } from '../../../src/config/print.ts';
import { type Config, configSchema } from '../../../src/config/schema.ts';
import { walkSchema } from '../../../src/config/schema-walk.ts';
import { sourceName } from '../../../src/config/source-name.ts';
import { DURATION_MS_MAX } from '../../../src/config/units.ts';
import type { WatchConfig } from '../../../src/config/watch-schema.ts';
import { MINIMAL, stepsOf } from './example.ts';

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$/);
const unicast = fc.integer({ min: 0x0100_0000, max: 0x7eff_ffff });
const cidr = fc
  .tuple(fc.nat(0xffff_ffff), fc.integer({ min: 0, max: 32 }))
  .map(([address, prefixLength]) => ({ address: (address & prefixMask(prefixLength)) >>> 0, prefixLength }));
const device = fc.stringMatching(/^[a-z0-9][!-$&-.0-9;-~]{0,13}$/);
const durationMs = fc.integer({ min: 1000, max: DURATION_MS_MAX });
const sizeBytes = fc.oneof(fc.integer({ min: 65_536, max: 2 ** 30 }), fc.constant(8 * 2 ** 20));
const path = fc
  .string({ minLength: 1, maxLength: 40 })
  .map((text) => `/x${text.replaceAll('\0', '').replaceAll('/', '')}y`);

const tunnel = fc.record({
  device: device.map((name) => `t${name}`.slice(0, 15)),
  address: fc.constant(null),
  mtu: fc.oneof(fc.constant('auto' as const), fc.integer({ min: 576, max: 65_515 })),
  encapsulation: fc.constantFrom('ipip', 'fou'),
  // Not that of plain probes.
  fouPort: fc.integer({ min: 1, max: 49_000 }),
  fouPeers: fc.uniqueArray(fc.record({ address: unicast, port: fc.integer({ min: 1, max: 65_535 }) }), {
    maxLength: 3,
    selector: ({ address }) => address,
  }),
  mode: fc.constantFrom('always', 'cross-subnet'),
  gatewayGrace: durationMs,
  ttl: fc.oneof(fc.constant('inherit' as const), fc.integer({ min: 1, max: 255 })),
  dscp: fc.oneof(fc.constant('inherit' as const), fc.nat(63)),
  ecn: fc.constantFrom('normal', 'compatibility'),
  engine: fc.constantFrom('auto', 'userspace'),
  workers: fc.oneof(fc.constant('auto' as const), fc.integer({ min: 1, max: 32 })),
  busyPoll: fc.oneof(fc.constantFrom('auto' as const, 'off' as const), fc.integer({ min: 1, max: 10 })),
  underlaySocket: fc.constantFrom('batch', 'raw-socket'),
  transmit: fc.constant('raw'),
  fragment: fc.constantFrom('inner', 'outer'),
  clampMss: fc.boolean(),
  keepOnExit: fc.boolean(),
  receiveBuffer: sizeBytes,
  sendBuffer: sizeBytes,
  queueLength: fc.integer({ min: 1, max: 1_000_000 }),
});

const cluster = fc.record({
  name: label.map((name) => `r${name}`),
  cidrs: fc.array(cidr, { minLength: 1, maxLength: 4 }),
  gateways: fc.uniqueArray(fc.record({ address: unicast, weight: fc.integer({ min: 0, max: 1000 }) }), {
    minLength: 1,
    maxLength: 3,
    selector: ({ address }) => address,
  }),
});

const everySource = {
  priority: fc.integer({ min: -1000, max: 1000 }),
  staleAfter: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), durationMs),
  massWithdrawalHold: fc.oneof(fc.constant(0), durationMs),
};
const word = fc.stringMatching(/^[a-z]{1,8}$/);
const whose = fc.oneof(
  fc.constant('local'),
  label.map((name) => `r${name}`),
);
const kubernetesAccess = { kubeconfig: fc.oneof(fc.constant('in-cluster'), path), context: word };
const gatewayChoice = fc.constantFrom('all', 'labels', 'a=b,!c,d!=e', 'isthmus.network/gateway');
const endpoints = fc.array(fc.constantFrom('http://127.0.0.1:2379', 'https://etcd.example:2379'), {
  minLength: 1,
  maxLength: 3,
});
const etcdAccess = {
  username: word,
  passwordFile: path,
  caFile: fc.oneof(fc.constant('none'), path),
  certFile: path,
  keyFile: path,
};
const source: fc.Arbitrary<WatchConfig> = fc.oneof(
  fc.record({ kind: fc.constant('file' as const), path, ...everySource, pollInterval: durationMs }),
  fc.record({
    kind: fc.constant('kubernetes' as const),
    cluster: whose,
    ...kubernetesAccess,
    gateways: gatewayChoice,
    serviceCidrs: fc.array(cidr, { maxLength: 2 }),
    pods: fc.boolean(),
    addressType: fc.constantFrom('InternalIP', 'ExternalIP'),
    remoteClusters: fc.boolean(),
    ...everySource,
  }),
  fc.record({
    kind: fc.constant('calico' as const),
    cluster: whose,
    datastore: fc.constantFrom('kubernetes', 'etcd'),
    ...kubernetesAccess,
    endpoints,
    ...etcdAccess,
    aggregate: fc.constantFrom('pool', 'block'),
    gateways: gatewayChoice,
    ...everySource,
  }),
  fc.record({
    kind: fc.constant('cilium' as const),
    cluster: whose,
    ...kubernetesAccess,
    gateways: fc.constant('objects'),
    ...everySource,
  }),
  fc.record({
    kind: fc.constant('etcd' as const),
    endpoints,
    ...etcdAccess,
    prefix: word.map((text) => `/${text}/`),
    register: fc.boolean(),
    leaseTime: durationMs.map((ms) => Math.max(ms, 2000)),
    weight: fc.integer({ min: 0, max: 1000 }),
    ...everySource,
  }),
  fc.record({
    kind: fc.constant('kernel-routes' as const),
    cluster: label.map((name) => `r${name}`),
    table: fc.integer({ min: 1, max: 0xffff_ffff }),
    protocols: fc.array(fc.integer({ min: 3, max: 255 }), { minLength: 1, maxLength: 4 }),
    within: fc.array(cidr, { maxLength: 2 }),
    via: fc.uniqueArray(fc.record({ address: unicast, weight: fc.integer({ min: 0, max: 1000 }) }), {
      maxLength: 2,
      selector: ({ address }) => address,
    }),
    ...everySource,
  }),
);

const config: fc.Arbitrary<Config> = fc.record({
  cluster: fc.record({
    name: label.map((name) => `o${name}`),
    cidrs: fc.array(cidr, { minLength: 1, maxLength: 4 }),
    gateway: fc.oneof(
      fc.constant('auto'),
      fc.stringMatching(/^[A-Za-z0-9]([A-Za-z0-9.-]{0,10}[A-Za-z0-9])?$/),
    ),
  }),
  underlay: fc.record({
    address: fc.oneof(fc.constant('auto' as const), fc.constant(0xdf00_0001)),
    family: fc.constantFrom('auto', 'ipv4'),
    device: device.map((name) => `u${name}`.slice(0, 15)),
  }),
  tunnel,
  clusters: fc.uniqueArray(cluster, { maxLength: 3, selector: ({ name }) => name }),
  watch: fc.uniqueArray(source, { maxLength: 4, selector: sourceName }),
  security: fc.record({
    decapsulateFrom: fc.array(cidr, { maxLength: 4 }),
    protect: fc.array(cidr, { maxLength: 4 }),
    innerSource: fc.constantFrom('strict', 'loose', 'off'),
    transit: fc.array(
      label.map((name) => `r${name}`),
      { maxLength: 3 },
    ),
  }),
  services: fc.record({
    cidrs: fc.array(cidr, { maxLength: 3 }),
    masquerade: fc.constantFrom('auto', 'always', 'never'),
    keepSource: fc.boolean(),
  }),
  routes: fc.record({
    table: fc.integer({ min: 1, max: 0xffff_ffff }),
    metric: fc.nat(0xffff_ffff),
    protocol: fc.integer({ min: 5, max: 255 }),
  }),
  host: fc.record({ checks: fc.constantFrom('enforce', 'warn', 'off') }),
  health: fc.record({
    probes: fc.constantFrom('auto', 'required', 'off'),
    interval: fc.integer({ min: 10, max: 1000 }),
    deadAfter: fc.integer({ min: 2000, max: 60_000 }),
    hold: fc.integer({ min: 0, max: 3_600_000 }),
    allDead: fc.constantFrom('fail-closed', 'fail-open'),
    pathMtu: fc.boolean(),
  }),
  admin: fc.record({
    listen: fc.oneof(
      fc.constantFrom('none', '127.0.0.1:9461', '[::1]:1'),
      path.map((text) => `unix:${text}`),
    ),
  }),
  state: fc.record({ directory: fc.oneof(fc.constant('none'), path) }),
  log: fc.record({ level: fc.constantFrom('debug', 'info', 'warn', 'error') }),
});

test('a printed configuration loads back to an equal one', () => {
  fc.assert(
    fc.property(config, (generated) => {
      // fast-check also makes objects without a prototype, which deepEqual tells apart.
      const value = structuredClone(generated);
      const text = printConfig(value);
      const parsed = parseConfig(text, '/etc/isthmus/isthmus.yaml');
      assert.deepEqual(parsed.problems, undefined, text);
      assert.deepEqual(parsed.value, value);
      assert.equal(printConfig(parsed.value as Config), text);
    }),
    { seed: 20, numRuns: 100 },
  );
});

test('a printed configuration has every field, also those that were not given', () => {
  const { value } = parseConfig(
    `${MINIMAL}clusters: [{name: w, cidrs: [10.2.0.0/16], gateways: [{address: 172.31.0.2}]}]\nwatch: [{kind: file, path: /x}]\n`,
    'x',
  );
  const printed = parse(printConfig(value as Config));
  for (const each of walkSchema(configSchema)) {
    const { path: field, kinds } = each;
    // Their lists are empty by default; of the sources, there is only a file.
    if (
      /^(security\.\w+|services\.\w+|tunnel\.fouPeers)\[/.test(field) ||
      (kinds.length > 0 && !kinds.includes('file'))
    )
      continue;
    const found = stepsOf(each).reduce(
      (at: unknown, step) => (at as Record<string, unknown> | undefined)?.[step],
      printed,
    );
    assert.notEqual(found, undefined, field);
  }
});

test('the JSON Schema describes every field and closes every mapping', () => {
  const schema = JSON.parse(JSON.stringify(configJsonSchema()));
  assert.equal(schema.$schema, 'https://json-schema.org/draft/2020-12/schema');
  assert.deepEqual(schema.required, ['cluster']);
  assert.deepEqual(schema.properties.tunnel.properties.mtu, {
    default: 'auto',
    anyOf: [{ const: 'auto' }, { type: 'integer', minimum: 576, maximum: 65_515 }],
    description:
      'MTU of the TUN device; auto is the MTU of the underlay device less 20, 28 with fou, or 40 where that is of IPv6',
  });
  assert.doesNotMatch(JSON.stringify(schema), /"expected"/);
  const mappings = JSON.stringify(schema).match(/"type":"object"/g)?.length;
  assert.equal(JSON.stringify(schema).match(/"additionalProperties":false/g)?.length, mappings);
});
