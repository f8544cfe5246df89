import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { isInsideSandbox, SANDBOX_FOLDER } from '../../src/measure/sandbox.ts';
import { poll } from '../../src/measure/topology.ts';
import { createCalico, findCalico, installCalicoCrds } from '../fixtures/calico-crds.ts';
import { KubeApiServer, kubeApiServerMissing } from '../fixtures/kube-api-server.ts';
import type { KubeObject } from '../fixtures/kube-client.ts';
import { kubectl, kubectlMissing } from '../fixtures/kubectl.ts';
import { everything, isthmus, OURS, tokenController, withoutVersions } from './join-rig.ts';

/**
 * Two real API servers: east with Calico and a token controller (the test plays it), west with neither. The tests run one after the other, on
 * what those before have left.
 */
const SYSTEM = '/api/v1/namespaces/isthmus-system';

const skip = isInsideSandbox()
  ? (kubeApiServerMissing() ?? kubectlMissing() ?? false)
  : 'needs the sandbox that npm test -- interop makes';

const remoteCluster = (server: KubeApiServer, name: string) =>
  server.admin.find(`${OURS}/remoteclusters/${name}`);

describe('join and leave against two API servers', { skip }, () => {
  let east: KubeApiServer;
  let west: KubeApiServer;
  let folder = '';
  let stopController: (() => Promise<void>) | undefined;
  let eastBefore: string[] = [];
  let westBefore: string[] = [];
  let eastWords: string[] = [];
  let westWords: string[] = [];
  const both = (): string[] => [
    ...eastWords,
    ...westWords.map((word) => (word.startsWith('--') ? `--peer-${word.slice(2)}` : word)),
  ];

  before(async () => {
    folder = mkdtempSync(join(SANDBOX_FOLDER, 'join-'));
    east = await KubeApiServer.start({ folder: join(folder, 'east-server') });
    west = await KubeApiServer.start({ folder: join(folder, 'west-server'), serviceCidr: '10.112.0.0/16' });
    for (const [name, server] of [
      ['east', east],
      ['west', west],
    ] as const) {
      writeFileSync(join(folder, name), server.kubeconfig());
    }
    await east.admin.createNode('e1', { podCidr: '10.244.0.0/24', address: '172.31.1.2' });
    await east.admin.createNode('e2', { podCidr: '10.244.1.0/24', address: '172.31.1.3' });
    await west.admin.createNode('w1', {
      podCidr: '10.2.0.0/24',
      address: '172.31.2.2',
      labels: { gateway: 'yes' },
    });
    await west.admin.createNode('w2', { podCidr: '10.2.1.0/24', address: '172.31.2.3' });
    await installCalicoCrds(east.admin);
    await createCalico(east.admin, 'IPPool', 'default-ipv4-ippool', {
      cidr: '10.1.0.0/16',
      ipipMode: 'Always',
    });
    await createCalico(east.admin, 'FelixConfiguration', 'default', {
      ipipEnabled: true,
      externalNodesList: ['192.0.2.1/32'],
    });
    await west.admin.create('/api/v1/namespaces/kube-system/services', {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'kube-dns' },
      spec: { clusterIP: '10.112.0.10', ports: [{ port: 53, protocol: 'UDP' }] },
    });
    [eastBefore, westBefore] = [await everything(east), await everything(west)];
    eastWords = [
      '--name',
      'east',
      '--kubeconfig',
      join(folder, 'east'),
      '--server',
      east.server,
      '--service-cidrs',
      '10.96.0.0/16',
    ];
    westWords = [
      '--name',
      'west',
      '--kubeconfig',
      join(folder, 'west'),
      '--server',
      west.server,
      '--service-cidrs',
      '10.112.0.0/16',
    ];
    stopController = tokenController(east);
  });
  after(async () => {
    await stopController?.();
    await Promise.all([east?.close(), west?.close()]);
  });

  test('a dry run writes nothing and prints YAML without any credential', async () => {
    const dry = await isthmus('join', ...both(), '--dry-run');
    assert.equal(dry.status, 0, dry.log);
    assert.match(dry.stdout, /# Cluster east: context "test", https:/);
    assert.match(dry.stdout, /<token of ServiceAccount isthmus-access-east of west>/);
    assert.deepEqual([await everything(east), await everything(west)], [eastBefore, westBefore]);
    assert.deepEqual(await isthmus('join', ...both(), '--dry-run', '--show-secrets'), dry);
  });

  test('addresses that both clusters use are refused, and nothing is written', async () => {
    const { status, log } = await isthmus('join', ...both(), '--peer-pod-cidrs', '10.1.128.0/17');
    assert.equal(status, 1);
    assert.match(log, /10\.1\.0\.0\/16 of east and 10\.1\.128\.0\/17 of west/);
    assert.deepEqual(await everything(west), westBefore);
  });

  test('the same name, the same cluster and an API on loopback are refused', async () => {
    const sameName = await isthmus('join', ...both(), '--peer-name', 'east');
    assert.deepEqual([sameName.status, /both clusters are called "east"/.test(sameName.log)], [2, true]);
    const sameCluster = await isthmus('join', ...both(), '--peer-kubeconfig', join(folder, 'east'));
    assert.deepEqual([sameCluster.status, /are the same cluster/.test(sameCluster.log)], [2, true]);
    const loopback = await isthmus(
      ...['join', '--name', 'east', '--kubeconfig', join(folder, 'east')],
      ...both().slice(8),
    );
    assert.deepEqual([loopback.status, /cannot reach; name an address/.test(loopback.log)], [2, true]);
  });

  test('an object of somebody else is not overwritten; what was done before stands, and the next run goes on', async () => {
    const role = {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'isthmus-access-east' },
    };
    const path = '/apis/rbac.authorization.k8s.io/v1/clusterroles';
    await west.admin.create(path, { ...role, rules: [] });
    const { status, log } = await isthmus('join', ...both());
    assert.equal(status, 1);
    assert.match(log, /ClusterRole\/isthmus-access-east of west is there already and was not made by join/);
    assert.match(log, /what stands above is done \(\d+ created\); run the same command again/);
    assert.deepEqual(
      (await west.admin.get<KubeObject>(`${path}/isthmus-access-east`)).metadata.labels,
      undefined,
    );
    await west.admin.delete(`${path}/isthmus-access-east`);
  });

  test('joining makes both clusters known to each other, and tells step by step what it does', async () => {
    const { status, stdout, log } = await isthmus('join', ...both());
    assert.equal(status, 0, log);
    assert.match(stdout, /^east: unchanged Namespace\/isthmus-system$/m);
    assert.match(stdout, /^west: created ClusterRole\/isthmus-access-east$/m);
    assert.match(stdout, /^west: created Secret\/east-access in isthmus-system \(how east is read\)$/m);
    assert.match(stdout, /^east: changed FelixConfiguration\/default \(externalNodesList has 3 entries\)$/m);
    assert.match(stdout, /^joined east and west: \d+ created, 1 changed, \d+ unchanged$/m);
    assert.deepEqual((await remoteCluster(east, 'west'))?.spec, {
      access: { secretRef: { namespace: 'isthmus-system', name: 'west-access' }, source: 'Kubernetes' },
      gatewaySelection: { mode: 'All' },
      serviceCidrs: ['10.112.0.0/16'],
      dns: { address: '10.112.0.10', domain: 'cluster.local' },
    });
    assert.deepEqual((await remoteCluster(west, 'east'))?.spec, {
      access: {
        secretRef: { namespace: 'isthmus-system', name: 'east-access' },
        source: 'Calico',
        aggregate: 'Pool',
      },
      gatewaySelection: { mode: 'All' },
      serviceCidrs: ['10.96.0.0/16'],
    });
  });

  test('Calico is told of the other cluster, and what it was told before stays', async () => {
    const felix = await findCalico(east.admin, 'FelixConfiguration', 'default');
    assert.deepEqual(felix?.spec, {
      ipipEnabled: true,
      externalNodesList: ['192.0.2.1/32', '172.31.2.2/32', '172.31.2.3/32'],
    });
    const exempt = { disabled: true, natOutgoing: false, ipipMode: 'Never', vxlanMode: 'Never' };
    for (const [name, cidr] of [
      ['isthmus-west-10-2-0-0-23', '10.2.0.0/23'],
      ['isthmus-west-10-112-0-0-16', '10.112.0.0/16'],
    ] as const) {
      assert.deepEqual((await findCalico(east.admin, 'IPPool', name))?.spec, { cidr, ...exempt });
    }
  });

  /** The token in the Secret of the other cluster. */
  async function exchanged(holder: KubeApiServer, name: string): Promise<{ server: string; token: string }> {
    const secret = await holder.admin.get<{ data: { kubeconfig: string } }>(
      `${SYSTEM}/secrets/${name}-access`,
    );
    const kubeconfig = parse(Buffer.from(secret.data.kubeconfig, 'base64').toString());
    return { server: kubeconfig.clusters[0].cluster.server, token: kubeconfig.users[0].user.token };
  }

  test('the exchanged credentials read what gateways need, and can neither write nor read Secrets', async () => {
    for (const [holder, target, name] of [
      [west, east, 'east'],
      [east, west, 'west'],
    ] as const) {
      const { server, token } = await exchanged(holder, name);
      assert.equal(server, target.server);
      const client = target.client(token);
      const status = async (method: string, path: string, body?: object) =>
        (await client.request(method, path, body === undefined ? {} : { body })).status;
      assert.equal(await status('GET', '/api/v1/nodes'), 200);
      assert.equal(await status('GET', '/api/v1/nodes?watch=1&timeoutSeconds=1'), 200);
      assert.equal(await status('GET', `${OURS}/tunnelgateways`), 200);
      const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'intruder' } };
      assert.equal(await status('POST', '/api/v1/nodes', node), 403);
      assert.equal(await status('DELETE', '/api/v1/nodes/e1'), 403);
      assert.equal(await status('GET', '/api/v1/secrets'), 403);
      assert.equal(await status('GET', `${SYSTEM}/secrets/${name === 'east' ? 'west' : 'east'}-access`), 403);
      assert.equal(await status('GET', `${OURS}/remoteclusters`), 403);
      const review = await client.create('/apis/authorization.k8s.io/v1/selfsubjectrulesreviews', {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectRulesReview',
        spec: { namespace: 'isthmus-system' },
      });
      const { resourceRules } = (
        review as { status: { resourceRules: { verbs: string[]; apiGroups: string[] }[] } }
      ).status;
      // Whoever is logged in may ask what it may do, which is a create of a review.
      const beyond = resourceRules.filter(({ apiGroups }) => !apiGroups.includes('authorization.k8s.io'));
      const verbs = new Set(beyond.flatMap((rule) => rule.verbs));
      assert.deepEqual([...verbs].toSorted(), ['get', 'list', 'watch']);
    }
  });

  test('the token is the one that Kubernetes keeps where it does, else one with an expiry that is told', async () => {
    const kept = await east.admin.get<{ data: { token: string } }>(
      `${SYSTEM}/secrets/isthmus-access-west-token`,
    );
    assert.equal((await exchanged(west, 'east')).token, Buffer.from(kept.data.token, 'base64').toString());
    const { token } = await exchanged(east, 'west');
    const claims = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString());
    assert.equal(claims.exp - claims.iat, 10 * 365 * 86_400);
    const { stdout } = await isthmus('join', ...both());
    assert.match(stdout, /west: note: .*token that expires at 20\d\d-/);
  });

  test('deleting the account ends its token, and the next run exchanges a new one', async () => {
    for (const [holder, target, name, peer] of [
      [east, west, 'west', 'east'],
      [west, east, 'east', 'west'],
    ] as const) {
      const { token: old } = await exchanged(holder, name);
      await target.admin.delete(`${SYSTEM}/serviceaccounts/isthmus-access-${peer}`);
      // The controller notices as well, though not before somebody runs join.
      const secret = `${SYSTEM}/secrets/isthmus-access-${peer}-token`;
      const annotations = { 'kubernetes.io/service-account.uid': 'of-the-account-that-was' };
      await target.admin.patch(secret, { metadata: { annotations } });
      const run = await isthmus('join', ...both());
      assert.equal(run.status, 0, run.log);
      const { token } = await exchanged(holder, name);
      assert.notEqual(token, old);
      // The server remembers for 10 s what it has verified.
      await poll('the end of the old token', 30_000, async () => {
        const { status } = await target.client(old).request('GET', '/api/v1/nodes');
        return status === 401;
      });
      assert.equal((await target.client(token).request('GET', '/api/v1/nodes')).status, 200);
      await target.admin.delete(secret);
    }
    assert.equal((await isthmus('join', ...both())).status, 0);
  });

  test('a second run changes nothing and says so', async () => {
    const state = [await everything(east), await everything(west)];
    const { status, stdout, log } = await isthmus('join', ...both());
    assert.equal(status, 0, log);
    assert.match(stdout, /^east and west are joined already: nothing changed \(\d+ unchanged\)$/m);
    assert.deepEqual([await everything(east), await everything(west)], state);
  });

  test('what a dry run prints passes the strict dry run of the servers, with and without secrets', async () => {
    for (const flags of [[], ['--show-secrets']]) {
      const { stdout } = await isthmus('join', ...both(), '--dry-run', ...flags);
      const [, forEast = '', forWest = ''] = stdout.split(/^# =+$/m);
      for (const [name, text] of [
        ['east', forEast],
        ['west', forWest],
      ] as const) {
        const objects = parseAllDocuments(text).map((document) => document.toJS());
        assert.equal(objects.filter((object) => object?.kind === 'RemoteCluster').length, 1);
        const words = [
          'apply',
          '--server-side',
          '--force-conflicts',
          '--dry-run=server',
          '--validate=strict',
          '-f',
          '-',
        ];
        const judged = await kubectl(words, { kubeconfig: join(folder, name), input: text });
        assert.equal(judged.status, 0, judged.log);
      }
      const { token } = await exchanged(east, 'west');
      const isShown =
        stdout.includes(token) ||
        Buffer.from(stdout.match(/kubeconfig: ([\w+/=]{200,})/)?.[1] ?? '', 'base64')
          .toString()
          .includes(token);
      assert.equal(isShown, flags.length > 0);
    }
  });

  test('a gateway more and a gateway less are followed by the next run', async () => {
    const more = await isthmus(
      'join',
      ...both(),
      '--peer-gateways',
      'gateway=yes',
      '--peer-aggregate',
      'block',
    );
    assert.equal(more.status, 0, more.log);
    const felix = await findCalico(east.admin, 'FelixConfiguration', 'default');
    assert.deepEqual(felix?.spec, {
      ipipEnabled: true,
      externalNodesList: ['192.0.2.1/32', '172.31.2.2/32'],
    });
    const known = await remoteCluster(east, 'west');
    assert.deepEqual(known?.spec, {
      access: { secretRef: { namespace: 'isthmus-system', name: 'west-access' }, source: 'Kubernetes' },
      gatewaySelection: { mode: 'Labels', selector: 'gateway=yes' },
      serviceCidrs: ['10.112.0.0/16'],
      dns: { address: '10.112.0.10', domain: 'cluster.local' },
    });
    assert.equal((await isthmus('join', ...both())).status, 0);
  });

  test('leave removes on both sides exactly what join made', async () => {
    const { status, stdout, log } = await isthmus(
      ...['leave', '--name', 'east', '--kubeconfig', join(folder, 'east')],
      ...['--peer-name', 'west', '--peer-kubeconfig', join(folder, 'west')],
    );
    assert.equal(status, 0, log);
    assert.match(stdout, /^west: removed RemoteCluster\/east$/m);
    assert.match(stdout, /^east has left west: /m);
    const felix = await findCalico(east.admin, 'FelixConfiguration', 'default');
    assert.deepEqual(felix?.spec, { ipipEnabled: true, externalNodesList: ['192.0.2.1/32'] });
    await poll('the end of the CRDs', 20_000, async () => {
      const left = [...(await everything(east)), ...(await everything(west))];
      return !left.some((line) => line.includes('isthmus.network'));
    });
    assert.deepEqual(withoutVersions(await everything(east)), withoutVersions(eastBefore));
    assert.deepEqual(withoutVersions(await everything(west)), withoutVersions(westBefore));
  });

  test('leaving what is not joined changes nothing and says so', async () => {
    const words = ['leave', '--name', 'east', '--kubeconfig', join(folder, 'east'), '--peer-name', 'west'];
    const { status, stdout } = await isthmus(...words);
    assert.equal(status, 0);
    assert.match(stdout, /^east and west are not joined: nothing changed$/m);
    assert.deepEqual(withoutVersions(await everything(east)), withoutVersions(eastBefore));
  });

  test('a kubeconfig that logs in by a plugin is as good as one with a token', async () => {
    const credential = JSON.stringify({
      apiVersion: 'client.authentication.k8s.io/v1',
      kind: 'ExecCredential',
      status: { token: parse(west.kubeconfig()).users[0].user.token },
    });
    const config = parse(west.kubeconfig());
    config.users[0].user = {
      exec: { apiVersion: 'client.authentication.k8s.io/v1', command: 'echo', args: [credential] },
    };
    const plugin = join(folder, 'plugin');
    writeFileSync(plugin, JSON.stringify(config));
    const words = ['grant', '--name', 'west', '--kubeconfig', plugin, '--server', west.server];
    const { status, stdout, log } = await isthmus(...words, '--peer-name', 'east', '--dry-run');
    assert.equal(status, 0, log);
    assert.match(stdout, /^# Cluster west: context "test"/);
  });

  test('a kubeconfig without the named context is refused with those that it has', async () => {
    const { status, log } = await isthmus('join', ...both(), '--context', 'nowhere');
    assert.equal(status, 1);
    assert.match(log, /has no context "nowhere": it has test/);
  });
});
