import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GatewayError } from '../../../../src/base/errors.ts';
import { CiliumWatcher, type CiliumWatcherOptions } from '../../../../src/watch/cilium/cilium.ts';
import { FakeConnection, testEnvironment } from '../fake-connection.ts';
import { ToldWatcher } from '../told-watcher.ts';

const NODES = 'ciliumnodes.cilium.io';
const TUNNEL_GATEWAYS = 'tunnelgateways.isthmus.network';

function node(
  api: FakeConnection,
  name: string,
  address: string,
  cidrs: readonly string[],
  more: object = {},
): void {
  const addresses = [
    { type: 'CiliumInternalIP', ip: '10.1.0.77' },
    { type: 'InternalIP', ip: 'fd00::1' },
    { type: 'InternalIP', ip: address },
  ];
  api.put(NODES, name, { spec: { addresses, ipam: { podCIDRs: cidrs } }, ...more });
}

function cilium(): FakeConnection {
  const api = new FakeConnection().serve(NODES);
  node(api, 'a', '10.0.0.1', ['10.1.0.0/24']);
  node(api, 'b', '10.0.0.2', ['10.1.1.0/24'], { metadata: { labels: { role: 'edge' } } });
  return api;
}

interface Running {
  readonly watcher: ToldWatcher;
  readonly shows: (...lines: string[]) => Promise<void>;
  readonly problems: () => readonly string[] | undefined;
}

async function running(
  api: FakeConnection,
  options: Partial<CiliumWatcherOptions>,
  body: (running: Running) => Promise<void>,
): Promise<void> {
  const environment = testEnvironment();
  const watcher = new ToldWatcher(
    new CiliumWatcher({
      name: 'cilium:west',
      cluster: 'west',
      ownCluster: 'east',
      api: { kind: 'in-cluster' },
      gateways: { kind: 'all' },
      environment,
      connect: api.connect,
      ...options,
    }),
  );
  try {
    const problems = () => environment.notes.get('west')?.problems;
    await body({ watcher, problems, shows: (...lines) => watcher.claims(...lines) });
  } finally {
    await watcher.stop();
  }
  assert.deepEqual([api.readers, api.closed], [[], 1]);
}

const A = 'CiliumNode/a 10.1.0.0/24 west';
const B = 'CiliumNode/b 10.1.1.0/24 west';

test('the CIDRs of each node are behind it, and follow it', async () => {
  const api = cilium();
  await running(api, {}, async ({ shows }) => {
    await shows(`${A} by 10.0.0.1`, `${B} by 10.0.0.2`);
    node(api, 'a', '10.0.0.9', ['10.1.0.0/24', 'fd00:1::/112']);
    await shows(`${A} by 10.0.0.9`, 'CiliumNode/a#1 fd00:1::/112 west by 10.0.0.9', `${B} by 10.0.0.2`);
    api.delete(NODES, 'b');
    await shows(`${A} by 10.0.0.9`, 'CiliumNode/a#1 fd00:1::/112 west by 10.0.0.9');
    api.relist(NODES, (objects) => objects.clear());
    await shows();
  });
});

test('the CIDRs that the multi-pool IPAM gives a node are named by themselves', async () => {
  const api = new FakeConnection().serve(NODES);
  const allocated = [
    { pool: 'default', cidrs: ['10.1.0.0/27', 'fd00:1::/122'] },
    { pool: 'blue', cidrs: ['10.9.0.0/27'] },
  ];
  const addresses = [{ type: 'InternalIP', ip: '10.0.0.1' }];
  api.put(NODES, 'a', { spec: { addresses, ipam: { pools: { allocated } } } });
  await running(api, {}, async ({ shows }) => {
    await shows(
      'CiliumNode/a:10.1.0.0/27 10.1.0.0/27 west by 10.0.0.1',
      'CiliumNode/a:10.9.0.0/27 10.9.0.0/27 west by 10.0.0.1',
      'CiliumNode/a:fd00:1::/122 fd00:1::/122 west by 10.0.0.1',
    );
  });
});

test('all CIDRs are behind the nodes that match, where gateways are chosen by labels', async () => {
  const api = cilium();
  await running(api, { gateways: { kind: 'labels', selector: 'role=edge' } }, async ({ shows, problems }) => {
    await shows(`${A} by 10.0.0.2`, `${B} by 10.0.0.2`);
    assert.deepEqual(problems(), []);
    node(api, 'b', '10.0.0.2', ['10.1.1.0/24']);
    await shows(`${A} by nobody`, `${B} by nobody`);
    assert.deepEqual(problems(), ['no gateway: no node of west matches role=edge']);
  });
});

test('TunnelGateway objects choose the gateways of everything', async () => {
  const api = cilium().serve(TUNNEL_GATEWAYS);
  api.put(TUNNEL_GATEWAYS, 'one', { spec: { nodeName: 'a', weight: 2 } });
  await running(api, { gateways: { kind: 'objects' } }, async ({ shows }) => {
    await shows(`${A} by 10.0.0.1*2`, `${B} by 10.0.0.1*2`);
    api.put(TUNNEL_GATEWAYS, 'two', { spec: { address: '172.31.0.9' } });
    await shows(`${A} by 10.0.0.1*2 172.31.0.9`, `${B} by 10.0.0.1*2 172.31.0.9`);
  });
});

test('CIDRs of our own cluster are local', async () => {
  await running(cilium(), { cluster: 'local' }, async ({ shows, problems }) => {
    await shows('CiliumNode/a 10.1.0.0/24 east local pods', 'CiliumNode/b 10.1.1.0/24 east local pods');
    assert.equal(problems(), undefined);
  });
});

test('a node that turns bad keeps its claims and is named', async () => {
  const api = cilium();
  await running(api, {}, async ({ watcher, shows }) => {
    await shows(`${A} by 10.0.0.1`, `${B} by 10.0.0.2`);
    node(api, 'a', '10.0.0.1', ['10.1.0.0']);
    await watcher.isStale(/^CiliumNode\/a: spec\.ipam\.podCIDRs\[0\] is "10\.1\.0\.0", expected/);
    node(api, 'a', '10.0.0', ['10.1.0.0/24']);
    await watcher.isStale(/^CiliumNode\/a: spec\.addresses\[2\]\.ip is "10\.0\.0", expected/);
    assert.deepEqual(watcher.told, [`${A} by 10.0.0.1`, `${B} by 10.0.0.2`]);
    node(api, 'a', '10.0.0.3', ['10.1.0.0/24']);
    await shows(`${A} by 10.0.0.3`, `${B} by 10.0.0.2`);
    await watcher.isFresh();
  });
});

test('a server without Cilium is no empty Cilium', async () => {
  await running(new FakeConnection(), {}, async ({ watcher }) =>
    watcher.isStale(/no ciliumnodes\.cilium\.io/),
  );
});

test('a selector that cannot be understood is refused before anything is read', () => {
  const options: CiliumWatcherOptions = {
    name: 'cilium:west',
    cluster: 'west',
    ownCluster: 'east',
    api: { kind: 'in-cluster' },
    gateways: { kind: 'labels', selector: '=x' },
    environment: testEnvironment(),
  };
  assert.throws(
    () => new CiliumWatcher(options),
    (thrown: unknown) =>
      thrown instanceof GatewayError && /^cilium:west: gateways is "=x"/.test(thrown.message),
  );
});
