import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { parseConfig } from '../../src/config/load.ts';
import { isInsideSandbox, SANDBOX_FOLDER } from '../../src/measure/sandbox.ts';
import { poll } from '../../src/measure/topology.ts';
import { KubeApiServer, kubeApiServerMissing } from '../fixtures/kube-api-server.ts';
import type { KubeObject } from '../fixtures/kube-client.ts';
import { type KubectlResult, kubectl, kubectlMissing } from '../fixtures/kubectl.ts';

/** deploy/ as kubectl builds it and as a real API server judges it. */
const DEPLOY = fileURLToPath(new URL('../../../deploy/', import.meta.url));

const skip = isInsideSandbox()
  ? (kubeApiServerMissing() ?? kubectlMissing() ?? false)
  : 'needs the sandbox that npm test -- interop makes';

async function build(folder: string): Promise<KubeObject[]> {
  const built = await kubectl(['kustomize', join(DEPLOY, folder)]);
  assert.equal(built.status, 0, built.log);
  return parseAllDocuments(built.stdout).map((document) => document.toJS() as KubeObject);
}

const remoteCluster = (name: string, spec: object) => ({
  apiVersion: 'isthmus.network/v1alpha1',
  kind: 'RemoteCluster',
  metadata: { name },
  spec,
});
const tunnelGateway = (name: string, spec: object) => ({
  apiVersion: 'isthmus.network/v1alpha1',
  kind: 'TunnelGateway',
  metadata: { name },
  spec,
});

const ACCESS = { secretRef: { namespace: 'isthmus-system', name: 'west-access' } };
const STATIC = { cidrs: ['10.2.0.0/16'], gateways: [{ address: '172.31.0.2' }] };

const GOOD = {
  'access alone': remoteCluster('west', { access: ACCESS }),
  'CIDRs and gateways alone': remoteCluster('west', STATIC),
  'an IPv6 CIDR beside one of IPv4': remoteCluster('west', {
    ...STATIC,
    cidrs: ['10.2.0.0/16', 'fd00:2::/48'],
  }),
  'everything at once': remoteCluster('west', {
    access: { ...ACCESS, source: 'Calico', aggregate: 'Block' },
    ...STATIC,
    gatewaySelection: { mode: 'Labels', selector: 'isthmus.network/gateway=true,!broken' },
    serviceCidrs: ['10.112.0.0/16'],
    dns: { address: '10.112.0.10', domain: 'cluster.local' },
  }),
  'a gateway of weight 0': remoteCluster('west', {
    ...STATIC,
    gateways: [{ address: '172.31.0.2', weight: 0 }],
  }),
  'a gateway that is a node': tunnelGateway('worker-1', { nodeName: 'worker-1' }),
  'a gateway that is an address': tunnelGateway('edge', {
    address: '172.31.0.2',
    weight: 1000,
    clusters: ['west'],
  }),
};

/** Object and what the refusal has to name. */
const BAD: Record<string, readonly [object, RegExp]> = {
  'neither access nor CIDRs': [remoteCluster('west', {}), /spec/],
  'CIDRs without gateways': [remoteCluster('west', { cidrs: STATIC.cidrs }), /gateways/],
  'no spec': [{ ...remoteCluster('west', {}), spec: undefined }, /spec/],
  'a name that is no DNS label': [remoteCluster('west.example', STATIC), /metadata\.name/],
  'access without a Secret': [remoteCluster('west', { access: { source: 'Calico' } }), /secretRef/],
  'a Secret without a namespace': [
    remoteCluster('west', { access: { secretRef: { name: 'west-access' } } }),
    /namespace/,
  ],
  'a source that does not exist': [
    remoteCluster('west', { access: { ...ACCESS, source: 'Flannel' } }),
    /Kubernetes.*Calico.*Cilium/,
  ],
  'a CIDR without a length': [remoteCluster('west', { ...STATIC, cidrs: ['10.2.0.0'] }), /spec\.cidrs/],
  'a CIDR with an octet of 256': [
    remoteCluster('west', { ...STATIC, cidrs: ['10.256.0.0/16'] }),
    /spec\.cidrs/,
  ],
  'a CIDR with a length of 33': [remoteCluster('west', { ...STATIC, cidrs: ['10.2.0.0/33'] }), /spec\.cidrs/],
  'a list of no CIDRs': [remoteCluster('west', { ...STATIC, cidrs: [] }), /spec\.cidrs/],
  'a gateway that is a name': [
    remoteCluster('west', { ...STATIC, gateways: [{ address: 'gw.example' }] }),
    /spec\.gateways/,
  ],
  'the same gateway twice': [
    remoteCluster('west', { ...STATIC, gateways: [{ address: '172.31.0.2' }, { address: '172.31.0.2' }] }),
    /Duplicate/,
  ],
  'a weight of 1001': [
    remoteCluster('west', { ...STATIC, gateways: [{ address: '172.31.0.2', weight: 1001 }] }),
    /weight/,
  ],
  'labels without a selector': [
    remoteCluster('west', { access: ACCESS, gatewaySelection: { mode: 'Labels' } }),
    /selector/,
  ],
  'a selector without labels': [
    remoteCluster('west', { access: ACCESS, gatewaySelection: { selector: 'a=b' } }),
    /gatewaySelection/,
  ],
  'a resolver without a domain': [
    remoteCluster('west', { ...STATIC, dns: { address: '10.112.0.10' } }),
    /domain/,
  ],
  'a field that does not exist': [remoteCluster('west', { ...STATIC, gateway: '172.31.0.2' }), /gateway/],
  'a gateway that is nothing': [tunnelGateway('edge', { weight: 1 }), /nodeName|address/],
  'a negative weight': [tunnelGateway('edge', { nodeName: 'worker-1', weight: -1 }), /weight/],
  'a served cluster named twice': [
    tunnelGateway('edge', { nodeName: 'worker-1', clusters: ['west', 'west'] }),
    /Duplicate/,
  ],
};

describe('deploy', { skip }, () => {
  let server: KubeApiServer;
  let kubeconfig = '';

  before(async () => {
    const folder = mkdtempSync(join(SANDBOX_FOLDER, 'deploy-'));
    server = await KubeApiServer.start({ folder: join(folder, 'server') });
    kubeconfig = join(folder, 'kubeconfig');
    writeFileSync(kubeconfig, server.kubeconfig());
    const applied = await kubectl(['apply', '-k', join(DEPLOY, 'crds')], { kubeconfig });
    assert.equal(applied.status, 0, applied.log);
    await server.admin.create('/api/v1/namespaces', {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'isthmus-system' },
    });
    // An object of a kind that was just made is refused until the server serves the kind.
    await poll('the CRDs', 20_000, async () => {
      const paths = ['remoteclusters', 'tunnelgateways'].map(
        (kind) => `/apis/isthmus.network/v1alpha1/${kind}`,
      );
      const replies = await Promise.all(paths.map((path) => server.admin.request('GET', path)));
      return replies.every(({ status }) => status === 200);
    });
  });
  after(async () => {
    await server?.close();
  });

  const judge = (input: object): Promise<KubectlResult> =>
    kubectl(['apply', '--dry-run=server', '--validate=strict', '-f', '-'], {
      kubeconfig,
      input: JSON.stringify(input),
    });

  for (const folder of ['base', 'overlays/edge-nodes']) {
    test(`every manifest of deploy/${folder} passes the strict dry run of a real API server`, async () => {
      const objects = await build(folder);
      assert.ok(objects.length >= 10, `${objects.length} objects`);
      for (const object of objects) {
        const isBudget = object.kind === 'PodDisruptionBudget';
        // policy/v1 came with 1.21; its v1beta1 has the same fields, and left with 1.25.
        const known =
          isBudget && (await server.admin.find('/apis/policy/v1')) === undefined
            ? { ...object, apiVersion: 'policy/v1beta1' }
            : object;
        const { status, log } = await judge(known);
        assert.equal(status, 0, `${object.kind}/${object.metadata.name}: ${log}`);
      }
    });
  }

  for (const [name, object] of Object.entries(GOOD)) {
    test(`the schema accepts ${name}`, async () => {
      const { status, log } = await judge(object);
      assert.equal(status, 0, log);
    });
  }

  for (const [name, [object, named]] of Object.entries(BAD)) {
    test(`the schema refuses ${name}`, async () => {
      const { status, log } = await judge(object);
      assert.notEqual(status, 0, log);
      assert.match(log, named);
    });
  }

  test('the status of a RemoteCluster is written beside its spec, and each gateway has its own entry', async () => {
    const path = '/apis/isthmus.network/v1alpha1/remoteclusters';
    await server.admin.create(path, remoteCluster('west', STATIC));
    const apply = async (gateway: string, routes: number): Promise<void> => {
      const body = {
        ...remoteCluster('west', {}),
        spec: undefined,
        status: { gateways: [{ name: gateway, ready: true, routes, message: '' }] },
      };
      const reply = await server.admin.request('PATCH', `${path}/west/status?fieldManager=${gateway}`, {
        body,
        type: 'application/apply-patch+yaml',
      });
      server.admin.expect(reply, [200]);
    };
    await apply('gw-1', 3);
    await apply('gw-2', 5);
    await apply('gw-1', 4);
    const { spec, status } = (await server.admin.get(`${path}/west`)) as KubeObject & {
      status: { gateways: { name: string; routes: number }[] };
    };
    assert.deepEqual(spec, STATIC);
    assert.deepEqual(status.gateways.map(({ name, routes }) => `${name} ${routes}`).toSorted(), [
      'gw-1 4',
      'gw-2 5',
    ]);
    await server.admin.delete(`${path}/west`);
  });

  test('the gateway may read, and write nothing but the status of our objects', async () => {
    const [role] = (await build('base')).filter(({ kind }) => kind === 'ClusterRole');
    const rules = role!.rules as { resources: string[]; verbs: string[] }[];
    for (const { resources, verbs } of rules) {
      const isStatus = resources.every((resource) => resource.endsWith('/status'));
      const allowed = isStatus ? ['patch'] : ['get', 'list', 'watch'];
      assert.deepEqual(
        verbs.filter((verb) => !allowed.includes(verb)),
        [],
      );
      assert.ok(!resources.includes('secrets'));
    }
  });
});

test('the folder that docs/install-kubernetes.md asks for builds, with its own configuration and image', {
  skip,
}, async () => {
  const page = readFileSync(join(DEPLOY, '../docs/install-kubernetes.md'), 'utf8');
  const blocks = [...page.matchAll(/^ {3}```yaml\n([\s\S]*?)^ {3}```$/gm)].map(([, text = '']) =>
    text.replaceAll(/^ {3}/gm, ''),
  );
  const [configuration = '', kustomization = ''] = blocks;
  assert.equal(parseConfig(configuration, 'isthmus.yaml').problems, undefined);
  const folder = mkdtempSync(join(SANDBOX_FOLDER, 'mine-'));
  writeFileSync(join(folder, 'isthmus.yaml'), configuration);
  const base = relative(folder, join(DEPLOY, 'base'));
  writeFileSync(join(folder, 'kustomization.yaml'), kustomization.replace('../isthmus/deploy/base', base));
  const built = await kubectl(['kustomize', folder]);
  assert.equal(built.status, 0, built.log);
  const objects = parseAllDocuments(built.stdout).map((document) => document.toJS() as KubeObject);
  const map = objects.find(({ kind }) => kind === 'ConfigMap');
  assert.deepEqual(map?.data, { 'isthmus.yaml': configuration });
  assert.match(built.stdout, /image: registry\.example\/isthmus:0\.1\.0/);
});

test('the configuration of deploy/base is valid', () => {
  const text = readFileSync(join(DEPLOY, 'base/isthmus.yaml'), 'utf8');
  assert.equal(parseConfig(text, 'isthmus.yaml').problems, undefined);
});

test('every manifest of the DaemonSet says what it may do, and may do no more', { skip }, async () => {
  const daemonSet = (await build('base')).find(({ kind }) => kind === 'DaemonSet')!;
  const { template } = daemonSet.spec as {
    template: { spec: { containers: { securityContext: object }[] } };
  };
  assert.deepEqual(
    template.spec.containers.map(({ securityContext }) => securityContext),
    [
      {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW'] },
      },
    ],
  );
});
