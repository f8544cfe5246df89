import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, test } from 'node:test';
import { AdminClient } from '../../../src/admin/client.ts';
import { startAdminServer } from '../../../src/admin/server.ts';
import type { GatewayView } from '../../../src/admin/view.ts';
import { GatewayError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { fakeContext, ROUTES } from './fake-view.ts';

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function clientOfView(replaced: Partial<GatewayView> = {}): Promise<AdminClient> {
  const server = await startAdminServer({
    ...fakeContext(replaced),
    listen: '127.0.0.1:0',
    log: silentLogger,
  });
  closers.push(() => server.close());
  return new AdminClient(server.address);
}

async function clientOfStranger(listener: RequestListener): Promise<AdminClient> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  return new AdminClient(`127.0.0.1:${(server.address() as AddressInfo).port}`);
}

async function refusalOf(promise: Promise<unknown>): Promise<GatewayError> {
  const error = await promise.then(
    () => assert.fail('it was answered'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof GatewayError);
  return error;
}

test('a list is asked for with its filter', async () => {
  const client = await clientOfView();
  assert.deepEqual(await client.get('/api/v1/routes', { cluster: 'north' }), [ROUTES[1]]);
  assert.deepEqual(await client.get('/api/v1/routes', { cluster: undefined }), ROUTES);
});

test('a reload of a bad file is a result and no error', async () => {
  const result = { ok: false, changed: [], restartNeeded: [], error: 'east.yaml:1:1: bad' };
  assert.deepEqual(await (await clientOfView({ reload: async () => result })).reload(), result);
});

test('the code and message of the gateway come through', async () => {
  const trace = () => {
    throw new GatewayError('ISTHMUS_ERR_ADDRESS', '"x" is not an IPv4 address');
  };
  const client = await clientOfView({ trace });
  const error = await refusalOf(client.get('/api/v1/trace', { destination: 'x' }));
  assert.equal(error.code, 'ISTHMUS_ERR_ADDRESS');
  assert.equal(error.message, '"x" is not an IPv4 address');
  assert.equal((await refusalOf(client.get('/nowhere'))).code, 'ISTHMUS_ERR_ADMIN');
});

test('where nobody listens the address and the way to change it are named', async () => {
  const server = await startAdminServer({ ...fakeContext(), listen: '127.0.0.1:0', log: silentLogger });
  await server.close();
  const error = await refusalOf(new AdminClient(server.address).get('/api/v1/status'));
  assert.equal(error.code, 'ISTHMUS_ERR_ADMIN');
  assert.equal(
    error.message,
    `no gateway listens on ${server.address}; start one with "isthmus run -c FILE", or name another address with --admin or ISTHMUS_ADMIN`,
  );
});

test('a unix socket that is not there is named', async () => {
  const error = await refusalOf(new AdminClient('unix:/nonexistent/a.sock').get('/api/v1/status'));
  assert.match(error.message, /^no gateway listens on unix:\/nonexistent\/a\.sock: there is no such socket/);
});

test('another program on the port is told apart from a gateway', async () => {
  const page = await clientOfStranger((_request, response) => response.end('<html>'));
  assert.match(
    (await refusalOf(page.get('/api/v1/status'))).message,
    /^what listens on 127\.0\.0\.1:\d+ is not isthmus: its answer to \/api\/v1\/status is not JSON$/,
  );
  const mute = await clientOfStranger((request) => request.socket.destroy());
  assert.match(
    (await refusalOf(mute.get('/api/v1/status'))).message,
    /^cannot reach a gateway on 127\.0\.0\.1:\d+: .*; check --admin and ISTHMUS_ADMIN$/,
  );
  const other = await clientOfStranger((_request, response) => {
    response.statusCode = 418;
    response.end('null');
  });
  assert.match((await refusalOf(other.get('/api/v1/status'))).message, /answered 418$/);
});

test('an address that is none is a mistake of usage', () => {
  assert.throws(() => new AdminClient('9461'), { code: 'ISTHMUS_ERR_USAGE' });
});
