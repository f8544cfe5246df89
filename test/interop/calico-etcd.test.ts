import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CalicoWatcher, type CalicoWatcherOptions } from '../../src/watch/calico/calico.ts';
import { EtcdServer, lacksEtcd } from '../fixtures/etcd-server.ts';
import { testEnvironment } from '../unit/watch/fake-connection.ts';
import { ToldWatcher } from '../unit/watch/told-watcher.ts';

/**
 * Calico with its etcd datastore: a real etcd 3.4, and in it the keys and values that Calico writes (libcalico-go/lib/backend/model; the
 * values as calicoctl and calico/node 3.29 leave them, shortened in what nobody reads here).
 */
const RESOURCES = '/calico/resources/v3/projectcalico.org';

class CalicoInEtcd {
  readonly #etcd: EtcdServer;

  constructor(etcd: EtcdServer) {
    this.#etcd = etcd;
  }

  async node(name: string, address: string, labels: Readonly<Record<string, string>> = {}): Promise<void> {
    const value = {
      kind: 'Node',
      apiVersion: 'projectcalico.org/v3',
      metadata: {
        name,
        uid: '0b9a4d6c-8a2f-4a94-9c8e-5f1d7f1f6f11',
        creationTimestamp: '2026-11-02T09:14:03Z',
        labels,
      },
      spec: {
        bgp: { ipv4Address: address, ipv4IPIPTunnelAddr: '192.168.12.64' },
        addresses: [
          { address, type: 'CalicoNodeIP' },
          { address: address.replace(/\/.*/, ''), type: 'InternalIP' },
        ],
      },
      status: {},
    };
    await this.#etcd.put(`${RESOURCES}/nodes/${name}`, JSON.stringify(value));
  }

  async removeNode(name: string): Promise<void> {
    await this.#etcd.remove(`${RESOURCES}/nodes/${name}`);
  }

  async pool(name: string, cidr: string, spec: object = {}): Promise<void> {
    const value = {
      kind: 'IPPool',
      apiVersion: 'projectcalico.org/v3',
      metadata: {
        name,
        uid: 'a7b0f5a4-7f3e-4a3b-8c51-8f0d2a2e9d10',
        creationTimestamp: '2026-11-02T09:14:01Z',
      },
      spec: {
        cidr,
        vxlanMode: 'Never',
        ipipMode: 'Always',
        natOutgoing: true,
        blockSize: 26,
        nodeSelector: 'all()',
        allowedUses: ['Workload', 'Tunnel'],
        ...spec,
      },
    };
    await this.#etcd.put(`${RESOURCES}/ippools/${name}`, JSON.stringify(value));
  }

  /** As IPAM claims a block: pending first, confirmed once the block itself is written. */
  async claim(node: string, block: string): Promise<void> {
    const key = blockKey(node, block);
    await this.#etcd.put(key, JSON.stringify({ state: 'pending', deleted: false }));
    const [address, length] = block.split('-');
    const cidr = `${address}/${length}`;
    const value = { cidr, affinity: `host:${node}`, strictAffinity: false, allocations: [], unallocated: [] };
    await this.#etcd.put(`/calico/ipam/v2/assignment/ipv4/block/${block}`, JSON.stringify(value));
    await this.#etcd.put(key, JSON.stringify({ state: 'confirmed', deleted: false }));
  }

  /** The first phase of a deletion, and the second. */
  async mark(node: string, block: string): Promise<void> {
    await this.#etcd.put(blockKey(node, block), JSON.stringify({ state: 'pendingDeletion', deleted: true }));
  }

  async release(node: string, block: string): Promise<void> {
    await this.#etcd.remove(blockKey(node, block));
  }
}

function blockKey(node: string, block: string): string {
  return `/calico/ipam/v2/host/${node}/ipv4/block/${block}`;
}

async function inEtcd(
  options: Partial<CalicoWatcherOptions>,
  prepare: (calico: CalicoInEtcd, etcd: EtcdServer) => Promise<void>,
  body: (watcher: ToldWatcher, calico: CalicoInEtcd, etcd: EtcdServer) => Promise<void>,
): Promise<void> {
  const etcd = await EtcdServer.start();
  const calico = new CalicoInEtcd(etcd);
  const environment = testEnvironment();
  let watcher: ToldWatcher | undefined;
  try {
    await prepare(calico, etcd);
    watcher = new ToldWatcher(
      new CalicoWatcher({
        name: 'calico:west',
        cluster: 'west',
        ownCluster: 'east',
        datastore: { kind: 'etcd', access: { endpoints: [etcd.endpoint] } },
        aggregate: 'block',
        gateways: { kind: 'all' },
        environment,
        ...options,
      }),
    );
    await body(watcher, calico, etcd);
  } finally {
    await watcher?.stop();
    await etcd.close();
  }
  assert.deepEqual(environment.streams.list(), []);
}

async function twoNodes(calico: CalicoInEtcd): Promise<void> {
  await calico.node('node-a', '10.0.0.1/24');
  await calico.node('node-b', '10.0.0.2/24', { role: 'edge' });
  await calico.pool('default-ipv4-ippool', '192.168.0.0/16');
  await calico.claim('node-a', '192.168.12.64-26');
  await calico.claim('node-b', '192.168.40.0-26');
}

const skip = lacksEtcd() ?? false;
const A = 'BlockAffinity/node-a-192-168-12-64-26 192.168.12.64/26 west';
const B = 'BlockAffinity/node-b-192-168-40-0-26 192.168.40.0/26 west';
const POOL = 'IPPool/default-ipv4-ippool 192.168.0.0/16 west';

test('blocks in etcd are behind their nodes while they come, move and go', { skip }, async () => {
  const prepare = async (calico: CalicoInEtcd, etcd: EtcdServer) => {
    await twoNodes(calico);
    // A block of load balancers, one of IPv6, and one that a Calico before 3.0.7 left.
    const confirmed = JSON.stringify({ state: 'confirmed', deleted: false });
    await etcd.put('/calico/ipam/v2/virtual/load-balancer/ipv4/block/203.0.113.0-26', confirmed);
    await etcd.put('/calico/ipam/v2/host/node-a/ipv6/block/fd00:10:244::-122', confirmed);
    await etcd.put(blockKey('node-b', '192.168.41.0-26'), '');
  };
  await inEtcd({}, prepare, async (watcher, calico) => {
    const six = 'BlockAffinity/node-a-fd00-10-244---122 fd00:10:244::/122 west by 10.0.0';
    const old = 'BlockAffinity/node-b-192-168-41-0-26 192.168.41.0/26 west';
    await watcher.claims(`${A} by 10.0.0.1`, `${six}.1`, `${B} by 10.0.0.2`, `${old} by 10.0.0.2`);
    await calico.claim('node-a', '192.168.13.0-26');
    const added = 'BlockAffinity/node-a-192-168-13-0-26 192.168.13.0/26 west by 10.0.0.1';
    await watcher.claims(`${A} by 10.0.0.1`, `${six}.1`, `${B} by 10.0.0.2`, `${old} by 10.0.0.2`, added);
    await calico.mark('node-b', '192.168.41.0-26');
    await watcher.claims(`${A} by 10.0.0.1`, `${six}.1`, `${B} by 10.0.0.2`, added);
    await calico.release('node-b', '192.168.41.0-26');
    await calico.node('node-a', '10.0.0.7/24');
    await watcher.claims(`${A} by 10.0.0.7`, `${six}.7`, `${B} by 10.0.0.2`, added.replace('0.0.1', '0.0.7'));
    await calico.removeNode('node-b');
    await watcher.claims(`${A} by 10.0.0.7`, `${six}.7`, `${B} by nobody`, added.replace('0.0.1', '0.0.7'));
  });
});

test('pools in etcd are behind the nodes that match, until they are disabled and empty', {
  skip,
}, async () => {
  const options = { aggregate: 'pool', gateways: { kind: 'labels', selector: 'role=edge' } } as const;
  await inEtcd(options, twoNodes, async (watcher, calico) => {
    await watcher.claims(`${POOL} by 10.0.0.2`);
    await calico.node('node-a', '10.0.0.1/24', { role: 'edge' });
    await watcher.claims(`${POOL} by 10.0.0.1 10.0.0.2`);
    const remote = { disabled: true, natOutgoing: false, ipipMode: 'Never' };
    await calico.pool('mesh-north-pods', '10.64.0.0/16', remote);
    await calico.pool('second', '172.16.0.0/16');
    await watcher.claims(
      `${POOL} by 10.0.0.1 10.0.0.2`,
      'IPPool/second 172.16.0.0/16 west by 10.0.0.1 10.0.0.2',
    );
    await calico.pool('second', '172.16.0.0/16', { disabled: true });
    await calico.pool('default-ipv4-ippool', '192.168.0.0/16', { disabled: true });
    await watcher.claims(`${POOL} by 10.0.0.1 10.0.0.2`);
    await calico.release('node-a', '192.168.12.64-26');
    await calico.mark('node-b', '192.168.40.0-26');
    await watcher.claims();
  });
});

test('what happened while etcd was away is told when it is back', { skip }, async () => {
  await inEtcd({}, twoNodes, async (watcher, calico, etcd) => {
    await watcher.claims(`${A} by 10.0.0.1`, `${B} by 10.0.0.2`);
    await etcd.stop();
    await watcher.isStale(/./);
    assert.equal(watcher.told.length, 2);
    await etcd.restart();
    await calico.release('node-b', '192.168.40.0-26');
    await calico.node('node-a', '10.0.0.7/24');
    await etcd.compact();
    await watcher.claims(`${A} by 10.0.0.7`);
    await watcher.isFresh();
  });
});

test('a key that makes no sense is named, and the others stand', { skip }, async () => {
  await inEtcd({}, twoNodes, async (watcher, calico, etcd) => {
    await watcher.claims(`${A} by 10.0.0.1`, `${B} by 10.0.0.2`);
    await etcd.put(`${RESOURCES}/nodes/node-a`, '{"spec":');
    await watcher.isStale(/nodes\/node-a: its value is .*, expected JSON/);
    await etcd.put(blockKey('node-a', '192.168.12.70-26'), '{"state":"confirmed","deleted":false}');
    await watcher.isStale(/192\.168\.12\.70-26: its last part is .*its host bits are set/);
    assert.deepEqual(watcher.told, [`${A} by 10.0.0.1`, `${B} by 10.0.0.2`]);
    await calico.node('node-a', '10.0.0.9/24');
    await calico.release('node-a', '192.168.12.70-26');
    await watcher.claims(`${A} by 10.0.0.9`, `${B} by 10.0.0.2`);
    await watcher.isFresh();
  });
});

test('pools in etcd are local for our own cluster', { skip }, async () => {
  const options = { cluster: 'local', aggregate: 'pool' } as const;
  await inEtcd(options, twoNodes, (watcher) =>
    watcher.claims('IPPool/default-ipv4-ippool 192.168.0.0/16 east local pods'),
  );
});
