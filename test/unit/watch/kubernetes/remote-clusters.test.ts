import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatAddress, formatCidr } from '../../../../src/base/address.ts';
import { systemClock } from '../../../../src/base/clock.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import type { SourceState } from '../../../../src/table/route.ts';
import { Table } from '../../../../src/table/table.ts';
import { KubernetesWatcher } from '../../../../src/watch/kubernetes/kubernetes.ts';
import { SourceRunner } from '../../../../src/watch/source-runner.ts';
import { testEnvironment } from '../fake-connection.ts';
import { FakeApiServer } from '../kubernetes-api/fake-api-server.ts';
import { until } from '../running-watcher.ts';

const NODES = '/api/v1/nodes';
const SECRETS = '/api/v1/secrets';
const SERVICES = '/apis/networking.k8s.io/v1/servicecidrs';
const REMOTE_CLUSTERS = '/apis/isthmus.network/v1alpha1/remoteclusters';
const POOLS = '/apis/crd.projectcalico.org/v1/ippools';
const BLOCKS = '/apis/crd.projectcalico.org/v1/blockaffinities';
const CILIUM_NODES = '/apis/cilium.io/v2/ciliumnodes';
const OPTIONS = { priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 0 };
const PARENT = 'kubernetes:local';

/** Our API server and the one of the cluster west, and all of a gateway that reads them but for packets. */
class Rig {
  readonly own: FakeApiServer;
  readonly west: FakeApiServer;
  readonly table = new Table();
  readonly environment = testEnvironment();
  readonly #runner = new SourceRunner(this.table, systemClock, silentLogger, () => {});

  constructor(own: FakeApiServer, west: FakeApiServer) {
    this.own = own;
    this.west = west;
  }

  start(): this {
    const children = this.#runner.children(PARENT);
    const watcher = new KubernetesWatcher({
      name: PARENT,
      cluster: 'local',
      ownCluster: 'east',
      api: this.own.access(),
      gateways: { kind: 'all' },
      serviceCidrs: 'auto',
      addressType: 'InternalIP',
      remoteClusters: true,
      children,
      environment: this.environment,
    });
    void this.#runner.add(watcher, OPTIONS);
    return this;
  }

  source(name = `${PARENT}/west`): SourceState | undefined {
    return this.table.sources().find((source) => source.name === name);
  }

  get routes(): string[] {
    return Array.from(this.table.routes(), ({ cidr, cluster, gateways }) => {
      const by = gateways.map(
        ({ address, weight }) => `${formatAddress(address)}${weight === 1 ? '' : `*${weight}`}`,
      );
      return `${formatCidr(cidr)} ${cluster} by ${by.sort().join(' ')}`;
    }).sort();
  }

  async shows(...routes: string[]): Promise<void> {
    const wanted = routes.sort().join('\n');
    await until(
      () => this.routes.join('\n') === wanted,
      () => [this.routes, this.table.sources(), this.table.refused()],
    );
  }

  async sourceIs(state: SourceState['state'], reason = /^/): Promise<void> {
    await until(
      () => this.source()?.state === state && reason.test(this.source()?.reason ?? ''),
      () => this.table.sources(),
    );
  }

  async hasProblems(...problems: RegExp[]): Promise<void> {
    const note = () => this.environment.notes.get('west');
    await until(
      () => {
        const told = note()?.problems;
        return (
          told?.length === problems.length && problems.every((problem, i) => problem.test(told[i] ?? ''))
        );
      },
      () => note(),
    );
  }

  secret(data: Readonly<Record<string, string>>, name = 'west-access'): void {
    const encoded = Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')]);
    this.own.put(SECRETS, {
      metadata: { namespace: 'isthmus-system', name },
      data: Object.fromEntries(encoded),
    });
  }

  remote(spec: object, name = 'west'): void {
    this.own.put(REMOTE_CLUSTERS, { metadata: { name }, spec });
  }

  async stop(): Promise<void> {
    await this.#runner.stop();
    await this.own.stop();
    await this.west.stop();
    assert.deepEqual(this.environment.streams.list(), []);
  }
}

const ACCESS = { secretRef: { namespace: 'isthmus-system', name: 'west-access' } };

function node(name: string, podCidr: string, address: string) {
  return {
    metadata: { name },
    spec: { podCIDRs: [podCidr] },
    status: { addresses: [{ type: 'InternalIP', address }] },
  };
}

async function rig(): Promise<Rig> {
  const own = await FakeApiServer.start({ serves: [NODES, SERVICES, SECRETS, REMOTE_CLUSTERS] });
  const west = await FakeApiServer.start({ serves: [NODES, SERVICES] });
  west.put(NODES, node('a', '10.2.1.0/24', '172.31.0.11'));
  west.put(SERVICES, { metadata: { name: 'kubernetes' }, spec: { cidrs: ['10.112.0.0/16'] } });
  return new Rig(own, west);
}

const PODS = '10.2.1.0/24 west by 172.31.0.11';
const WEST = [PODS, '10.112.0.0/16 west by 172.31.0.11'];

describe('a RemoteCluster with an access', () => {
  it('is read through the kubeconfig in its Secret, in a source of its own, until it is deleted', async () => {
    const test = await rig();
    test.secret({ kubeconfig: test.west.kubeconfig() });
    test.remote({ access: ACCESS, dns: { address: '10.112.0.10', domain: 'west.local' } });
    test.start();
    await test.shows(...WEST);
    assert.deepEqual(test.environment.notes.get('west'), {
      origin: 'RemoteCluster/west',
      dns: { address: '10.112.0.10', domain: 'west.local' },
      server: test.west.url,
      problems: [],
    });
    const secrets = test.environment.streams.list().filter(({ resource }) => resource.startsWith('secrets'));
    assert.deepEqual(
      secrets.map(({ resource }) => resource),
      ['secrets/isthmus-system/west-access'],
    );
    test.west.put(NODES, node('b', '10.2.2.0/24', '172.31.0.12'));
    await test.shows(
      PODS,
      '10.2.2.0/24 west by 172.31.0.12',
      '10.112.0.0/16 west by 172.31.0.11 172.31.0.12',
    );
    test.own.remove(REMOTE_CLUSTERS, 'west');
    await test.shows();
    assert.deepEqual(
      test.table.sources().map(({ name }) => name),
      [PARENT],
    );
    assert.equal(test.environment.notes.get('west'), undefined);
    await until(
      () => test.west.watching === 0,
      () => test.west.watching,
    );
    await test.stop();
  });

  it('goes on with a rotated Secret, and no route is touched', async () => {
    const test = await rig();
    test.west.tokens = new Set(['first']);
    test.secret({ kubeconfig: test.west.kubeconfig({ token: 'first' }) });
    test.remote({ access: ACCESS });
    test.start();
    await test.shows(...WEST);
    test.table.takeChanges();
    test.west.tokens = new Set(['first', 'second']);
    const before = test.west.requests.length;
    test.secret({ kubeconfig: test.west.kubeconfig({ token: 'second' }) });
    const withSecond = () =>
      test.west.requests.slice(before).filter(({ headers }) => headers.authorization === 'Bearer second')
        .length;
    await until(
      () => withSecond() > 0 && test.source()?.state === 'fresh',
      () => [withSecond(), test.source()],
    );
    const changes = test.table.takeChanges();
    assert.deepEqual([changes.set, changes.removed], [[], []]);
    await test.stop();
  });

  it('keeps its routes while its Secret is gone or makes no sense, and says so', async () => {
    const test = await rig();
    test.secret({ kubeconfig: test.west.kubeconfig() });
    test.remote({ access: ACCESS });
    test.start();
    await test.shows(...WEST);
    test.own.remove(SECRETS, 'isthmus-system/west-access');
    const missing = /^Secret isthmus-system\/west-access: there is none, and RemoteCluster\/west names it$/;
    await test.sourceIs('stale', missing);
    await test.hasProblems(missing);
    await test.shows(...WEST);
    test.secret({ kubeconfig: '' });
    await test.sourceIs('stale', /^Secret isthmus-system\/west-access: data\.kubeconfig is missing/);
    test.secret({ kubeconfig: 'users: []' });
    await test.sourceIs('stale', /current-context/);
    await test.shows(...WEST);
    test.secret({ kubeconfig: test.west.kubeconfig() });
    await test.sourceIs('fresh');
    await test.hasProblems();
    await test.shows(...WEST);
    await test.stop();
  });

  it('may name its gateways and CIDRs besides those that its server tells', async () => {
    const test = await rig();
    test.secret({ kubeconfig: test.west.kubeconfig() });
    test.remote({ access: ACCESS, cidrs: ['10.9.0.0/16'] });
    test.start();
    await test.shows(...WEST, '10.9.0.0/16 west by 172.31.0.11');
    test.west.put(NODES, node('b', '10.2.2.0/24', '172.31.0.12'));
    const both = '172.31.0.11 172.31.0.12';
    await test.shows(
      PODS,
      '10.2.2.0/24 west by 172.31.0.12',
      `10.112.0.0/16 west by ${both}`,
      `10.9.0.0/16 west by ${both}`,
    );
    test.remote({ access: ACCESS, gateways: [{ address: '172.31.0.99', weight: 3 }] });
    const by = 'west by 172.31.0.99*3';
    await test.shows(`10.2.1.0/24 ${by}`, `10.2.2.0/24 ${by}`, `10.112.0.0/16 ${by}`);
    await test.stop();
  });

  it('has the pods that Calico or Cilium tells, if it says so, and its services in a source of their own', async () => {
    const test = await rig();
    test.west.put(POOLS, { metadata: { name: 'pods' }, spec: { cidr: '192.168.0.0/16' } });
    for (const path of [POOLS, BLOCKS]) test.west.store.serve(path);
    test.west.put(CILIUM_NODES, {
      metadata: { name: 'a' },
      spec: { addresses: [{ type: 'InternalIP', ip: '172.31.0.11' }], ipam: { podCIDRs: ['10.4.0.0/24'] } },
    });
    test.secret({ datastoreType: 'kubernetes', kubeconfig: test.west.kubeconfig() });
    test.remote({ access: { ...ACCESS, source: 'Calico' } });
    test.start();
    const services = '10.112.0.0/16 west by 172.31.0.11';
    await test.shows('192.168.0.0/16 west by 172.31.0.11', services);
    const names = () => test.table.sources().map(({ name }) => name);
    assert.deepEqual(names(), [PARENT, `${PARENT}/west`, `${PARENT}/west/services`]);
    test.remote({ access: { ...ACCESS, source: 'Cilium' } });
    await test.shows('10.4.0.0/24 west by 172.31.0.11', services);
    test.own.remove(SECRETS, 'isthmus-system/west-access');
    await test.sourceIs('stale', /there is none/);
    assert.match(test.source(`${PARENT}/west/services`)?.reason ?? '', /there is none/);
    // With an etcd of Calico's own there is nothing to read services from.
    test.secret({ datastoreType: 'etcdv3', etcdEndpoints: 'http://127.0.0.1:1' });
    await until(
      () => names().length === 2,
      () => names(),
    );
    test.secret({ kubeconfig: test.west.kubeconfig() });
    await test.shows('10.4.0.0/24 west by 172.31.0.11', services);
    test.remote({ access: ACCESS });
    await test.shows(...WEST);
    assert.deepEqual(names(), [PARENT, `${PARENT}/west`]);
    await test.stop();
  });

  it('that asks for what cannot be is kept as it was, with the reason', async () => {
    const test = await rig();
    test.secret({ kubeconfig: test.west.kubeconfig() });
    test.remote({ access: ACCESS });
    test.start();
    await test.shows(...WEST);
    test.remote({ access: { secretRef: {} } });
    await test.hasProblems(/^RemoteCluster\/west: spec\.access\.secretRef\.namespace is missing/);
    await until(
      () => /RemoteCluster\/west/.test(test.source(PARENT)?.reason ?? ''),
      () => test.table.sources(),
    );
    await test.shows(...WEST);
    test.secret({ datastoreType: 'etcdv3', etcdEndpoints: 'http://127.0.0.1:1' });
    test.remote({ access: ACCESS, gatewaySelection: { mode: 'Objects' } });
    await test.hasProblems(/^RemoteCluster\/west: .*gateways is objects/);
    await test.sourceIs('stale', /gateways is objects/);
    await test.shows(...WEST);
    await test.stop();
  });

  it('goes on while our own API server is away', async () => {
    const test = await rig();
    test.secret({ kubeconfig: test.west.kubeconfig() });
    test.remote({ access: ACCESS });
    test.start();
    await test.shows(...WEST);
    await test.own.stop();
    await until(
      () => test.source(PARENT)?.state === 'stale',
      () => test.table.sources(),
    );
    test.west.put(NODES, node('a', '10.2.1.0/24', '172.31.0.21'));
    await test.shows('10.2.1.0/24 west by 172.31.0.21', '10.112.0.0/16 west by 172.31.0.21');
    await test.sourceIs('fresh');
    await test.own.listen();
    await test.stop();
  });
});

describe('a RemoteCluster without an access', () => {
  it('is routed as it says, and becomes a source when it gets one', async () => {
    const test = await rig();
    test.secret({ kubeconfig: test.west.kubeconfig() });
    const spec = { cidrs: ['10.2.0.0/16'], gateways: [{ address: '172.31.0.2' }] };
    test.remote(spec);
    test.start();
    await test.shows('10.2.0.0/16 west by 172.31.0.2');
    assert.deepEqual(test.environment.notes.get('west'), {
      origin: 'RemoteCluster/west',
      dns: null,
      server: null,
      problems: [],
    });
    test.remote({ access: ACCESS });
    await test.shows(...WEST);
    test.remote(spec);
    await test.shows('10.2.0.0/16 west by 172.31.0.2');
    assert.equal(test.source(), undefined);
    await test.stop();
  });
});
