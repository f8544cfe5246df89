import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GatewayError } from '../../../../src/base/errors.ts';
import { CalicoWatcher, type CalicoWatcherOptions } from '../../../../src/watch/calico/calico.ts';
import type { WatchEnvironment } from '../../../../src/watch/environment.ts';
import { FakeConnection, testEnvironment } from '../fake-connection.ts';
import { ToldWatcher } from '../told-watcher.ts';

const POOLS = 'ippools.crd.projectcalico.org';
const BLOCKS = 'blockaffinities.crd.projectcalico.org';
const NODES = 'nodes';
const TUNNEL_GATEWAYS = 'tunnelgateways.isthmus.network';

function calico(): FakeConnection {
  const api = new FakeConnection().serve(POOLS, BLOCKS, NODES);
  api.put(POOLS, 'default', { spec: { cidr: '192.168.0.0/16' } });
  node(api, 'a', '10.0.0.1/24');
  node(api, 'b', '10.0.0.2/24');
  block(api, 'a', 0);
  block(api, 'b', 64);
  return api;
}

function node(api: FakeConnection, name: string, address: string, labels: object = {}): void {
  api.put(NODES, name, { metadata: { labels, annotations: { 'projectcalico.org/IPv4Address': address } } });
}

function block(api: FakeConnection, holder: string, last: number, changes: object = {}): void {
  const spec = {
    cidr: `192.168.1.${last}/26`,
    node: holder,
    state: 'confirmed',
    deleted: 'false',
    ...changes,
  };
  api.put(BLOCKS, `${holder}-192-168-1-${last}-26`, { spec });
}

interface Running {
  readonly watcher: ToldWatcher;
  readonly shows: (...lines: string[]) => Promise<void>;
  readonly environment: WatchEnvironment;
}

async function running(
  api: FakeConnection,
  options: Partial<CalicoWatcherOptions>,
  body: (running: Running) => Promise<void>,
): Promise<void> {
  const environment = testEnvironment();
  const watcher = new ToldWatcher(
    new CalicoWatcher({
      name: 'calico:west',
      cluster: 'west',
      ownCluster: 'east',
      datastore: { kind: 'kubernetes', api: { kind: 'in-cluster' } },
      aggregate: 'pool',
      gateways: { kind: 'all' },
      environment,
      connect: api.connect,
      ...options,
    }),
  );
  try {
    await body({ watcher, environment, shows: (...lines) => watcher.claims(...lines) });
  } finally {
    await watcher.stop();
  }
  assert.deepEqual([api.readers, api.closed], [[], 1]);
  assert.equal(environment.notes.get('west'), undefined);
}

const DEFAULT = 'IPPool/default 192.168.0.0/16 west';
const A = 'BlockAffinity/a-192-168-1-0-26 192.168.1.0/26 west';
const B = 'BlockAffinity/b-192-168-1-64-26 192.168.1.64/26 west';

test('pools are behind the nodes, and follow them', async () => {
  const api = calico();
  await running(api, {}, async ({ shows }) => {
    await shows(`${DEFAULT} by 10.0.0.1 10.0.0.2`);
    node(api, 'c', '10.0.0.3/24');
    await shows(`${DEFAULT} by 10.0.0.1 10.0.0.2 10.0.0.3`);
    api.delete(NODES, 'a');
    node(api, 'b', '10.0.0.9/24');
    await shows(`${DEFAULT} by 10.0.0.3 10.0.0.9`);
    api.put(POOLS, 'second', { spec: { cidr: '172.16.0.0/16', allowedUses: ['Tunnel'] } });
    api.put(POOLS, 'lb', { spec: { cidr: '203.0.113.0/24', allowedUses: ['LoadBalancer'] } });
    await shows(`${DEFAULT} by 10.0.0.3 10.0.0.9`, 'IPPool/second 172.16.0.0/16 west by 10.0.0.3 10.0.0.9');
    api.delete(POOLS, 'default');
    await shows('IPPool/second 172.16.0.0/16 west by 10.0.0.3 10.0.0.9');
  });
});

test('a pool that is disabled counts as long as nodes hold blocks of it', async () => {
  const api = calico();
  await running(api, {}, async ({ shows }) => {
    const remote = { spec: { cidr: '10.64.0.0/16', disabled: true, natOutgoing: false } };
    api.put(POOLS, 'mesh-north-pods', remote);
    api.put(POOLS, 'default', { spec: { cidr: '192.168.0.0/16', disabled: true } });
    block(api, 'a', 0, { deleted: 'true' });
    await shows(`${DEFAULT} by 10.0.0.1 10.0.0.2`);
    api.delete(BLOCKS, 'b-192-168-1-64-26');
    await shows();
    block(api, 'b', 128);
    await shows(`${DEFAULT} by 10.0.0.1 10.0.0.2`);
  });
});

test('blocks are behind the node that holds them, as long as it does', async () => {
  const api = calico();
  await running(api, { aggregate: 'block' }, async ({ shows, environment }) => {
    await shows(`${A} by 10.0.0.1`, `${B} by 10.0.0.2`);
    assert.equal(environment.notes.get('west')?.server, api.server);
    node(api, 'a', '10.0.0.7/24');
    await shows(`${A} by 10.0.0.7`, `${B} by 10.0.0.2`);
    block(api, 'b', 64, { state: 'pendingDeletion' });
    await shows(`${A} by 10.0.0.7`);
    block(api, 'b', 128, { state: 'pending' });
    block(api, 'b', 192);
    await shows(`${A} by 10.0.0.7`, 'BlockAffinity/b-192-168-1-192-26 192.168.1.192/26 west by 10.0.0.2');
    api.delete(NODES, 'b');
    await shows(`${A} by 10.0.0.7`, 'BlockAffinity/b-192-168-1-192-26 192.168.1.192/26 west by nobody');
  });
});

test('blocks are all behind the nodes that match, where gateways are chosen by labels', async () => {
  const api = calico();
  const options = { aggregate: 'block', gateways: { kind: 'labels', selector: 'role=edge' } } as const;
  await running(api, options, async ({ shows, environment }) => {
    await shows(`${A} by nobody`, `${B} by nobody`);
    assert.deepEqual(environment.notes.get('west')?.problems, [
      'no gateway: no node of west matches role=edge',
    ]);
    node(api, 'b', '10.0.0.2/24', { role: 'edge' });
    await shows(`${A} by 10.0.0.2`, `${B} by 10.0.0.2`);
    assert.deepEqual(environment.notes.get('west')?.problems, []);
  });
});

test('TunnelGateway objects choose the gateways of everything', async () => {
  const api = calico().serve(TUNNEL_GATEWAYS);
  await running(api, { gateways: { kind: 'objects' } }, async ({ shows }) => {
    await shows(`${DEFAULT} by nobody`);
    api.put(TUNNEL_GATEWAYS, 'one', { spec: { nodeName: 'a', weight: 3, clusters: ['east'] } });
    api.put(TUNNEL_GATEWAYS, 'two', { spec: { address: '172.31.0.9' } });
    api.put(TUNNEL_GATEWAYS, 'three', { spec: { nodeName: 'b', clusters: ['north'] } });
    await shows(`${DEFAULT} by 10.0.0.1*3 172.31.0.9`);
  });
});

test('pools of our own cluster are local, and no node is asked for', async () => {
  const api = calico();
  await running(api, { cluster: 'local' }, async ({ shows }) => {
    await shows('IPPool/default 192.168.0.0/16 east local pods');
    assert.deepEqual(api.readers, [BLOCKS, POOLS]);
  });
});

test('an object that turns bad keeps its claims, is named, and is well again once mended', async () => {
  const api = calico();
  await running(api, { aggregate: 'block' }, async ({ watcher, shows }) => {
    await shows(`${A} by 10.0.0.1`, `${B} by 10.0.0.2`);
    block(api, 'a', 0, { cidr: '192.168.1.0' });
    await watcher.isStale(/^BlockAffinity\/a-192-168-1-0-26: spec\.cidr is "192\.168\.1\.0", expected/);
    node(api, 'b', 'somewhere');
    await watcher.isStale(/Node\/b: metadata\.annotations/);
    assert.deepEqual(watcher.told, [`${A} by 10.0.0.1`, `${B} by 10.0.0.2`]);
    block(api, 'a', 0);
    node(api, 'b', '10.0.0.3/24');
    await watcher.isFresh();
    await shows(`${A} by 10.0.0.1`, `${B} by 10.0.0.3`);
  });
});

test('a server that is away withdraws nothing; what it changed meanwhile is told when it is back', async () => {
  const api = calico();
  await running(api, { aggregate: 'block' }, async ({ watcher, shows }) => {
    await shows(`${A} by 10.0.0.1`, `${B} by 10.0.0.2`);
    api.fail('ECONNREFUSED', BLOCKS, NODES);
    await watcher.isStale(/ECONNREFUSED/);
    assert.equal(watcher.told.length, 2);
    api.relist(NODES);
    api.relist(BLOCKS, (objects) => objects.delete('b-192-168-1-64-26'));
    await shows(`${A} by 10.0.0.1`);
    await watcher.isFresh();
  });
});

test('a server without Calico is no empty Calico', async () => {
  const api = new FakeConnection().serve(NODES);
  await running(api, {}, async ({ watcher }) => {
    await watcher.isStale(
      /no ippools\.crd\.projectcalico\.org \(404\); no ippools\.projectcalico\.org \(404\)/,
    );
    assert.deepEqual(watcher.told, []);
  });
});

test("Calico's newest API group is read where the older one is not there", async () => {
  const api = new FakeConnection().serve(
    'ippools.projectcalico.org',
    'blockaffinities.projectcalico.org',
    NODES,
  );
  api.put('ippools.projectcalico.org', 'default', { spec: { cidr: '192.168.0.0/16' } });
  node(api, 'a', '10.0.0.1/24');
  await running(api, {}, async ({ shows }) => shows(`${DEFAULT} by 10.0.0.1`));
});

test('what cannot be found in a datastore is refused before anything is read', () => {
  const options = (changes: Partial<CalicoWatcherOptions>): CalicoWatcherOptions => ({
    name: 'calico:west',
    cluster: 'west',
    ownCluster: 'east',
    datastore: { kind: 'etcd', access: { endpoints: ['http://127.0.0.1:2379'] } },
    aggregate: 'pool',
    gateways: { kind: 'all' },
    environment: testEnvironment(),
    ...changes,
  });
  const refusal = (changes: Partial<CalicoWatcherOptions>, message: RegExp) =>
    assert.throws(
      () => new CalicoWatcher(options(changes)),
      (thrown: unknown) =>
        thrown instanceof GatewayError &&
        thrown.code === 'ISTHMUS_ERR_CONFIG' &&
        message.test(thrown.message),
    );
  refusal({ gateways: { kind: 'objects' } }, /^calico:west: .*etcd has no TunnelGateway objects/);
  refusal({ gateways: { kind: 'labels', selector: 'a in (b)' } }, /sets .* are not understood/);
  assert.equal(new CalicoWatcher(options({})).name, 'calico:west');
});
