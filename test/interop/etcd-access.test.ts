import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { lacking } from '../../src/measure/sandbox.ts';
import { run } from '../../src/measure/topology.ts';
import { EtcdApi } from '../../src/watch/etcd-api/api.ts';
import type { EtcdError } from '../../src/watch/etcd-api/error.ts';
import { EtcdServer, type EtcdServerOptions, type EtcdTls, lacksEtcd } from '../fixtures/etcd-server.ts';
import { until } from '../unit/watch/running-watcher.ts';
import { Started } from './etcd-gateway.ts';

const KEY = '/isthmus/v1/clusters/';

async function withServer(
  options: EtcdServerOptions,
  body: (server: EtcdServer, started: Started) => Promise<void>,
): Promise<void> {
  const started = new Started();
  const server = started.add(await EtcdServer.start(options), (it) => it.close());
  try {
    await body(server, started);
  } finally {
    await started.end();
  }
}

function etcdTest(name: string, options: EtcdServerOptions, body: Parameters<typeof withServer>[1]): void {
  test(name, { skip: lacksEtcd() ?? false }, () => withServer(options, body));
}

function apiOf(started: Started, access: ConstructorParameters<typeof EtcdApi>[0]): EtcdApi {
  return started.add(new EtcdApi(access), async (it) => it.close());
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** Users and roles as docs/etcd.md has them, and a reader that may not write. Resolves with the token of root. */
async function enableAuth(server: EtcdServer): Promise<string> {
  const range = (prefix: string) => ({ key: base64(`${prefix}/`), range_end: base64(`${prefix}0`) });
  const all = { permType: 'READ', ...range('/isthmus/v1/clusters') };
  for (const name of ['root', 'east', 'west', 'reader'])
    await server.call('/v3/auth/user/add', { name, password: `${name}-password` });
  for (const name of ['east', 'west', 'reader']) {
    const own = { permType: 'READWRITE', ...range(`/isthmus/v1/clusters/${name}`) };
    await server.call('/v3/auth/role/add', { name });
    for (const perm of name === 'reader' ? [all] : [all, own])
      await server.call('/v3/auth/role/grant', { name, perm });
    await server.call('/v3/auth/user/grant', { user: name, role: name });
  }
  await server.call('/v3/auth/role/add', { name: 'root' });
  await server.call('/v3/auth/user/grant', { user: 'root', role: 'root' });
  await server.call('/v3/auth/enable', {});
  const { token } = await server.call<{ token: string }>('/v3/auth/authenticate', {
    name: 'root',
    password: 'root-password',
  });
  return token;
}

etcdTest(
  'a user is announced and reads; its token may end at any time',
  { flags: ['--auth-token-ttl=1'] },
  async (server, started) => {
    await enableAuth(server);
    const access = (username: string) => ({
      endpoints: [server.endpoint],
      username,
      password: () => `${username}-password`,
    });
    const limits = { probeAfterMs: 2500, lagMs: 500 };
    const a = started.gateway({
      access: access('east'),
      limits,
      cluster: 'east',
      gateway: 'gw-1',
      address: '172.31.0.1',
      cidrs: ['10.1.0.0/16'],
    });
    const b = started.gateway({
      access: access('west'),
      limits,
      cluster: 'west',
      gateway: 'gw-1',
      address: '172.31.0.2',
      cidrs: ['10.2.0.0/16'],
    });
    await a.running.shows('10.2.0.0/16 west');
    await b.running.shows('10.1.0.0/16 east');
    // Restarted, it knows no token of before; and unused for a second it forgets them.
    await server.kill();
    await a.running.isStale(/ECONNREFUSED/);
    await server.restart();
    await a.running.isFresh();
    b.become('172.31.0.2', ['10.3.0.0/16']);
    await a.running.shows('10.3.0.0/16 west');
    const heardAt = a.list.lastEventMs ?? 0;
    await until(
      () => (a.list.lastEventMs ?? 0) > heardAt,
      () => a.list,
    );
    assert.equal(a.list.problem, null);
  },
);

etcdTest(
  'what a user lacks is named, and watching goes on where only writing is refused',
  {},
  async (server, started) => {
    const token = await enableAuth(server);
    const gateway = { cluster: 'east', gateway: 'gw-1', address: '172.31.0.1', cidrs: ['10.1.0.0/16'] };
    const endpoints = [server.endpoint];
    const nobody = started.gateway({ access: { endpoints }, ...gateway });
    await nobody.running.isStale(
      /reading \/isthmus\/v1\/clusters\/: http:.*: 400 user name is empty; etcd asks for a user, and none is configured/,
    );
    const mistyped = started.gateway({
      access: { endpoints, username: 'east', password: 'wrong' },
      ...gateway,
    });
    await mistyped.running.isStale(
      /as user "east": 400 .*authentication failed, invalid user ID or password/,
    );
    const reader = started.gateway({
      access: { endpoints, username: 'reader', password: 'reader-password' },
      ...gateway,
    });
    await server.put(`${KEY}west/gateways/gw-1`, '{"address":"172.31.0.2","cidrs":["10.2.0.0/16"]}', token);
    await reader.running.shows('10.2.0.0/16 west');
    await until(
      () => reader.announcement.problem !== null,
      () => reader.announcement,
    );
    assert.match(
      reader.announcement.problem ?? '',
      /writing .*east\/gateways\/gw-1: .*: 403 permission denied for user "reader"/,
    );
    assert.equal(reader.list.problem, null);
  },
);

etcdTest(
  'a right that is taken away leaves what was learned; given back, the watch goes on',
  {},
  async (server, started) => {
    const token = await enableAuth(server);
    const access = { endpoints: [server.endpoint], username: 'reader', password: 'reader-password' };
    const limits = { probeAfterMs: 200, lagMs: 200 };
    const a = started.gateway({ access, limits, register: false, cluster: 'east', gateway: 'gw-1' });
    await server.put(`${KEY}west/gateways/gw-1`, '{"address":"172.31.0.2","cidrs":["10.2.0.0/16"]}', token);
    await a.running.shows('10.2.0.0/16 west');
    await server.call('/v3/auth/user/revoke', { name: 'reader', role: 'reader' }, token);
    await a.running.isStale(/permission denied/);
    assert.deepEqual(a.running.routes, ['10.2.0.0/16 west']);
    await server.call('/v3/auth/user/grant', { user: 'reader', role: 'reader' }, token);
    await a.running.isFresh();
    await server.put(`${KEY}west/gateways/gw-1`, '{"address":"172.31.0.2","cidrs":["10.3.0.0/16"]}', token);
    await a.running.shows('10.3.0.0/16 west');
  },
);

etcdTest('a user where etcd asks for none is no error', {}, async (server, started) => {
  const api = apiOf(started, { endpoints: [server.endpoint], username: 'east', password: 'x' });
  assert.equal(await api.get('/nothing'), undefined);
  // Switched on later, it is asked for.
  await enableAuth(server);
  await assert.rejects(api.get(`${KEY}x`), /invalid user ID or password/);
});

async function makeCertificates(folder: string): Promise<void> {
  const openssl = (...words: string[]): Promise<string> => run(['openssl', ...words]);
  const file = (name: string): string => join(folder, name);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await openssl(
    ...['req', '-x509', ...key, '-subj', '/CN=test CA', '-days', '2'],
    ...['-keyout', file('ca.key'), '-out', file('ca.crt')],
  );
  for (const name of ['server', 'client']) {
    await openssl(
      ...['req', '-x509', ...key, '-subj', `/CN=${name}`, '-days', '2'],
      ...['-CA', file('ca.crt'), '-CAkey', file('ca.key')],
      ...['-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE'],
      ...['-addext', 'extendedKeyUsage=serverAuth,clientAuth'],
      ...['-keyout', file(`${name}.key`), '-out', file(`${name}.crt`)],
    );
  }
}

test('certificates of both sides are checked, and ours may be rotated', {
  skip: lacksEtcd() ?? lacking('openssl', 'openssl') ?? false,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-tls-'));
  const text = (name: string): string => readFileSync(join(folder, name), 'utf8');
  try {
    await makeCertificates(folder);
    const tls: EtcdTls = {
      ...{ ca: join(folder, 'ca.crt'), cert: join(folder, 'server.crt'), key: join(folder, 'server.key') },
      clientCertificates: true,
    };
    await withServer({ tls }, async (server, started) => {
      const endpoints = [server.endpoint];
      let files = { cert: 'server.crt', key: 'client.key' };
      const access = {
        endpoints,
        ca: text('ca.crt'),
        cert: () => text(files.cert),
        key: () => text(files.key),
      };
      const gateway = {
        access,
        cluster: 'east',
        gateway: 'gw-1',
        address: '172.31.0.1',
        cidrs: ['10.1.0.0/16'],
      };
      const a = started.gateway(gateway);
      await a.running.isStale(/key values mismatch/);
      files = { cert: 'client.crt', key: 'client.key' };
      const b = started.gateway({
        ...gateway,
        cluster: 'west',
        address: '172.31.0.2',
        cidrs: ['10.2.0.0/16'],
      });
      await a.running.shows('10.2.0.0/16 west');
      await b.running.shows('10.1.0.0/16 east');
      await assert.rejects(
        apiOf(started, { endpoints }).get('/x'),
        /unable to verify|self.signed certificate/,
      );
      await assert.rejects(
        apiOf(started, { endpoints, ca: text('ca.crt') }).get('/x'),
        /certificate|bad certificate|hang up|ECONNRESET/,
      );
      const plain = server.endpoint.replace('https:', 'http:');
      await assert.rejects(
        apiOf(started, { endpoints: [plain] }).get('/x'),
        /HTTP request to an HTTPS server|ECONNRESET|hang up/,
      );
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

etcdTest('a reading in pages is of one revision', {}, async (server, started) => {
  const api = apiOf(started, { endpoints: [server.endpoint] });
  const key = (n: number): string => `/many/${String(n).padStart(5, '0')}`;
  for (let from = 0; from < 2500; from += 100) {
    const puts = Array.from({ length: 100 }, (_, i) => ({
      request_put: { key: base64(key(from + i)), value: base64('v') },
    }));
    await server.call('/v3/kv/txn', { success: puts });
  }
  const seen: string[] = [];
  const revisions = new Set<number>();
  for await (const page of api.pages('/many/')) {
    if (seen.length === 0) await server.remove(key(2400));
    seen.push(...page.entries.map((entry) => entry.key));
    revisions.add(page.revision);
    assert.equal(page.isLast, seen.length === 2500);
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 2500 }, (_, n) => key(n)),
  );
  assert.equal(revisions.size, 1);
});

etcdTest('what a watch tells in fragments is put together', {}, async (server, started) => {
  const api = apiOf(started, { endpoints: [server.endpoint] });
  // Three at once are more than etcd sends in one piece.
  const values = ['a', 'b', 'c'].map((letter) => letter.repeat(1_000_000));
  for (const [i, value] of values.entries())
    assert.equal(await api.putIf({ key: `/big/${i}`, value, lease: '0', modRevision: 0 }), true);
  const abort = new AbortController();
  const got: string[] = [];
  await assert.rejects(
    async () => {
      for await (const message of api.watch('/big/', 1, abort.signal)) {
        if (message.kind === 'events') got.push(...message.events.map(({ value }) => value ?? ''));
        if (got.length === values.length) abort.abort();
      }
    },
    (error: EtcdError) => error.passing,
  );
  assert.deepEqual(
    got.map((value) => value.length),
    values.map((value) => value.length),
  );
  assert.deepEqual(got, values);
});
