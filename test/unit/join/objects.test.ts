import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { parseCidr } from '../../../src/base/address.ts';
import type { ClusterApi } from '../../../src/join/cluster-api.ts';
import { yamlOf } from '../../../src/join/document.ts';
import { Ledger } from '../../../src/join/ledger.ts';
import {
  accessObjects,
  crdObjects,
  ipPool,
  kubeconfigOf,
  objectPath,
  remoteCluster,
} from '../../../src/join/objects.ts';
import type { GatewayChoice, Side } from '../../../src/join/side.ts';
import type { Survey } from '../../../src/join/survey.ts';
import { claimsOf } from '../../../src/join/token.ts';

const SIDE: Side = {
  name: 'west',
  api: undefined as unknown as ClusterApi,
  server: undefined,
  gateways: { kind: 'all' },
  podCidrs: [],
  serviceCidrs: [],
  source: undefined,
  aggregate: undefined,
  dnsDomain: 'cluster.local',
};
const SURVEY: Survey = {
  uid: 'u',
  source: 'Kubernetes',
  calico: undefined,
  podCidrs: [parseCidr('10.2.0.0/16')],
  serviceCidrs: [parseCidr('10.112.0.0/16')],
  servesServiceCidrs: true,
  gateways: ['172.31.0.2'],
  dns: undefined,
};
const specOf = (side: Partial<Side>, survey: Partial<Survey> = {}) =>
  remoteCluster({ ...SIDE, ...side }, { ...SURVEY, ...survey }).spec as Record<string, unknown>;

test('the path of an object follows from its kind, group and namespace', () => {
  const [account, role] = accessObjects('west');
  assert.equal(objectPath(account!), '/api/v1/namespaces/isthmus-system/serviceaccounts/isthmus-access-west');
  assert.equal(objectPath(role!), '/apis/rbac.authorization.k8s.io/v1/clusterroles/isthmus-access-west');
  assert.equal(
    objectPath(ipPool('projectcalico.org/v3', 'west', parseCidr('10.2.0.0/16'))),
    '/apis/projectcalico.org/v3/ippools/isthmus-west-10-2-0-0-16',
  );
});

test('the role of another cluster has no verb that writes and sees no Secrets', () => {
  const role = accessObjects('west').find(({ kind }) => kind === 'ClusterRole')!;
  for (const { verbs, resources } of role.rules as { verbs: string[]; resources: string[] }[]) {
    assert.deepEqual(verbs, ['get', 'list', 'watch']);
    assert.ok(!resources.includes('secrets'));
    assert.ok(!resources.includes('*'));
  }
});

test('service CIDRs are named where nobody can read them, or where a person named them', () => {
  assert.equal(specOf({}).serviceCidrs, undefined);
  assert.deepEqual(specOf({}, { servesServiceCidrs: false }).serviceCidrs, ['10.112.0.0/16']);
  assert.deepEqual(specOf({ serviceCidrs: SURVEY.serviceCidrs }).serviceCidrs, ['10.112.0.0/16']);
});

test('each choice of gateways has its form', () => {
  const choices: readonly (readonly [GatewayChoice, object])[] = [
    [{ kind: 'all' }, { gatewaySelection: { mode: 'All' } }],
    [{ kind: 'objects' }, { gatewaySelection: { mode: 'Objects' } }],
    [{ kind: 'labels', selector: 'a=b' }, { gatewaySelection: { mode: 'Labels', selector: 'a=b' } }],
    [{ kind: 'addresses', addresses: ['172.31.0.2'] }, { gateways: [{ address: '172.31.0.2' }] }],
  ];
  for (const [gateways, expected] of choices) {
    const { access: _access, ...rest } = specOf({ gateways });
    assert.deepEqual(rest, expected);
  }
});

test('how Calico is aggregated is said for Calico only', () => {
  assert.deepEqual(specOf({ aggregate: 'Block' }).access, {
    secretRef: { namespace: 'isthmus-system', name: 'west-access' },
    source: 'Kubernetes',
  });
  const calico = specOf({ aggregate: 'Block' }, { source: 'Calico' }).access as { aggregate: string };
  assert.equal(calico.aggregate, 'Block');
});

test('a kubeconfig trusts the CA it has, and skips the check only where there is none and a person did', () => {
  const cluster = (access: Partial<Parameters<typeof kubeconfigOf>[1]>) =>
    parse(
      kubeconfigOf('west', {
        server: 'https://172.31.0.9:6443',
        ...{ ca: undefined, tlsServerName: undefined, skipsTlsVerify: false, token: 't' },
        ...access,
      }),
    ).clusters[0].cluster;
  assert.deepEqual(cluster({}), { server: 'https://172.31.0.9:6443' });
  assert.deepEqual(cluster({ ca: 'PEM', skipsTlsVerify: true }), {
    server: 'https://172.31.0.9:6443',
    'certificate-authority-data': 'UEVN',
  });
  assert.equal(cluster({ skipsTlsVerify: true })['insecure-skip-tls-verify'], true);
  assert.equal(cluster({ tlsServerName: 'api' })['tls-server-name'], 'api');
});

test('the CRDs are those of deploy/crds, marked as made by join', () => {
  assert.deepEqual(
    crdObjects().map(({ metadata }) => [metadata.name, metadata.labels?.['app.kubernetes.io/managed-by']]),
    [
      ['remoteclusters.isthmus.network', 'isthmus-join'],
      ['tunnelgateways.isthmus.network', 'isthmus-join'],
    ],
  );
});

test('a document has its comments first and then one YAML document an object', () => {
  const object = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'n' } };
  assert.equal(
    yamlOf(['for west'], [object, object]),
    '# for west\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: n\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: n\n',
  );
});

test('what a token says of itself is read from it; what is no token, or never expires, has none', () => {
  const token = (claims: object) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`;
  assert.deepEqual(claimsOf(token({ iat: 1, exp: 3 })), {
    fromMs: 1000,
    untilMs: 3000,
    accountUid: undefined,
  });
  const own = { serviceaccount: { name: 'a', uid: 'u' } };
  assert.equal(claimsOf(token({ iat: 1, exp: 3, 'kubernetes.io': own }))?.accountUid, 'u');
  assert.equal(claimsOf(token({ sub: 'x' })), undefined);
  assert.equal(claimsOf('opaque'), undefined);
  assert.equal(claimsOf(''), undefined);
});

test('the ledger prints a line for what was there or is there, and counts', () => {
  const lines: string[] = [];
  const ledger = new Ledger((line) => lines.push(line));
  ledger.step('east', 'created', 'Secret/a', 'how west is read');
  ledger.step('east', 'unchanged', 'Namespace/b');
  ledger.step('east', 'absent', 'Secret/c');
  ledger.note('east', 'something');
  assert.deepEqual(lines, [
    'east: created Secret/a (how west is read)',
    'east: unchanged Namespace/b',
    'east: note: something',
  ]);
  assert.deepEqual([ledger.changes, ledger.summary()], [1, '1 created, 1 unchanged']);
});
