import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { type Clock, systemClock } from '../../../../src/base/clock.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import { lacking } from '../../../../src/measure/sandbox.ts';
import type { KubernetesAccess } from '../../../../src/watch/kubernetes-api/access.ts';
import { KubernetesApi } from '../../../../src/watch/kubernetes-api/client.ts';
import { CREDENTIALS_CHECK_MS } from '../../../../src/watch/kubernetes-api/credentials.ts';
import { FakeApiServer } from './fake-api-server.ts';
import { FakeProxy } from './fake-proxy.ts';
import { NODES } from './running-reflector.ts';
import { type KeyPair, TestCertificates } from './test-certificates.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');

let folder = '';
let server: FakeApiServer | undefined;
let lateMs = 0;
const apis: KubernetesApi[] = [];
const clock: Clock = { ...systemClock, nowMs: () => systemClock.nowMs() + lateMs };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'isthmus-credentials-'));
  lateMs = 0;
});
afterEach(async () => {
  for (const api of apis.splice(0)) api.close();
  await server?.stop();
  server = undefined;
  rmSync(folder, { recursive: true, force: true });
});

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(`${path}.next`, text);
  renameSync(`${path}.next`, path);
  return path;
}

function apiOf(access: KubernetesAccess, environment: NodeJS.ProcessEnv = {}): KubernetesApi {
  const api = new KubernetesApi(access, {
    clock,
    logger: silentLogger,
    environment,
    serviceAccountFolder: folder,
  });
  apis.push(api);
  return api;
}

function lastToken(): string | undefined {
  return server?.requests.at(-1)?.headers.authorization?.replace('Bearer ', '');
}

describe('a kubeconfig file', () => {
  beforeEach(async () => {
    server = await FakeApiServer.start({ serves: [NODES] });
  });

  it('that is replaced is read again, at once when the server says 401', async () => {
    const path = write('west.kubeconfig', server!.kubeconfig({ token: 'one' }));
    const api = apiOf({ kind: 'kubeconfig-file', path, context: undefined });
    await api.get(NODES);
    write('west.kubeconfig', server!.kubeconfig({ token: 'two' }));
    await api.get(NODES);
    assert.equal(lastToken(), 'one', 'files are not looked at for each request');
    server!.tokens = new Set(['two']);
    await api.get(NODES);
    assert.equal(lastToken(), 'two');
    write('west.kubeconfig', server!.kubeconfig({ token: 'three' }));
    lateMs += CREDENTIALS_CHECK_MS;
    server!.tokens = undefined;
    await api.get(NODES);
    assert.equal(lastToken(), 'three');
  });

  it('may name another server after a while', async () => {
    const other = await FakeApiServer.start({ serves: [NODES] });
    try {
      const path = write('west.kubeconfig', server!.kubeconfig());
      const api = apiOf({ kind: 'kubeconfig-file', path, context: 'test' });
      await api.get(NODES);
      write('west.kubeconfig', other.kubeconfig());
      lateMs += CREDENTIALS_CHECK_MS;
      await api.get(NODES);
      assert.equal(other.requests.length, 1);
      assert.equal(api.server, other.url);
    } finally {
      await other.stop();
    }
  });

  it('that is half-written or gone for a moment leaves the last credentials in force', async () => {
    const path = write('west.kubeconfig', server!.kubeconfig({ token: 'one' }));
    const api = apiOf({ kind: 'kubeconfig-file', path, context: undefined });
    await api.get(NODES);
    write('west.kubeconfig', '{"current-con');
    lateMs += CREDENTIALS_CHECK_MS;
    await api.get(NODES);
    rmSync(path);
    lateMs += CREDENTIALS_CHECK_MS;
    await api.get(NODES);
    assert.equal(lastToken(), 'one');
    server!.tokens = new Set(['two']);
    await assert.rejects(api.get(NODES), /401 Unauthorized/);
    write('west.kubeconfig', server!.kubeconfig({ token: 'two' }));
    await api.get(NODES);
  });

  it('that is not there is named', async () => {
    const path = join(folder, 'none');
    const api = apiOf({ kind: 'kubeconfig-file', path, context: undefined });
    await assert.rejects(api.get(NODES), new RegExp(`credentials of ${path}: ENOENT`));
  });
});

describe('the ServiceAccount of a pod', () => {
  it('that we do not run in is told', async () => {
    await assert.rejects(
      apiOf({ kind: 'in-cluster' }).get(NODES),
      /KUBERNETES_SERVICE_HOST and .* are not set/,
    );
    const environment = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };
    await assert.rejects(
      apiOf({ kind: 'in-cluster' }, environment).get(NODES),
      /the pod's ServiceAccount: ENOENT.*ca\.crt|token/,
    );
  });
});

describe('TLS', { skip: lacking('openssl', 'openssl') ?? false }, () => {
  let certificates: TestCertificates;
  let pair: KeyPair;
  before(() => {
    certificates = new TestCertificates();
    pair = certificates.server();
  });
  after(() => certificates.remove());

  const startServer = async (tls: KeyPair & { clientCa?: string } = pair): Promise<FakeApiServer> => {
    server = await FakeApiServer.start({ serves: [NODES], tls });
    return server;
  };
  const apiWith = (started: FakeApiServer, cluster: object, user: object = {}): KubernetesApi =>
    apiOf({ kind: 'kubeconfig-text', text: started.kubeconfig({ cluster, user }), describe: 'a test' });

  it('of the server must come from the CA, unless it is not looked at', async () => {
    const started = await startServer();
    await apiWith(started, { 'certificate-authority-data': base64(certificates.ca) }).get(NODES);
    await apiWith(started, { 'insecure-skip-tls-verify': true }).get(NODES);
    await assert.rejects(
      apiWith(started, {}).get(NODES),
      /GET \/api\/v1\/nodes at https:\/\/127.*: unable to verify the first certificate/,
    );
    assert.equal(started.requests.length, 2);
  });

  it('of a server with another name needs tls-server-name', async () => {
    const started = await startServer(certificates.namedServer());
    const ca = { 'certificate-authority-data': base64(certificates.ca) };
    await assert.rejects(apiWith(started, ca).get(NODES), /does not match certificate's altnames/);
    await apiWith(started, { ...ca, 'tls-server-name': 'kubernetes' }).get(NODES);
  });

  it('with a CA or key that cannot be read is refused by name', async () => {
    const started = await startServer();
    const bad = '-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n';
    await assert.rejects(
      apiWith(started, {}, { 'client-certificate-data': base64(bad), 'client-key-data': base64(bad) }).get(
        NODES,
      ),
      /https:\/\/127\.0\.0\.1:\d+: the CA, client certificate or key cannot be used: /,
    );
  });

  it('runs end to end through a proxy', async () => {
    const started = await startServer();
    const proxy = await FakeProxy.start();
    try {
      const cluster = { 'certificate-authority-data': base64(certificates.ca), 'proxy-url': proxy.url };
      await apiWith(started, cluster).get(NODES);
      assert.deepEqual(proxy.targets, [`127.0.0.1:${started.port}`]);
      await assert.rejects(apiWith(started, { 'proxy-url': proxy.url }).get(NODES), /unable to verify/);
    } finally {
      await proxy.stop();
    }
  });

  it('with a client certificate that is replaced goes on with the new one', async () => {
    const started = await startServer({ ...pair, clientCa: certificates.ca });
    const ca = { 'certificate-authority-data': base64(certificates.ca) };
    await assert.rejects(apiWith(started, ca).get(NODES), /at https:\/\/127/);
    const write2 = (name: string): void => {
      const { cert, key } = certificates.client(name);
      write('gw.crt', cert);
      write('gw.key', key);
    };
    write2('first');
    const user = { 'client-certificate': 'gw.crt', 'client-key': 'gw.key' };
    const path = write('kubeconfig', started.kubeconfig({ cluster: ca, user }));
    const api = apiOf({ kind: 'kubeconfig-file', path, context: undefined });
    await api.get(NODES);
    write2('second');
    lateMs += CREDENTIALS_CHECK_MS;
    await api.get(NODES);
    assert.deepEqual(started.clientNames, ['first', 'second']);
  });

  it('and the rotated token of a pod work as the kubelet mounts them', async () => {
    const started = await startServer();
    write('ca.crt', certificates.ca);
    write('token', 'one\n');
    const environment = {
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: String(started.port),
    };
    const api = apiOf({ kind: 'in-cluster' }, environment);
    started.tokens = new Set(['one']);
    await api.get(NODES);
    write('token', 'two\n');
    started.tokens = new Set(['two']);
    await api.get(NODES);
    assert.equal(started.requests.length, 3, 'one 401 in between');
  });
});
