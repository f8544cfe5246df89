import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { AdminClient } from '../../../src/admin/client.ts';
import { startAdminServer } from '../../../src/admin/server.ts';
import type { GatewayError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { fakeContext, STATUS } from './fake-view.ts';

const folder = mkdtempSync(join(tmpdir(), 'isthmus-admin-'));
after(() => rmSync(folder, { recursive: true }));

const start = (path: string) =>
  startAdminServer({ ...fakeContext(), listen: `unix:${path}`, log: silentLogger });

test('a unix socket is for its user alone, answers, and is removed at the end', async () => {
  const path = join(folder, 'a.sock');
  const before = process.umask();
  const server = await start(path);
  assert.equal(process.umask(), before, 'the mask of the process is as before');
  assert.equal(server.address, `unix:${path}`);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(await new AdminClient(`unix:${path}`).get('/api/v1/status'), STATUS);
  await server.close();
  assert.ok(!existsSync(path));
});

test('the socket that a killed process left is replaced', async () => {
  const path = join(folder, 'stale.sock');
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  assert.equal(spawnSync(process.execPath, ['-e', script]).signal, 'SIGKILL');
  assert.ok(statSync(path).isSocket());
  const server = await start(path);
  assert.deepEqual(await new AdminClient(`unix:${path}`).get('/api/v1/status'), STATUS);
  await server.close();
});

test('a socket that somebody listens on is left alone', async () => {
  const path = join(folder, 'live.sock');
  const server = await start(path);
  await assert.rejects(start(path), (error: GatewayError) => {
    assert.equal(error.code, 'ISTHMUS_ERR_ADMIN');
    assert.match(error.message, /another process listens on .*live\.sock; stop it or choose another path/);
    return true;
  });
  assert.deepEqual(await new AdminClient(`unix:${path}`).get('/api/v1/status'), STATUS);
  await server.close();
});

test('a file that is no socket is left alone', async () => {
  const path = join(folder, 'file');
  writeFileSync(path, 'precious');
  await assert.rejects(start(path), /exists and is no socket; remove it or choose another path/);
  assert.ok(existsSync(path));
});

test('a folder that does not exist is named', async () => {
  await assert.rejects(
    start(join(folder, 'none', 'a.sock')),
    /^GatewayError: cannot listen on unix:.*none\/a\.sock \((ENOENT|EACCES)\)/,
  );
});
