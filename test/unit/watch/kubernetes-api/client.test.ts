import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { systemClock } from '../../../../src/base/clock.ts';
import { GatewayError } from '../../../../src/base/errors.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import type { KubernetesAccess } from '../../../../src/watch/kubernetes-api/access.ts';
import { ApiError } from '../../../../src/watch/kubernetes-api/api-error.ts';
import { KubernetesApi, type KubernetesApiOptions } from '../../../../src/watch/kubernetes-api/client.ts';
import { sendJson, sendStatus } from './fake-answers.ts';
import { FakeApiServer } from './fake-api-server.ts';
import { FakeProxy } from './fake-proxy.ts';
import { NODES, node } from './running-reflector.ts';

let server: FakeApiServer;
let proxy: FakeProxy;
const apis: KubernetesApi[] = [];

beforeEach(async () => {
  server = await FakeApiServer.start({ serves: [NODES] });
  proxy = await FakeProxy.start();
  server.put(NODES, node('n1', '10.0.1.0/24'));
});
afterEach(async () => {
  for (const api of apis.splice(0)) api.close();
  await proxy.stop();
  await server.stop();
});

function apiOf(access: KubernetesAccess, options: Partial<KubernetesApiOptions> = {}): KubernetesApi {
  const api = new KubernetesApi(access, {
    clock: systemClock,
    logger: silentLogger,
    environment: {},
    ...options,
  });
  apis.push(api);
  return api;
}

function apiWith(parts: Parameters<FakeApiServer['kubeconfig']>[0]): KubernetesApi {
  return apiOf({ kind: 'kubeconfig-text', text: server.kubeconfig(parts), describe: 'Secret a/b' });
}

async function failure(promise: Promise<unknown>): Promise<ApiError> {
  try {
    await promise;
  } catch (thrown) {
    assert.ok(thrown instanceof ApiError, String(thrown));
    assert.equal(thrown.code, 'ISTHMUS_ERR_KUBERNETES');
    return thrown;
  }
  assert.fail('it succeeded');
}

describe('a request', () => {
  it('carries the token, impersonation and a body, and gives what came back', async () => {
    const api = apiWith({ token: 'secret', user: { as: 'gw', 'as-groups': ['a', 'b'] } });
    assert.equal(api.server, 'Secret a/b', 'nothing is read before it is needed');
    const { status, body } = await api.request('PATCH', `${NODES}/n1`, {
      body: { metadata: { labels: { app: 'x' } } },
      contentType: 'application/merge-patch+json',
    });
    assert.equal(status, 200);
    assert.deepEqual((body as ReturnType<typeof node>).spec, { podCIDR: '10.0.1.0/24' });
    const { headers, verb } = server.requests[0]!;
    assert.equal(verb, 'patch');
    assert.equal(headers.authorization, 'Bearer secret');
    assert.equal(headers['impersonate-user'], 'gw');
    assert.equal(headers['content-type'], 'application/merge-patch+json');
    assert.equal(headers['user-agent'], 'isthmus');
    assert.equal(api.server, server.url);
    assert.deepEqual(await api.get(`${NODES}/n1`), server.store.get(NODES, 'n1'));
  });

  it('goes below the path of the server, and with a user name where there is no token', async () => {
    server.fault({ respond: (response) => sendJson(response, 200, {}) });
    const api = apiWith({
      cluster: { server: `${server.url}/k8s/clusters/c-1/` },
      user: { username: 'gw', password: 'p' },
    });
    await api.get('/version');
    assert.equal(server.requests[0]?.path, '/k8s/clusters/c-1/version');
    assert.equal(
      server.requests[0]?.headers.authorization,
      `Basic ${Buffer.from('gw:p').toString('base64')}`,
    );
  });

  it('that is refused names method, resource, server, answer and what to do', async () => {
    const api = apiWith({});
    const cases: [string, string, number, string, RegExp][] = [
      [
        'GET',
        '/api/v1/nodes/n1',
        403,
        'nodes',
        /right to get nodes is missing.*\{apiGroups: \[""\], resources: \["nodes"\], verbs: \["get", "list", "watch"\]\}$/,
      ],
      [
        'PATCH',
        '/apis/isthmus.network/v1alpha1/remoteclusters/west/status',
        403,
        'remoteclusters.isthmus.network/status',
        /\{apiGroups: \["isthmus\.network"\], resources: \["remoteclusters\/status"\], verbs: \["patch"\]\}$/,
      ],
      [
        'DELETE',
        '/api/v1/namespaces/a/secrets/s',
        403,
        'secrets',
        /right to delete secrets is missing.*verbs: \["delete"\]/,
      ],
      ['PUT', '/api/v1/namespaces/a', 403, 'namespaces', /right to update namespaces/],
      ['POST', '/api/v1/namespaces/a/secrets', 409, 'secrets', /409 AlreadyExists: "test" cannot create/],
      ['GET', '/version', 500, '/version', /500 InternalError: "test" cannot [a-z]+ \/version$/],
      ['GET', '/version', 403, '/version', /403 Forbidden: "test" cannot [a-z]+ \/version$/],
    ];
    for (const [method, path, status, resource, message] of cases) {
      const lift = server.refuse(status);
      const error = await failure(api.request(method, path));
      lift();
      assert.ok(error.message.startsWith(`${method} ${path} at ${server.url}: ${status} `), error.message);
      assert.match(error.message, message);
      assert.equal(error.status, status);
      assert.equal(error.resource, resource);
      assert.equal(error.retryAfterMs, undefined);
    }
  });

  it('that meets something else than the API shows the beginning of what it says', async () => {
    server.fault({
      respond: (response) => response.writeHead(502).end(`<html>\n\n  bad   gateway ${'x'.repeat(5000)}`),
    });
    const error = await failure(apiWith({}).get(NODES));
    assert.match(error.message, /502 Bad Gateway: <html> bad gateway xxx/);
    assert.ok(error.message.length < 500);
  });

  it('learns from Retry-After how long to wait, but not for ever', async () => {
    const api = apiWith({});
    for (const [header, wanted] of [
      ['7', 7000],
      ['86400', 60_000],
      ['soon', undefined],
    ] as const) {
      server.fault({
        times: 1,
        respond: (response) => sendStatus(response, 429, 'slow down', { 'Retry-After': header }),
      });
      assert.equal((await failure(api.get(NODES))).retryAfterMs, wanted);
    }
  });

  it('is sent again when the server has just closed the connection that was kept for it', async () => {
    const api = apiWith({});
    await api.get(NODES);
    server.reset({ times: 1 });
    await api.get(NODES);
    assert.equal(server.requests.length, 3);
    server.reset({ times: 1 });
    const error = await failure(api.request('PATCH', `${NODES}/n1`, { body: {} }));
    assert.equal(error.reason, 'ECONNRESET', 'who knows whether a change was made is the caller');
    assert.equal(error.status, 0);
  });

  it('ends with its signal and the reason of that', async () => {
    server.hang();
    const abort = new AbortController();
    const waiting = apiWith({}).get(NODES, abort.signal);
    const reason = new Error('enough');
    abort.abort(reason);
    await assert.rejects(waiting, (thrown) => thrown === reason);
    await assert.rejects(apiWith({}).get(NODES, abort.signal), (thrown) => thrown === reason);
  });

  it('is not sent with credentials that cannot be used', async () => {
    const api = apiWith({ user: { exec: { command: 'aws' } } });
    await assert.rejects(
      api.get(NODES),
      (thrown) =>
        thrown instanceof GatewayError && /Secret a\/b: users\[test\]\.user\.exec/.test(thrown.message),
    );
    assert.match(
      (await failure(apiWith({ token: 'two\nlines' }).get(NODES))).message,
      /Invalid character in header/,
    );
    assert.equal(server.requests.length, 0);
  });
});

describe('a proxy', () => {
  it('of the kubeconfig carries everything', async () => {
    const api = apiWith({ cluster: { 'proxy-url': proxy.url } });
    await api.get(NODES);
    assert.deepEqual(proxy.targets, [`127.0.0.1:${server.port}`]);
    const response = await api.open(NODES, { query: { watch: '1', resourceVersion: server.store.version } });
    assert.equal(server.watching, 1);
    response.destroy();
  });

  it('is given the name and password of its URL, which no message shows', async () => {
    proxy.authorization = `Basic ${Buffer.from('me:pa ss').toString('base64')}`;
    await apiWith({ cluster: { 'proxy-url': proxy.url.replace('//', '//me:pa%20ss@') } }).get(NODES);
    const wrong = apiWith({ cluster: { 'proxy-url': proxy.url.replace('//', '//me:hunter2@') } });
    await assert.rejects(wrong.get(NODES), (thrown) => {
      assert.ok(thrown instanceof GatewayError);
      assert.match(
        thrown.message,
        /^proxy http:\/\/127\.0\.0\.1:\d+: it refused a connection to 127\.0\.0\.1:\d+: 407 Refused$/,
      );
      return true;
    });
  });

  it('that is gone or none is named', async () => {
    const gone = apiWith({ cluster: { 'proxy-url': 'http://127.0.0.1:1' } });
    await assert.rejects(gone.get(NODES), /proxy http:\/\/127\.0\.0\.1:1: connect ECONNREFUSED/);
    const none = apiWith({ cluster: { 'proxy-url': server.url } });
    await assert.rejects(none.get(NODES), /proxy http.*: /);
    const socks = apiWith({ cluster: { 'proxy-url': 'socks5://127.0.0.1:1080' } });
    await assert.rejects(socks.get(NODES), /SOCKS proxies are not supported/);
  });
});
