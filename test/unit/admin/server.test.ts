import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterEach, test } from 'node:test';
import { ADMIN_ROUTES } from '../../../src/admin/routes.ts';
import { ADMIN_LIMITS, type AdminServer, startAdminServer } from '../../../src/admin/server.ts';
import type { GatewayView, TraceQuery } from '../../../src/admin/view.ts';
import { GatewayError } from '../../../src/base/errors.ts';
import { type Logger, silentLogger } from '../../../src/base/log.ts';
import { fakeContext, PEERS, REFUSED, ROUTES, STATUS, TRACE } from './fake-view.ts';
import { ask, exchange } from './http.ts';

const servers: AdminServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function serve(replaced: Partial<GatewayView> = {}, log: Logger = silentLogger): Promise<string> {
  const server = await startAdminServer({ ...fakeContext(replaced), listen: '127.0.0.1:0', log });
  servers.push(server);
  return server.address;
}

for (const [path, value] of [
  ['/api/v1/status', STATUS],
  ['/api/v1/routes', ROUTES],
  ['/api/v1/routes/refused', REFUSED],
  ['/api/v1/peers', PEERS],
  ['/api/v1/trace?destination=10.2.3.4', TRACE],
  ['/readyz', { ready: true, reasons: [] }],
] as const) {
  test(`GET ${path} answers with JSON that must not be stored`, async () => {
    const { status, headers, body } = await ask(await serve(), path);
    assert.equal(status, 200);
    assert.equal(headers['content-type'], 'application/json; charset=utf-8');
    assert.equal(headers['cache-control'], 'no-store');
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['access-control-allow-origin'], undefined);
    assert.deepEqual(JSON.parse(body), value);
  });
}

test('metrics, health, configuration and index are text', async () => {
  const address = await serve();
  const metrics = await ask(address, '/metrics');
  assert.equal(metrics.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  assert.equal(metrics.body, 'isthmus_ready 1\n');
  assert.equal((await ask(address, '/healthz')).body, 'ok\n');
  const configuration = await ask(address, '/api/v1/configuration');
  assert.equal(configuration.headers['content-type'], 'application/yaml; charset=utf-8');
  assert.equal(configuration.body, 'cluster:\n  name: east\n');
  const index = await ask(address, '/');
  assert.equal(index.headers['content-type'], 'text/plain; charset=utf-8');
  for (const { method, path } of ADMIN_ROUTES)
    assert.ok(index.body.includes(`${method.padEnd(4)} ${path} `), path);
});

test('a gateway that is not ready answers 503 with the reasons, and is healthy all the same', async () => {
  const address = await serve({ readiness: () => ({ ready: false, reasons: ['no worker runs'] }) });
  const { status, body } = await ask(address, '/readyz');
  assert.equal(status, 503);
  assert.deepEqual(JSON.parse(body), { ready: false, reasons: ['no worker runs'] });
  assert.equal((await ask(address, '/healthz')).status, 200);
});

test('a reload answers 200, and 422 when the file is bad', async () => {
  let result = { ok: true, changed: ['log.level'], restartNeeded: [], error: null as string | null };
  const address = await serve({ reload: async () => result });
  const good = await ask(address, '/api/v1/reload', { method: 'POST' });
  assert.equal(good.status, 200);
  assert.deepEqual(JSON.parse(good.body), result);
  result = { ok: false, changed: [], restartNeeded: [], error: 'east.yaml:1:1: bad' };
  const bad = await ask(address, '/api/v1/reload', { method: 'POST' });
  assert.equal(bad.status, 422);
  assert.deepEqual(JSON.parse(bad.body), result);
});

test('HEAD answers as GET does, without content', async () => {
  const address = await serve();
  for (const path of ['/api/v1/status', '/api/v1/routes', '/metrics']) {
    const get = await ask(address, path);
    const head = await ask(address, path, { method: 'HEAD' });
    assert.equal(head.status, 200);
    assert.equal(head.body, '');
    assert.equal(head.headers['content-type'], get.headers['content-type']);
    assert.equal(head.headers['content-length'], get.headers['content-length']);
  }
});

function assertFailure(answer: { status: number; body: string }, status: number, code: string): string {
  assert.equal(answer.status, status, answer.body);
  const { error } = JSON.parse(answer.body) as { error: { code: string; message: string } };
  assert.equal(error.code, code);
  assert.notEqual(error.message, '');
  return error.message;
}

test('a path that does not exist is not found', async () => {
  const address = await serve();
  for (const path of [
    '/api',
    '/api/v1/status/',
    '/api/v1/',
    '//',
    '/%2e%2e/etc/passwd',
    '/API/v1/status',
    '*',
  ]) {
    assertFailure(await ask(address, path), 404, 'not-found');
  }
});

test('a method that a path does not take is refused with those that it takes', async () => {
  const address = await serve();
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
    const answer = await ask(address, '/api/v1/status', { method });
    assertFailure(answer, 405, 'method-not-allowed');
    assert.equal(answer.headers.allow, 'GET, HEAD');
  }
  const get = await ask(address, '/api/v1/reload');
  assertFailure(get, 405, 'method-not-allowed');
  assert.equal(get.headers.allow, 'POST');
});

test('routes can be asked for one cluster', async () => {
  const address = await serve();
  assert.deepEqual(JSON.parse((await ask(address, '/api/v1/routes?cluster=north')).body), [ROUTES[1]]);
  assert.deepEqual(JSON.parse((await ask(address, '/api/v1/routes?cluster=none')).body), []);
  assert.deepEqual(JSON.parse((await ask(address, '/api/v1/routes/refused?cluster=west')).body), REFUSED);
});

test('a query parameter that is unknown or there twice is refused', async () => {
  const address = await serve();
  const misspelt = assertFailure(await ask(address, '/api/v1/routes?clutser=west'), 400, 'bad-request');
  assert.equal(misspelt, 'unknown query parameter "clutser"; known here: cluster');
  assertFailure(await ask(address, '/api/v1/status?x=1'), 400, 'bad-request');
  assertFailure(await ask(address, '/api/v1/routes?cluster=a&cluster=b'), 400, 'bad-request');
});

test('a trace gets the flow that was asked about', async () => {
  const asked: TraceQuery[] = [];
  const address = await serve({
    trace: (query) => {
      asked.push(query);
      return TRACE;
    },
  });
  await ask(address, '/api/v1/trace?destination=10.2.3.4');
  await ask(
    address,
    '/api/v1/trace?destination=10.2.3.4&source=10.1.0.1&protocol=tcp&sourcePort=0&destinationPort=65535',
  );
  assert.deepEqual(asked, [
    { destination: '10.2.3.4' },
    { destination: '10.2.3.4', source: '10.1.0.1', protocol: 'tcp', sourcePort: 0, destinationPort: 65_535 },
  ]);
});

test('a trace without destination, or with a port that is none, is refused', async () => {
  const address = await serve();
  assertFailure(await ask(address, '/api/v1/trace'), 400, 'ISTHMUS_ERR_USAGE');
  for (const port of ['65536', '-1', 'http', '', '1e3']) {
    assertFailure(
      await ask(address, `/api/v1/trace?destination=10.2.3.4&sourcePort=${port}`),
      400,
      'ISTHMUS_ERR_USAGE',
    );
  }
});

test('an address that is none is refused with the code of the gateway', async () => {
  const trace = () => {
    throw new GatewayError('ISTHMUS_ERR_ADDRESS', '"x" is not an IPv4 address');
  };
  const answer = await ask(await serve({ trace }), '/api/v1/trace?destination=x');
  assert.equal(assertFailure(answer, 400, 'ISTHMUS_ERR_ADDRESS'), '"x" is not an IPv4 address');
});

test('a fault of the gateway is answered with 500 and logged', async () => {
  const logged: string[] = [];
  const log = { ...silentLogger, error: (_fields: object, message: string) => void logged.push(message) };
  const status = () => {
    throw new TypeError('broken');
  };
  const answer = await ask(await serve({ status }, log), '/api/v1/status');
  assert.match(assertFailure(answer, 500, 'internal'), /broken/);
  assert.deepEqual(logged, ['admin request failed']);
});

test('100,000 routes arrive whole', async () => {
  const routes = Array.from({ length: 100_000 }, (_, i) => ({
    ...ROUTES[0]!,
    cidr: `10.${i >> 8}.${i & 255}.0/24`,
  }));
  const answer = await ask(await serve({ routes: () => routes }), '/api/v1/routes');
  const rows = JSON.parse(answer.body) as typeof routes;
  assert.equal(rows.length, 100_000);
  assert.deepEqual(rows[99_999], routes[99_999]);
});

test('lists of every length around the size of a part are valid JSON', async () => {
  for (const length of [0, 1, 255, 256, 257, 512, 513]) {
    const routes = Array.from({ length }, () => ROUTES[0]!);
    const { body } = await ask(await serve({ routes: () => routes }), '/api/v1/routes');
    assert.equal((JSON.parse(body) as unknown[]).length, length);
  }
});

test('on loopback a Host that is no loopback address is refused', async () => {
  const address = await serve();
  for (const host of [
    'evil.example',
    'evil.example:9461',
    '127.0.0.1.evil.example',
    '10.0.0.1:9461',
    '[fd00::1]',
  ]) {
    assertFailure(await ask(address, '/api/v1/status', { headers: { Host: host } }), 403, 'forbidden-host');
  }
  const empty = 'GET /api/v1/status HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n';
  assert.match(await exchange(address, empty), /^HTTP\/1\.1 403 /);
  for (const host of [address, 'localhost', 'LOCALHOST:1', '127.1.2.3', '[::1]:9461']) {
    assert.equal((await ask(address, '/api/v1/status', { headers: { Host: host } })).status, 200, host);
  }
});

test('on another address than loopback any Host is accepted, as a service name is one', async () => {
  const server = await startAdminServer({ ...fakeContext(), listen: '0.0.0.0:0', log: silentLogger });
  servers.push(server);
  const local = server.address.replace('0.0.0.0', '127.0.0.1');
  assert.equal((await ask(local, '/healthz', { headers: { Host: 'isthmus.kube-system' } })).status, 200);
});

test('a reload that a web page sends is refused, also from a page of the same machine', async () => {
  let reloads = 0;
  const reload = async () => {
    reloads++;
    return { ok: true, changed: [], restartNeeded: [], error: null };
  };
  const address = await serve({ reload });
  for (const origin of ['https://evil.example', `http://${address}`, 'null']) {
    const answer = await ask(address, '/api/v1/reload', { method: 'POST', headers: { Origin: origin } });
    assertFailure(answer, 403, 'forbidden-origin');
  }
  assert.equal(reloads, 0);
});

test('a request with a body is refused, an empty one is not', async () => {
  const address = await serve();
  const reload = (options: object) => ask(address, '/api/v1/reload', { method: 'POST', ...options });
  assertFailure(await reload({ body: '{}', headers: { 'Content-Length': 2 } }), 413, 'too-large');
  assertFailure(await reload({ body: '{}', headers: { 'Transfer-Encoding': 'chunked' } }), 413, 'too-large');
  assert.equal((await reload({ headers: { 'Content-Length': 0 } })).status, 200);
});

test('a header beyond the limit is refused, one within it is not', async () => {
  const address = await serve();
  const padded = (bytes: number) =>
    exchange(
      address,
      `GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: ${'x'.repeat(bytes)}\r\n\r\n`,
    );
  assert.match(await padded(ADMIN_LIMITS.HEADER_BYTES - 200), /^HTTP\/1\.1 200 /);
  assert.match(await padded(ADMIN_LIMITS.HEADER_BYTES + 200), /^HTTP\/1\.1 431 /);
});

test('what is no HTTP is answered with 400 and the server goes on', async () => {
  const address = await serve();
  assert.match(await exchange(address, '\x16\x03\x01 hello\r\n\r\n'), /^HTTP\/1\.1 400 /);
  assert.match(await exchange(address, 'GET /healthz HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 400 /);
  assert.equal((await ask(address, '/healthz')).status, 200);
});

test('connections are accepted up to the limit and closed beyond it', async () => {
  const address = await serve();
  const port = Number(address.split(':')[1]);
  const open = (): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => resolve(socket));
      socket.on('error', reject);
    });
  const sockets: Socket[] = [];
  for (let i = 0; i < ADMIN_LIMITS.CONNECTIONS; i++) sockets.push(await open());
  const surplus = await open();
  await new Promise((resolve) => surplus.on('close', resolve).resume());
  const last = sockets.at(-1);
  assert.ok(last);
  const answered = new Promise<string>((resolve) => last.once('data', (chunk) => resolve(chunk.toString())));
  last.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  assert.match(await answered, /^HTTP\/1\.1 200 /);
  for (const socket of sockets) socket.destroy();
});

test('a client that goes away in the middle of an answer does no harm', async () => {
  const routes = Array.from({ length: 50_000 }, () => ROUTES[0]!);
  let broken = () => {};
  const seen = new Promise<void>((resolve) => {
    broken = resolve;
  });
  const address = await serve({ routes: () => routes }, { ...silentLogger, debug: broken });
  const socket = connect(Number(address.split(':')[1]), '127.0.0.1');
  socket.write('GET /api/v1/routes HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await new Promise((resolve) => socket.once('data', resolve));
  socket.destroy();
  await seen;
  assert.equal((await ask(address, '/healthz')).status, 200);
});

/** Routes without end; counts how many were made, and lists that were given up. */
function endless() {
  const made = { rows: 0, ended: 0 };
  function* routes() {
    try {
      for (;;) {
        made.rows++;
        yield ROUTES[0]!;
      }
    } finally {
      made.ended++;
    }
  }
  return { made, routes };
}

/** Asks for the routes and reads no more than the beginning. */
async function stall(address: string): Promise<Socket> {
  const socket = connect(Number(address.split(':')[1]), '127.0.0.1');
  socket.write('GET /api/v1/routes HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await new Promise((resolve) => socket.once('readable', resolve));
  return socket;
}

test('clients that do not read hold a few lists at most; others are told when to come back', async () => {
  const { made, routes } = endless();
  const address = await serve({ routes });
  const stalled: Socket[] = [];
  for (let i = 0; i < ADMIN_LIMITS.LARGE_ANSWERS; i++) stalled.push(await stall(address));
  const answer = await ask(address, '/api/v1/routes/refused');
  assertFailure(answer, 503, 'busy');
  assert.equal(answer.headers['retry-after'], String(ADMIN_LIMITS.RETRY_AFTER_SECONDS));
  assert.equal((await ask(address, '/api/v1/status')).status, 200, 'what is small is answered');
  assert.equal((await ask(address, '/api/v1/routes', { method: 'HEAD' })).status, 200);
  const ended = made.ended;
  for (const socket of stalled) socket.destroy();
  while (made.ended < ended + stalled.length) await new Promise((resolve) => setImmediate(resolve));
  assert.equal((await ask(address, '/api/v1/routes/refused')).status, 200, 'their places are free again');
});

test('a client that does not read loses its connection, and no rows are made for it meanwhile', async () => {
  const { made, routes } = endless();
  let broken = (_error: unknown) => {};
  const seen = new Promise<unknown>((resolve) => {
    broken = resolve;
  });
  const server = await startAdminServer({
    ...fakeContext({ routes }),
    listen: '127.0.0.1:0',
    log: { ...silentLogger, debug: (fields: { error?: unknown }) => broken(fields.error) },
    patience: { partMs: 50, answerMs: 60_000 },
  });
  servers.push(server);
  const socket = await stall(server.address);
  socket.on('error', () => {});
  const error = (await seen) as Error;
  assert.match(error.message, /^the client read nothing for 50 ms$/);
  // What the buffers of both sides hold: some megabytes of 250 bytes each.
  assert.ok(made.rows < 100_000, `${made.rows} rows`);
  assert.equal(made.ended, 1);
  await new Promise((resolve) => socket.once('close', resolve).resume());
});

test('a client that reads a list without end is cut off in the end', async () => {
  const { routes } = endless();
  const server = await startAdminServer({
    ...fakeContext({ routes }),
    listen: '127.0.0.1:0',
    log: silentLogger,
    patience: { partMs: 5000, answerMs: 30 },
  });
  servers.push(server);
  await assert.rejects(ask(server.address, '/api/v1/routes'), /aborted|ECONNRESET/);
});

test('a fault in the middle of a list ends the connection and is logged as an error', async () => {
  const logged: string[] = [];
  const log = { ...silentLogger, error: (_fields: object, message: string) => void logged.push(message) };
  const address = await serve(
    {
      *routes() {
        yield ROUTES[0]!;
        throw new TypeError('broken');
      },
    },
    log,
  );
  await assert.rejects(ask(address, '/api/v1/routes'), /aborted|ECONNRESET|hang up/);
  assert.deepEqual(logged, ['admin request broke off']);
});

test('closing ends within its grace though clients do not read', async () => {
  const { made, routes } = endless();
  const server = await startAdminServer({
    ...fakeContext({ routes }),
    listen: '127.0.0.1:0',
    log: silentLogger,
  });
  const stalled: Socket[] = [];
  for (let i = 0; i < ADMIN_LIMITS.LARGE_ANSWERS; i++) stalled.push(await stall(server.address));
  for (const socket of stalled) socket.on('error', () => {});
  const closed = stalled.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
  await server.close();
  for (const socket of stalled) socket.resume();
  await Promise.all(closed);
  while (made.ended < stalled.length) await new Promise((resolve) => setImmediate(resolve));
});

test('closing ends idle connections, and an answer under way is cut off after the grace', async () => {
  const server = await startAdminServer({
    ...fakeContext({ reload: () => new Promise(() => {}) }),
    listen: '127.0.0.1:0',
    log: silentLogger,
  });
  const port = Number(server.address.split(':')[1]);
  const idle = connect(port, '127.0.0.1');
  await new Promise((resolve) => idle.once('connect', resolve));
  const hanging = ask(server.address, '/api/v1/reload', { method: 'POST' });
  const cut = assert.rejects(hanging);
  const idleClosed = new Promise((resolve) => idle.once('close', resolve).resume());
  // The request must have arrived, else the server would close without it.
  await ask(server.address, '/healthz');
  await server.close();
  await Promise.all([cut, idleClosed]);
  await assert.rejects(ask(server.address, '/healthz'), /ECONNREFUSED/);
});

test('an address that is taken, and one that is none, are refused with what to change', async () => {
  const address = await serve();
  const start = (listen: string) => startAdminServer({ ...fakeContext(), listen, log: silentLogger });
  await assert.rejects(start(address), (error: GatewayError) => {
    assert.equal(error.code, 'ISTHMUS_ERR_ADMIN');
    assert.equal(
      error.message,
      `another process listens on ${address}: stop it, or choose another address with admin.listen`,
    );
    return true;
  });
  await assert.rejects(start('nowhere'), { code: 'ISTHMUS_ERR_CONFIG' });
});

test('every request is in docs/admin-api.md, and every code', () => {
  const page = readFileSync(new URL('../../../../docs/admin-api.md', import.meta.url), 'utf8');
  for (const { method, path, query } of ADMIN_ROUTES) {
    const row = page.split('\n').find((line) => line.startsWith(`| \`${method} ${path}\` |`));
    assert.ok(row !== undefined, `${method} ${path}`);
    for (const name of query) assert.ok(row.includes(name), `${path}: ${name}`);
  }
  const documented = page.match(/^\| `(?:GET|POST) [^`]+` \|/gm)?.length;
  assert.equal(documented, ADMIN_ROUTES.length, 'the page has no other requests');
  for (const code of [
    'bad-request',
    'forbidden-host',
    'forbidden-origin',
    'not-found',
    'method-not-allowed',
    'too-large',
    'busy',
    'internal',
  ]) {
    assert.ok(page.includes(`\`${code}\``), code);
  }
});
