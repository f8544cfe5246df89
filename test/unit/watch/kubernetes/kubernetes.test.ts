import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Cidr } from '../../../../src/base/address.ts';
import { parseCidr } from '../../../../src/base/address.ts';
import type { WatchEnvironment } from '../../../../src/watch/environment.ts';
import type { GatewaySelection } from '../../../../src/watch/gateway-selection.ts';
import { KubernetesWatcher } from '../../../../src/watch/kubernetes/kubernetes.ts';
import { StepClock } from '../../host/step-clock.ts';
import { FakeConnection, testEnvironment } from '../fake-connection.ts';
import { until } from '../running-watcher.ts';
import { ToldClaims } from '../told-claims.ts';

const SERVICES = 'servicecidrs.networking.k8s.io';
const REMOTE_CLUSTERS = 'remoteclusters.isthmus.network';
const TUNNEL_GATEWAYS = 'tunnelgateways.isthmus.network';

interface RigOptions {
  readonly cluster?: string;
  readonly gateways?: GatewaySelection;
  readonly serviceCidrs?: 'auto' | readonly Cidr[];
  readonly environment?: WatchEnvironment;
  readonly remoteClusters?: boolean;
}

/** A KubernetesWatcher over an API server without a network, and somebody who hears it. */
class Rig {
  readonly server = new FakeConnection();
  readonly told = new ToldClaims();
  readonly words: string[] = [];
  readonly environment: WatchEnvironment;
  stale: string | undefined;
  readonly #abort = new AbortController();
  readonly #watcher: KubernetesWatcher;
  #done: Promise<void> = Promise.resolve();

  constructor(options: RigOptions = {}) {
    const {
      cluster = 'west',
      gateways = { kind: 'all' },
      serviceCidrs = 'auto',
      environment = testEnvironment(),
      remoteClusters = false,
    } = options;
    this.environment = environment;
    this.#watcher = new KubernetesWatcher({
      name: `kubernetes:${cluster}`,
      cluster,
      ownCluster: 'east',
      api: { kind: 'in-cluster' },
      gateways,
      serviceCidrs,
      addressType: 'InternalIP',
      remoteClusters,
      children: { set() {}, retain() {} },
      environment,
      connect: this.server.connect,
    });
  }

  start(): this {
    this.#done = this.#run();
    return this;
  }

  async shows(...lines: string[]): Promise<void> {
    const wanted = lines.sort().join('\n');
    await until(
      () => this.told.lines.join('\n') === wanted && this.words.length > 0,
      () => [this.told.lines, this.words, this.stale],
    );
  }

  async isStale(reason: RegExp | undefined): Promise<void> {
    await until(
      () => (reason === undefined ? this.stale === undefined : reason.test(this.stale ?? '')),
      () => [this.stale, this.words],
    );
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#done;
    assert.equal(this.server.closed, 1);
    assert.deepEqual(this.server.readers, []);
  }

  async #run(): Promise<void> {
    for await (const word of this.#watcher.watch(this.#abort.signal)) {
      this.told.apply(word);
      this.words.push(word.kind);
      this.stale = word.kind === 'stale' ? word.reason : word.kind === 'fresh' ? undefined : word.stale;
    }
  }
}

function node(podCidr: string, address: string, labels: Record<string, string> = {}, ready = true) {
  return {
    metadata: { labels },
    spec: { podCIDR: podCidr, podCIDRs: [podCidr] },
    status: {
      addresses: [{ type: 'InternalIP', address }],
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
    },
  };
}

/** Two nodes, a and b, and a service CIDR. */
function seeded(options: RigOptions = {}): Rig {
  const rig = new Rig(options);
  rig.server.serve('nodes', SERVICES);
  rig.server.put('nodes', 'a', node('10.2.1.0/24', '172.31.0.11', { edge: 'yes' }));
  rig.server.put('nodes', 'b', node('10.2.2.0/24', '172.31.0.12'));
  rig.server.put(SERVICES, 'kubernetes', { spec: { cidrs: ['10.112.0.0/16'] } });
  return rig;
}

describe('our own cluster', () => {
  it('has the pod CIDRs of its nodes and its service CIDRs, without gateways', async () => {
    const rig = seeded({ cluster: 'local' }).start();
    await rig.shows(
      'Node/a 10.2.1.0/24 east local pods',
      'Node/b 10.2.2.0/24 east local pods',
      'ServiceCIDR/kubernetes 10.112.0.0/16 east local services',
    );
    assert.deepEqual([...rig.environment.notes.entries()], []);
    await rig.stop();
  });

  it('is not told again because a node has another address or fell ill', async () => {
    const rig = seeded({ cluster: 'local' }).start();
    await rig.isStale(undefined);
    await until(
      () => rig.words.length === 1,
      () => rig.words,
    );
    rig.server.put('nodes', 'a', node('10.2.1.0/24', '172.31.0.99', {}, false));
    rig.server.put('nodes', 'b', node('10.2.3.0/24', '172.31.0.12'));
    await until(
      () => rig.words.length === 2,
      () => rig.words,
    );
    assert.deepEqual(rig.words, ['replace', 'upsert']);
    await rig.stop();
  });
});

describe('a remote cluster', () => {
  it('has the pods of each node behind it, and its services behind all', async () => {
    const rig = seeded().start();
    await rig.shows(
      'Node/a 10.2.1.0/24 west by 172.31.0.11',
      'Node/b 10.2.2.0/24 west by 172.31.0.12',
      'ServiceCIDR/kubernetes 10.112.0.0/16 west by 172.31.0.11 172.31.0.12',
    );
    rig.server.put('nodes', 'c', node('10.2.3.0/24', '172.31.0.13'));
    rig.server.delete('nodes', 'a');
    await rig.shows(
      'Node/b 10.2.2.0/24 west by 172.31.0.12',
      'Node/c 10.2.3.0/24 west by 172.31.0.13',
      'ServiceCIDR/kubernetes 10.112.0.0/16 west by 172.31.0.12 172.31.0.13',
    );
    await rig.stop();
  });

  it('has everything behind the nodes with certain labels', async () => {
    const rig = seeded({ gateways: { kind: 'labels', selector: 'edge=yes' } }).start();
    await rig.shows(
      'Node/a 10.2.1.0/24 west by 172.31.0.11',
      'Node/b 10.2.2.0/24 west by 172.31.0.11',
      'ServiceCIDR/kubernetes 10.112.0.0/16 west by 172.31.0.11',
    );
    rig.server.put('nodes', 'a', node('10.2.1.0/24', '172.31.0.11'));
    await rig.shows(
      'Node/a 10.2.1.0/24 west by nobody',
      'Node/b 10.2.2.0/24 west by nobody',
      'ServiceCIDR/kubernetes 10.112.0.0/16 west by nobody',
    );
    assert.deepEqual(rig.environment.notes.get('west')?.problems, [
      'no gateway: no node of west matches edge=yes',
    ]);
    await rig.stop();
    assert.equal(rig.environment.notes.get('west'), undefined);
  });

  it('has everything behind the TunnelGateway objects that serve us', async () => {
    const rig = seeded({ gateways: { kind: 'objects' } });
    rig.server.serve(TUNNEL_GATEWAYS);
    rig.server.put(TUNNEL_GATEWAYS, 'one', { spec: { nodeName: 'b', weight: 2 } });
    rig.server.put(TUNNEL_GATEWAYS, 'two', { spec: { address: '172.31.0.99', clusters: ['east', 'north'] } });
    rig.server.put(TUNNEL_GATEWAYS, 'three', { spec: { nodeName: 'a', clusters: ['north'] } });
    rig.start();
    const all = (by: string) => [
      `Node/a 10.2.1.0/24 west by ${by}`,
      `Node/b 10.2.2.0/24 west by ${by}`,
      `ServiceCIDR/kubernetes 10.112.0.0/16 west by ${by}`,
    ];
    await rig.shows(...all('172.31.0.12*2 172.31.0.99'));
    rig.server.put('nodes', 'b', node('10.2.2.0/24', '172.31.0.22'));
    await rig.shows(...all('172.31.0.22*2 172.31.0.99'));
    rig.server.put(TUNNEL_GATEWAYS, 'one', { spec: { nodeName: 'nobody' } });
    await rig.shows(...all('172.31.0.99'));
    await rig.isStale(/TunnelGateway\/one: spec\.nodeName is "nobody", and there is no such node/);
    await rig.stop();
  });

  it('keeps what an object was when it made sense, and says what is wrong with it', async () => {
    const rig = seeded().start();
    const lines = [
      'Node/a 10.2.1.0/24 west by 172.31.0.11',
      'Node/b 10.2.2.0/24 west by 172.31.0.12',
      'ServiceCIDR/kubernetes 10.112.0.0/16 west by 172.31.0.11 172.31.0.12',
    ];
    await rig.shows(...lines);
    rig.server.put('nodes', 'a', node('10.2.1.0/99', '172.31.0.11'));
    rig.server.put('nodes', 'new', node('nonsense', '172.31.0.13'));
    await rig.isStale(/^Node\/a: spec\.podCIDRs\[0\] is "10\.2\.1\.0\/99".*; Node\/new: /);
    await rig.shows(...lines);
    rig.server.delete('nodes', 'new');
    rig.server.put('nodes', 'a', node('10.2.1.0/24', '172.31.0.11'));
    await rig.isStale(undefined);
    await rig.shows(...lines);
    await rig.stop();
  });

  it('says nothing before all that it depends on was listed, and then everything at once', async () => {
    const rig = new Rig();
    rig.server.serve('nodes');
    rig.server.put('nodes', 'a', node('10.2.1.0/24', '172.31.0.11'));
    rig.start();
    await rig.shows('Node/a 10.2.1.0/24 west by 172.31.0.11');
    assert.deepEqual(rig.words, ['replace']);
    await rig.stop();
  });

  it('goes on with what is heard while a part of it is away', async () => {
    const rig = seeded().start();
    await rig.isStale(undefined);
    await until(
      () => rig.words.length > 0,
      () => rig.words,
    );
    rig.server.fail('refused', SERVICES);
    await rig.isStale(/servicecidrs.*refused/);
    rig.server.put('nodes', 'b', node('10.2.9.0/24', '172.31.0.12'));
    await rig.shows(
      'Node/a 10.2.1.0/24 west by 172.31.0.11',
      'Node/b 10.2.9.0/24 west by 172.31.0.12',
      'ServiceCIDR/kubernetes 10.112.0.0/16 west by 172.31.0.11 172.31.0.12',
    );
    await rig.isStale(/servicecidrs.*refused/);
    rig.server.recover(SERVICES);
    await rig.isStale(undefined);
    await rig.stop();
  });
});

describe('a server without ServiceCIDR objects', () => {
  it('has those of the configuration', async () => {
    const rig = new Rig({ serviceCidrs: [parseCidr('10.96.0.0/16')] });
    rig.server.serve('nodes');
    rig.server.put('nodes', 'a', node('10.2.1.0/24', '172.31.0.11'));
    rig.start();
    await rig.shows(
      'Node/a 10.2.1.0/24 west by 172.31.0.11',
      'serviceCidrs:10.96.0.0/16 10.96.0.0/16 west by 172.31.0.11',
    );
    assert.deepEqual(rig.environment.notes.get('west')?.problems, []);
    assert.deepEqual(rig.server.opened.filter((name) => name === SERVICES).length, 2, 'v1, then v1beta1');
    await rig.stop();
  });

  it('and without a configured one is said to have no routes to services', async () => {
    const warned: string[] = [];
    const logger = {
      debug() {},
      info() {},
      error() {},
      warn: (_: object, text: string) => warned.push(text),
    };
    const rig = new Rig({ environment: testEnvironment({ logger }) });
    rig.server.serve('nodes');
    rig.server.put('nodes', 'a', node('10.2.1.0/24', '172.31.0.11'));
    rig.start();
    await rig.shows('Node/a 10.2.1.0/24 west by 172.31.0.11');
    const problem = /^no route to service addresses: the API server has no ServiceCIDR objects/;
    assert.match(rig.environment.notes.get('west')?.problems[0] ?? '', problem);
    assert.match(warned.join(), problem);
    const state = rig.environment.streams.list().find(({ resource }) => resource === SERVICES);
    assert.match(state?.problem ?? '', problem);
    assert.equal(rig.stale, undefined, 'pods are as fresh as ever');
    await rig.stop();
  });
});

describe('a server without RemoteClusters', () => {
  it('is believed when it was asked twice, and asked again every other second', async () => {
    const clock = new StepClock();
    const rig = seeded({
      cluster: 'local',
      remoteClusters: true,
      environment: testEnvironment({ clock }),
    }).start();
    const asked = () => rig.server.readers.includes(REMOTE_CLUSTERS);
    const own = [
      'Node/a 10.2.1.0/24 east local pods',
      'Node/b 10.2.2.0/24 east local pods',
      'ServiceCIDR/kubernetes 10.112.0.0/16 east local services',
    ];
    await until(
      () => rig.server.opened.includes(REMOTE_CLUSTERS) && !asked(),
      () => rig.server.readers,
    );
    assert.deepEqual(rig.words, []);
    clock.advance(3000);
    await rig.shows(...own);
    assert.equal(rig.stale, undefined);
    rig.server.serve(REMOTE_CLUSTERS);
    rig.server.put(REMOTE_CLUSTERS, 'west', {
      spec: { cidrs: ['10.2.0.0/16'], gateways: [{ address: '172.31.0.2' }] },
    });
    await until(
      () => !asked(),
      () => rig.server.readers,
    );
    clock.advance(2000);
    await rig.shows(...own, 'RemoteCluster/west:10.2.0.0/16 10.2.0.0/16 west by 172.31.0.2');
    await rig.stop();
  });
});
