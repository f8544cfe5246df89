import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { systemClock } from '../../src/base/clock.ts';
import { silentLogger } from '../../src/base/log.ts';
import { poll } from '../../src/measure/topology.ts';
import type { SourceState } from '../../src/table/route.ts';
import { Table } from '../../src/table/table.ts';
import { KubernetesWatcher } from '../../src/watch/kubernetes/kubernetes.ts';
import { StatusWriter } from '../../src/watch/kubernetes/status-writer.ts';
import type { KubernetesAccess } from '../../src/watch/kubernetes-api/access.ts';
import { KubernetesApi } from '../../src/watch/kubernetes-api/client.ts';
import { SourceRunner } from '../../src/watch/source-runner.ts';
import { KubeApiServer, kubeApiServerMissing } from '../fixtures/kube-api-server.ts';
import type { KubeObject } from '../fixtures/kube-client.ts';
import { testEnvironment } from '../unit/watch/fake-connection.ts';

const skip = kubeApiServerMissing() ?? false;
const CRD = fileURLToPath(new URL('../../../deploy/crds/remoteclusters.yaml', import.meta.url));
const REMOTE_CLUSTERS = '/apis/isthmus.network/v1alpha1/remoteclusters';
const SECRETS = '/api/v1/namespaces/isthmus-system/secrets';
const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const PARENT = 'kubernetes:local';
const CHILD = 'kubernetes:local/west';
const OPTIONS = { priority: 0, staleAfterMs: Number.POSITIVE_INFINITY, holdMs: 0 };
const WITHIN_MS = 20_000;

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
}

const READ = ['get', 'list', 'watch'];
const OF_NODES: Rule = {
  apiGroups: ['', 'networking.k8s.io'],
  resources: ['nodes', 'servicecidrs'],
  verbs: READ,
};

/**
 * One server is both: ours, which has RemoteCluster and Secret, and the one of the cluster west, which the Secret leads to. Its nodes are
 * claimed twice, so what a source claims is looked at, and not the routes.
 */
class Side {
  readonly server: KubeApiServer;

  constructor(server: KubeApiServer) {
    this.server = server;
  }

  /** A ServiceAccount that may do this and nothing else. Returns a token for it. */
  async account(name: string, rules: readonly Rule[]): Promise<string> {
    const { admin } = this.server;
    const metadata = { name };
    await admin.createIfAbsent(`${RBAC}/clusterroles`, { ...ofRbac('ClusterRole'), metadata, rules });
    await admin.createIfAbsent(`${RBAC}/clusterrolebindings`, {
      ...ofRbac('ClusterRoleBinding'),
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', namespace: 'isthmus-system', name }],
    });
    return await this.server.serviceAccountToken('isthmus-system', name);
  }

  access(token: string): KubernetesAccess {
    return { kind: 'kubeconfig-text', text: this.server.kubeconfig(token), describe: 'a test' };
  }

  /** The Secret of west, with this token. */
  async secret(token: string): Promise<void> {
    const { admin } = this.server;
    const data = { kubeconfig: Buffer.from(this.server.kubeconfig(token)).toString('base64') };
    const body = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'west-access' }, data };
    if ((await admin.find(`${SECRETS}/west-access`)) === undefined) await admin.create(SECRETS, body);
    else await admin.patch(`${SECRETS}/west-access`, body);
  }

  async remoteCluster(): Promise<KubeObject> {
    return await this.server.admin.get(`${REMOTE_CLUSTERS}/west`);
  }
}

function ofRbac(kind: string): object {
  return { apiVersion: 'rbac.authorization.k8s.io/v1', kind };
}

/** Our gateway, but for packets. */
class Reader {
  readonly table = new Table();
  readonly environment = testEnvironment();
  readonly #runner = new SourceRunner(this.table, systemClock, silentLogger, () => {});

  constructor(api: KubernetesAccess) {
    const watcher = new KubernetesWatcher({
      name: PARENT,
      cluster: 'local',
      ownCluster: 'east',
      api,
      gateways: { kind: 'all' },
      serviceCidrs: [{ address: 0x0a60_0000, prefixLength: 16 }],
      addressType: 'InternalIP',
      remoteClusters: true,
      children: this.#runner.children(PARENT),
      environment: this.environment,
    });
    void this.#runner.add(watcher, OPTIONS);
  }

  source(name: string): SourceState | undefined {
    return this.table.sources().find((source) => source.name === name);
  }

  /** Waits until a source has this many claims and is in this state. */
  async sees(name: string, claims: number, state: SourceState['state'], reason = /^/): Promise<void> {
    const fits = () => {
      const source = this.source(name);
      return source?.claims === claims && source.state === state && reason.test(source.reason ?? '');
    };
    await poll(`${name} with ${claims} claims, ${state}`, WITHIN_MS, async () => fits()).catch((thrown) => {
      throw new Error(JSON.stringify([this.table.sources(), [...this.environment.notes.entries()]]), {
        cause: thrown,
      });
    });
  }

  async stop(): Promise<void> {
    await this.#runner.stop();
  }
}

describe('Kubernetes in a real API server', { skip }, () => {
  let folder = '';
  let side: Side;
  let reader: Reader | undefined;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'isthmus-kubernetes-'));
    side = new Side(await KubeApiServer.start({ folder }));
    const { admin } = side.server;
    await admin.createIfAbsent('/api/v1/namespaces', {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'isthmus-system' },
    });
    await admin.create(
      '/apis/apiextensions.k8s.io/v1/customresourcedefinitions',
      parse(readFileSync(CRD, 'utf8')),
    );
    await poll(
      'the CRD',
      WITHIN_MS,
      async () => (await admin.request('GET', REMOTE_CLUSTERS)).status === 200,
    );
    await admin.createNode('a', { podCidr: '10.1.1.0/24', address: '172.31.0.11' });
    await side.secret(await side.account('west-reader', [OF_NODES]));
    await admin.create(REMOTE_CLUSTERS, {
      apiVersion: 'isthmus.network/v1alpha1',
      kind: 'RemoteCluster',
      metadata: { name: 'west' },
      spec: { access: { secretRef: { namespace: 'isthmus-system', name: 'west-access' } } },
    });
  });

  after(async () => {
    await reader?.stop();
    await side?.server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test('nodes and clusters are read with the right to one Secret and no other', async () => {
    const token = await side.account('gateway', [
      OF_NODES,
      { apiGroups: ['isthmus.network'], resources: ['remoteclusters'], verbs: READ },
      { apiGroups: [''], resources: ['secrets'], resourceNames: ['west-access'], verbs: READ },
    ]);
    reader = new Reader(side.access(token));
    await reader.sees(PARENT, 2, 'fresh');
    // This server has no ServiceCIDRs, and the RemoteCluster says nothing of them.
    await reader.sees(CHILD, 1, 'fresh');
    const note = reader.environment.notes.get('west');
    assert.equal(note?.server, side.server.server);
    assert.match(note?.problems.join() ?? '', /^no route to service addresses: /);
  });

  test('nodes come and go in both', async () => {
    await side.server.admin.createNode('b', { podCidr: '10.1.2.0/24', address: '172.31.0.12' });
    await reader?.sees(PARENT, 3, 'fresh');
    await reader?.sees(CHILD, 2, 'fresh');
    await side.server.admin.delete('/api/v1/nodes/b');
    await reader?.sees(PARENT, 2, 'fresh');
    await reader?.sees(CHILD, 1, 'fresh');
  });

  test('a rotated Secret is used, a missing one and missing rights are told, and nothing is withdrawn', async () => {
    await side.server.admin.delete(`${RBAC}/clusterrolebindings/west-reader`);
    // Another lifetime: two tokens of the same second are the same text otherwise, and what is the same is no rotation.
    const token = await side.server.serviceAccountToken('isthmus-system', 'west-reader', 7200);
    // The server's authorizer hears of it by a watch of its own; a watch of ours that was let in before would go on.
    await poll('the right to be gone', WITHIN_MS, async () => {
      return (await side.server.client(token).request('GET', '/api/v1/nodes')).status === 403;
    });
    await side.secret(token);
    await reader?.sees(CHILD, 1, 'stale', /the right to (?:list|watch) nodes is missing: grant it/);
    await side.secret(await side.account('west-other', [OF_NODES]));
    await reader?.sees(CHILD, 1, 'fresh');
    await side.server.admin.delete(`${SECRETS}/west-access`);
    await reader?.sees(CHILD, 1, 'stale', /^Secret isthmus-system\/west-access: there is none/);
    await side.secret(await side.account('west-other', [OF_NODES]));
    await reader?.sees(CHILD, 1, 'fresh');
  });

  test('while the API server is away everything stays, and it is read again when it is back', async () => {
    await side.server.killApi();
    await reader?.sees(PARENT, 2, 'stale');
    await reader?.sees(CHILD, 1, 'stale');
    await side.server.startApi();
    await side.server.admin.createNode('c', { podCidr: '10.1.3.0/24', address: '172.31.0.13' });
    await reader?.sees(PARENT, 3, 'fresh');
    await reader?.sees(CHILD, 2, 'fresh');
  });

  test('gateways write their rows, and one of them what they have in common', async () => {
    const token = await side.account('writer', [
      { apiGroups: ['isthmus.network'], resources: ['remoteclusters'], verbs: ['list'] },
      { apiGroups: ['isthmus.network'], resources: ['remoteclusters/status'], verbs: ['patch'] },
    ]);
    const [apis, look] = writers(side.access(token));
    const status = async () => (await side.remoteCluster()).status as Status;
    // gw-2 is the first to write, and leaves what is common to gw-1 as soon as that has written it.
    for (const name of ['gw-2', 'gw-1', 'gw-2', 'gw-1', 'gw-2']) {
      await look(name);
      assert.equal((await status()).conditions?.length, 3, `after ${name}`);
    }
    const { gateways, conditions, routes, observedGeneration } = await status();
    assert.deepEqual(gateways?.map(({ name }) => name).sort(), ['gw-1', 'gw-2']);
    assert.deepEqual([routes, observedGeneration], [2, 1]);
    assert.deepEqual(
      conditions?.map((condition) => `${condition.type} ${condition.status}`),
      ['Accepted True', 'Reachable True', 'Ready True'],
    );
    assert.deepEqual(ownersOfConditions(await side.remoteCluster()), ['isthmus-gw-1']);
    await side.server.admin.delete(`${RBAC}/clusterrolebindings/writer`);
    await poll('the right to be gone', WITHIN_MS, async () => {
      const { problem } = await look('gw-1');
      return (
        problem !== null && /the right to list remoteclusters\.isthmus\.network is missing/.test(problem)
      );
    });
    for (const api of apis) api.close();
  });
});

interface Status {
  readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  readonly gateways?: readonly { readonly name: string }[];
  readonly routes?: number;
  readonly observedGeneration?: number;
}

/** Two gateways; each look of one is a new writer's first, which writes in any case. */
function writers(access: KubernetesAccess) {
  const apis: KubernetesApi[] = [];
  const look = async (gateway: string) => {
    const api = new KubernetesApi(access, { clock: systemClock, logger: silentLogger });
    apis.push(api);
    const writer = new StatusWriter({
      api,
      gateway,
      report: () => ({ routes: 2, gateways: 1, stale: false, reason: undefined, lastContactMs: Date.now() }),
      clock: systemClock,
      logger: silentLogger,
      random: () => 0.5,
    });
    await writer.look(new AbortController().signal);
    return writer.state;
  };
  return [apis, look] as const;
}

function ownersOfConditions({ metadata }: KubeObject): string[] {
  const entries = (metadata as { managedFields?: { manager: string; fieldsV1?: Record<string, object> }[] })
    .managedFields;
  return (entries ?? [])
    .filter(({ fieldsV1 }) => Object.hasOwn(fieldsV1?.['f:status'] ?? {}, 'f:conditions'))
    .map(({ manager }) => manager);
}
