import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { poll } from '../../src/measure/topology.ts';
import { CalicoWatcher, type CalicoWatcherOptions } from '../../src/watch/calico/calico.ts';
import { CiliumWatcher } from '../../src/watch/cilium/cilium.ts';
import type { WatchEnvironment } from '../../src/watch/environment.ts';
import type { KubernetesAccess } from '../../src/watch/kubernetes-api/access.ts';
import type { Watcher } from '../../src/watch/watcher.ts';
import { KubeApiServer, kubeApiServerMissing } from '../fixtures/kube-api-server.ts';
import type { KubeClient, KubeObject } from '../fixtures/kube-client.ts';
import { testEnvironment } from '../unit/watch/fake-connection.ts';
import { ToldWatcher } from '../unit/watch/told-watcher.ts';

/**
 * Calico's and Cilium's own resources in a real kube-apiserver. The CRDs have the groups, versions and names of theirs and no more of the
 * schema than this server asks for; the objects are as calico/node, kube-controllers and cilium-agent leave them, shortened in what nobody
 * reads here.
 */
function crd(group: string, version: string, plural: string, kind: string): KubeObject {
  const schema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: 'Cluster',
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` },
      versions: [{ name: version, served: true, storage: true, schema: { openAPIV3Schema: schema } }],
    },
  };
}

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const OLD = { group: 'crd.projectcalico.org', version: 'v1' };
const NEW = { group: 'projectcalico.org', version: 'v3' };
type Group = typeof OLD;

const pathOf = ({ group, version }: Group, plural: string) => `/apis/${group}/${version}/${plural}`;

/** Objects of a test, all of which go when it ends. */
class Objects {
  readonly #admin: KubeClient;
  readonly #made = new Map<string, string>();

  constructor(admin: KubeClient) {
    this.#admin = admin;
  }

  async put(collection: string, body: KubeObject): Promise<void> {
    const path = `${collection}/${body.metadata.name}`;
    if (this.#made.has(path)) {
      await this.#admin.patch(path, body);
      return;
    }
    await this.#admin.create(collection, body);
    this.#made.set(path, collection);
  }

  async delete(collection: string, name: string): Promise<void> {
    this.#made.delete(`${collection}/${name}`);
    await this.#admin.delete(`${collection}/${name}`);
  }

  async clear(): Promise<void> {
    for (const path of this.#made.keys()) await this.#admin.delete(path);
    this.#made.clear();
  }

  async node(name: string, address: string, labels: object = {}): Promise<void> {
    const annotations = {
      'projectcalico.org/IPv4Address': address,
      'projectcalico.org/IPv4IPIPTunnelAddr': '192.168.12.64',
    };
    const metadata = { name, labels, annotations };
    await this.put('/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata });
  }

  async pool(group: Group, name: string, cidr: string, disabled = false): Promise<void> {
    await this.put(pathOf(group, 'ippools'), {
      apiVersion: `${group.group}/${group.version}`,
      kind: 'IPPool',
      metadata: { name },
      spec: { cidr, disabled, ipipMode: 'Always', vxlanMode: 'Never', natOutgoing: true, blockSize: 26 },
    });
  }

  /** `deleted` is text in the older group and a truth value in the newer one. */
  async block(group: Group, node: string, cidr: string, state = 'confirmed', deleted = false): Promise<void> {
    await this.put(pathOf(group, 'blockaffinities'), {
      apiVersion: `${group.group}/${group.version}`,
      kind: 'BlockAffinity',
      metadata: { name: blockName(node, cidr) },
      spec: {
        ...{ cidr, node, state },
        ...(group === OLD ? { deleted: String(deleted) } : { deleted, type: 'host' }),
      },
    });
  }
}

function blockName(node: string, cidr: string): string {
  return `${node}-${cidr.replaceAll(/[./]/g, '-')}`;
}

const skip = kubeApiServerMissing() ?? false;
const POOL = 'IPPool/default-ipv4-ippool 192.168.0.0/16 west';
const A = 'BlockAffinity/node-a-192-168-12-64-26 192.168.12.64/26 west';
const B = 'BlockAffinity/node-b-192-168-40-0-26 192.168.40.0/26 west';

describe('Calico and Cilium in a real API server', { skip }, () => {
  let folder = '';
  let server: KubeApiServer;
  let objects: Objects;

  const define = async (...crds: KubeObject[]) => {
    for (const one of crds) await server.admin.createIfAbsent(CRDS, one);
    await poll('the CRDs', 20_000, async () => {
      const served = crds.map(({ spec }) => {
        const { group, names, versions } = spec as {
          group: string;
          names: { plural: string };
          versions: { name: string }[];
        };
        return server.admin.request('GET', `/apis/${group}/${versions[0]?.name}/${names.plural}`);
      });
      return (await Promise.all(served)).every(({ status }) => status === 200);
    });
  };
  const calicoCrds = ({ group, version }: Group) => [
    crd(group, version, 'ippools', 'IPPool'),
    crd(group, version, 'blockaffinities', 'BlockAffinity'),
  ];
  const access = (): KubernetesAccess => ({
    kind: 'kubeconfig-text',
    text: server.kubeconfig(),
    describe: 'a test',
  });
  const running = async (
    make: (environment: WatchEnvironment) => Watcher,
    body: (watcher: ToldWatcher) => Promise<void>,
  ) => {
    const environment = testEnvironment();
    const watcher = new ToldWatcher(make(environment));
    try {
      await body(watcher);
    } finally {
      await watcher.stop();
    }
    assert.deepEqual(environment.streams.list(), []);
  };
  const calico = (options: Partial<CalicoWatcherOptions>, body: (watcher: ToldWatcher) => Promise<void>) =>
    running(
      (environment) =>
        new CalicoWatcher({
          name: 'calico:west',
          cluster: 'west',
          ownCluster: 'east',
          datastore: { kind: 'kubernetes', api: access() },
          aggregate: 'pool',
          gateways: { kind: 'all' },
          environment,
          ...options,
        }),
      body,
    );

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'isthmus-calico-'));
    server = await KubeApiServer.start({ folder });
    await define(...calicoCrds(OLD), crd('cilium.io', 'v2', 'ciliumnodes', 'CiliumNode'));
    objects = new Objects(server.admin);
  });
  beforeEach(() => objects.clear());
  after(async () => {
    await server?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const twoNodes = async (group: Group = OLD) => {
    await objects.node('node-a', '10.0.0.1/24');
    await objects.node('node-b', '10.0.0.2/24', { role: 'edge' });
    await objects.pool(group, 'default-ipv4-ippool', '192.168.0.0/16');
    await objects.block(group, 'node-a', '192.168.12.64/26');
    await objects.block(group, 'node-b', '192.168.40.0/26');
  };

  test('blocks are behind their nodes while they come, move and go', async () => {
    await twoNodes();
    await calico({ aggregate: 'block' }, async (watcher) => {
      await watcher.claims(`${A} by 10.0.0.1`, `${B} by 10.0.0.2`);
      await objects.block(OLD, 'node-a', '192.168.13.0/26', 'pending');
      await objects.node('node-a', '10.0.0.7/24');
      await watcher.claims(`${A} by 10.0.0.7`, `${B} by 10.0.0.2`);
      await objects.block(OLD, 'node-a', '192.168.13.0/26');
      const added = 'BlockAffinity/node-a-192-168-13-0-26 192.168.13.0/26 west by 10.0.0.7';
      await watcher.claims(`${A} by 10.0.0.7`, `${B} by 10.0.0.2`, added);
      await objects.block(OLD, 'node-b', '192.168.40.0/26', 'pendingDeletion', true);
      await watcher.claims(`${A} by 10.0.0.7`, added);
      await objects.delete(pathOf(OLD, 'blockaffinities'), blockName('node-b', '192.168.40.0/26'));
      await objects.delete('/api/v1/nodes', 'node-a');
      await watcher.claims(`${A} by nobody`, added.replace('10.0.0.7', 'nobody'));
    });
  });

  test('pools are behind the gateways, until they are disabled and empty', async () => {
    await twoNodes();
    await calico({ gateways: { kind: 'labels', selector: 'role=edge' } }, async (watcher) => {
      await watcher.claims(`${POOL} by 10.0.0.2`);
      await objects.pool(OLD, 'mesh-north-pods', '10.64.0.0/16', true);
      await objects.pool(OLD, 'default-ipv4-ippool', '192.168.0.0/16', true);
      await objects.block(OLD, 'node-b', '192.168.40.0/26', 'pendingDeletion', true);
      await objects.node('node-a', '10.0.0.1/24', { role: 'edge' });
      await watcher.claims(`${POOL} by 10.0.0.1 10.0.0.2`);
      await objects.delete(pathOf(OLD, 'blockaffinities'), blockName('node-a', '192.168.12.64/26'));
      await watcher.claims();
    });
  });

  test('pools are local for our own cluster', async () => {
    await twoNodes();
    await calico({ cluster: 'local' }, (watcher) =>
      watcher.claims('IPPool/default-ipv4-ippool 192.168.0.0/16 east local pods'),
    );
  });

  test('an API server that was away for a while is caught up with', async () => {
    await twoNodes();
    await calico({ aggregate: 'block' }, async (watcher) => {
      await watcher.claims(`${A} by 10.0.0.1`, `${B} by 10.0.0.2`);
      await server.killApi();
      await watcher.isStale(/ECONNREFUSED|ECONNRESET|socket hang up|aborted/);
      assert.equal(watcher.told.length, 2);
      await server.startApi();
      await objects.node('node-b', '10.0.0.9/24');
      await watcher.claims(`${A} by 10.0.0.1`, `${B} by 10.0.0.9`);
      await watcher.isFresh();
    });
  });

  test('each node of Cilium is behind itself', async () => {
    const collection = '/apis/cilium.io/v2/ciliumnodes';
    const node = (name: string, address: string, ...podCIDRs: string[]) =>
      objects.put(collection, {
        apiVersion: 'cilium.io/v2',
        kind: 'CiliumNode',
        metadata: { name },
        spec: {
          addresses: [
            { ip: address, type: 'InternalIP' },
            { ip: podCIDRs[0]?.replace(/0\/24$/, '77'), type: 'CiliumInternalIP' },
          ],
          ipam: { podCIDRs },
        },
      });
    await node('worker-1', '10.0.0.1', '10.1.0.0/24');
    await node('worker-2', '10.0.0.2', '10.1.1.0/24', 'fd00:1::/112');
    const make = (environment: WatchEnvironment) =>
      new CiliumWatcher({
        name: 'cilium:west',
        cluster: 'west',
        ownCluster: 'east',
        api: access(),
        gateways: { kind: 'all' },
        environment,
      });
    await running(make, async (watcher) => {
      const second = 'CiliumNode/worker-2 10.1.1.0/24 west by';
      const six = 'CiliumNode/worker-2#1 fd00:1::/112 west by';
      await watcher.claims(
        'CiliumNode/worker-1 10.1.0.0/24 west by 10.0.0.1',
        `${second} 10.0.0.2`,
        `${six} 10.0.0.2`,
      );
      await node('worker-2', '10.0.0.8', '10.1.1.0/24', 'fd00:1::/112');
      await objects.delete(collection, 'worker-1');
      await watcher.claims(`${second} 10.0.0.8`, `${six} 10.0.0.8`);
    });
  });

  test('a Calico whose resources move to its newer API group is followed', async () => {
    await twoNodes();
    await calico({ aggregate: 'block' }, async (watcher) => {
      await watcher.claims(`${A} by 10.0.0.1`, `${B} by 10.0.0.2`);
      await define(...calicoCrds(NEW));
      await objects.block(NEW, 'node-a', '192.168.12.64/26');
      await objects.block(NEW, 'node-b', '192.168.40.0/26');
      for (const plural of ['ippools', 'blockaffinities'])
        await server.admin.delete(`${CRDS}/${plural}.${OLD.group}`);
      await objects.block(NEW, 'node-b', '192.168.41.0/26');
      const added = 'BlockAffinity/node-b-192-168-41-0-26 192.168.41.0/26 west by 10.0.0.2';
      await watcher.claims(`${A} by 10.0.0.1`, `${B} by 10.0.0.2`, added);
      await watcher.isFresh();
      await objects.block(NEW, 'node-b', '192.168.41.0/26', 'confirmed', true);
      await watcher.claims(`${A} by 10.0.0.1`, `${B} by 10.0.0.2`);
    });
  });
});
