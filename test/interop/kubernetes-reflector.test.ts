import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Resource } from '../../src/watch/kubernetes-api/resource.ts';
import { KubeApiServer, kubeApiServerMissing } from '../fixtures/kube-api-server.ts';
import { FakeProxy } from '../unit/watch/kubernetes-api/fake-proxy.ts';
import {
  RunningReflector,
  type RunningReflectorOptions,
} from '../unit/watch/kubernetes-api/running-reflector.ts';

const NODES = '/api/v1/nodes';
const WIDGETS: Resource = { group: 'test.isthmus.network', version: 'v1', plural: 'widgets' };
const ROLES = '/apis/rbac.authorization.k8s.io/v1/clusterroles';
const BINDINGS = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings';

/** The waits of a gateway would make the tests slow; how a server is spoken to does not depend on them. */
const LIMITS = { backoffMinMs: 50, backoffMaxMs: 400, absentMinMs: 50, absentMaxMs: 200 };

describe('a real API server', { skip: kubeApiServerMissing() ?? false }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-reflector-'));
  let server: KubeApiServer;
  let running: RunningReflector | undefined;

  before(async () => {
    server = await KubeApiServer.start({ folder });
  });
  after(async () => {
    await server?.close();
    rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(async () => {
    for (const name of ['n1', 'n2']) await createNode(name, name === 'n1' ? '10.0.1.0/24' : '10.0.2.0/24');
  });
  afterEach(async () => {
    await running?.stop();
    running = undefined;
    for (const { metadata } of await server.admin.items(NODES))
      await server.admin.delete(`${NODES}/${metadata.name}`);
  });

  const createNode = (name: string, podCIDR: string) =>
    server.admin.create(NODES, {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name },
      spec: { podCIDR, podCIDRs: [podCIDR] },
    });

  function start(options: RunningReflectorOptions = {}, token?: string): RunningReflector {
    return startWith(token === undefined ? server.kubeconfig() : server.kubeconfig(token), options);
  }

  function startWith(text: string, options: RunningReflectorOptions = {}): RunningReflector {
    const access = () => ({ kind: 'kubeconfig-text' as const, text, describe: 'a test' });
    running = new RunningReflector({ access }, { ...options, limits: { ...LIMITS, ...options.limits } });
    return running;
  }

  it('is listed page by page and then watched, without watch-lists where it has none', async () => {
    const reflector = start({ limits: { pageObjects: 1 } });
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    await createNode('n3', '10.0.3.0/24');
    await server.admin.delete(`${NODES}/n1`);
    await reflector.shows('n2=10.0.2.0/24', 'n3=10.0.3.0/24');
    for (let i = 0; i < 50; i++)
      await server.admin.patch(`${NODES}/n2`, { metadata: { annotations: { beat: `${i}` } } });
    await reflector.until(() => reflector.stream.events >= 52);
    assert.equal(reflector.stream.errors, 0);
    assert.equal(reflector.stream.lists.start, 1);
    assert.equal(reflector.count('replace'), 1);
    assert.ok(reflector.count('change') <= 2, 'heartbeats are not told');
  });

  it('that ends its watches in time is watched again from where it was', async () => {
    const reflector = start({ limits: { watchSecondsMin: 1, watchSecondsMax: 1, earlyCloseMs: 500 } });
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    const started = reflector.stream.lastEventMs ?? 0;
    await reflector.until(() => (reflector.stream.lastEventMs ?? 0) > started + 1500);
    await createNode('n3', '10.0.3.0/24');
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24', 'n3=10.0.3.0/24');
    assert.equal(reflector.count('replace'), 1);
    assert.equal(reflector.stream.errors, 0);
  });

  it('that is killed is stale, and fresh when it is back, with nothing listed again', async () => {
    const reflector = start();
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    await reflector.until(() => reflector.stream.phase === 'watching');
    await server.killApi();
    await reflector.isStale(/connect ECONNREFUSED/);
    assert.equal(reflector.shown, 'n1=10.0.1.0/24,n2=10.0.2.0/24');
    await server.startApi();
    await server.admin.delete(`${NODES}/n1`);
    await reflector.isFresh();
    await reflector.shows('n2=10.0.2.0/24');
    assert.deepEqual(reflector.words.filter(({ kind }) => kind === 'replace').length, 1);
  });

  it('whose history is compacted is listed again, and what was deleted goes', async () => {
    const proxy = await FakeProxy.start();
    try {
      const text = server.kubeconfig().replace('cluster: {', `cluster: {proxy-url: "${proxy.url}", `);
      const reflector = startWith(text);
      await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
      await reflector.until(() => reflector.stream.phase === 'watching');
      proxy.refuseWith = 503;
      await server.killApi();
      await reflector.isStale(/it refused a connection/);
      await server.startApi();
      await server.admin.delete(`${NODES}/n1`);
      await createNode('n3', '10.0.3.0/24');
      // The server remembers in its watch cache what etcd has forgotten, until it is started again.
      await server.compact();
      await server.restartApi();
      proxy.refuseWith = undefined;
      await reflector.shows('n2=10.0.2.0/24', 'n3=10.0.3.0/24');
      assert.equal(reflector.stream.lists.expired, 1);
      assert.equal(reflector.words.at(-1)?.kind, 'replace');
    } finally {
      await running?.stop();
      await proxy.stop();
    }
  });

  it('that takes a right away is stale with the rule to add, and fresh when it is given back', async () => {
    const token = await server.serviceAccountToken('default', 'gw');
    const rule = { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] };
    await server.admin.create(ROLES, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'gw' },
      rules: [rule],
    });
    const bind = () =>
      server.admin.create(BINDINGS, {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRoleBinding',
        metadata: { name: 'gw' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'gw' },
        subjects: [{ kind: 'ServiceAccount', namespace: 'default', name: 'gw' }],
      });
    await bind();
    const limits = { watchSecondsMin: 1, watchSecondsMax: 1, earlyCloseMs: 500 };
    const reflector = start({ limits }, token);
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    await server.admin.delete(`${BINDINGS}/gw`);
    await reflector.isStale(
      /403 Forbidden: .*system:serviceaccount:default:gw.* cannot watch .*grant it with the RBAC rule \{apiGroups: \[""\], resources: \["nodes"\]/,
    );
    await server.admin.delete(`${NODES}/n1`);
    assert.equal(reflector.shown, 'n1=10.0.1.0/24,n2=10.0.2.0/24');
    await bind();
    await reflector.isFresh();
    await reflector.shows('n2=10.0.2.0/24');
  });

  it('that does not know the token is stale', async () => {
    const reflector = start({}, 'nonsense');
    await reflector.isStale(/401 Unauthorized/);
    assert.equal(reflector.count('replace'), 0);
  });

  it('without the CRD has the resource absent until that is made', async () => {
    const reflector = start({ resource: WIDGETS, project: ({ metadata }) => metadata.name });
    await reflector.until(() => reflector.health === 'absent');
    const schema = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
    const path = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
    await server.admin.create(path, {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: 'widgets.test.isthmus.network' },
      spec: {
        group: WIDGETS.group,
        scope: 'Cluster',
        names: { kind: 'Widget', plural: 'widgets', singular: 'widget', listKind: 'WidgetList' },
        versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema } }],
      },
    });
    await reflector.isFresh();
    await reflector.shows();
    await server.admin.create('/apis/test.isthmus.network/v1/widgets', {
      apiVersion: 'test.isthmus.network/v1',
      kind: 'Widget',
      metadata: { name: 'w' },
    });
    await reflector.shows('w=w');
  });
});
