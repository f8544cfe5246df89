import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { monotonicNs } from '../../../../src/measure/load/monotonic.ts';
import { BenchClient, type ClientOptions } from '../../../../src/measure/remote/client.ts';
import { BenchServer } from '../../../../src/measure/remote/server.ts';
import { ScriptedLoad } from './scripted-load.ts';

const HOST = '127.0.0.1';
const SESSION = 'ab'.repeat(16);
const TOKEN = 'a token of enough characters';

const GREETING = { isthmus: 'bench', version: 1, challenge: 'aa'.repeat(32), needsToken: false };
const MACHINE = { processor: 'a processor', cores: 1, memoryGiB: 1, kernel: '6.1', node: 'v20' };
const WELCOME = { welcome: { program: '0.1.0', trafficPort: 9463, machine: MACHINE } };

/** A server that says its lines one after the other, each in answer to one of ours; the first at once. */
async function scripted(t: TestContext, ...lines: readonly unknown[]): Promise<ClientOptions> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    const left = [...lines];
    const say = (): void => {
      const next = left.shift();
      if (next === undefined) socket.end();
      else socket.write(typeof next === 'string' ? next : `${JSON.stringify(next)}\n`);
    };
    socket.on('error', () => {});
    socket.on('data', say);
    say();
  });
  server.listen(0, HOST);
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { host: HOST, port: (server.address() as AddressInfo).port, token: null, session: SESSION };
}

async function real(t: TestContext, token: string | null): Promise<ClientOptions & { server: BenchServer }> {
  const { start } = new ScriptedLoad();
  const server = await BenchServer.listen({
    ...{ host: HOST, port: 0, token, once: false, program: '1.2.3', log: () => {}, start },
  });
  t.after(() => server.close());
  return { server, host: HOST, port: server.port, token, session: SESSION };
}

test('client and server understand each other, with a token', async (t) => {
  const client = await BenchClient.connect(await real(t, TOKEN));
  t.after(() => client.close());
  assert.deepEqual([client.welcome.program, client.address], ['1.2.3', HOST]);
  assert.equal(await client.call('drain', { quietMs: 1, atMostMs: 1 }), null);
  await assert.rejects(client.call('drain', { quietMs: 0, atMostMs: 1 }), {
    code: 'ISTHMUS_ERR_BENCH',
    message: /^127\.0\.0\.1:\d+: drain: quietMs: /,
  });
});

test('the clock of the other end is ours here, up to half a round trip', async (t) => {
  const client = await BenchClient.connect(await real(t, null));
  t.after(() => client.close());
  const before = monotonicNs();
  const { offsetNs, roundTripNs } = await client.readClock();
  assert.ok(roundTripNs > 0 && roundTripNs < monotonicNs() - before);
  assert.ok(Math.abs(offsetNs) <= roundTripNs / 2 + 1, `${offsetNs} of ${roundTripNs}`);
});

test('whatever answers instead of a server is named, with what is wrong about it', async (t) => {
  const wrong: [unknown[], RegExp][] = [
    [['HTTP/1.1 400 Bad Request\r\n'], /: cannot begin: a line is not JSON$/],
    [[{ hello: 1 }], /: cannot begin: greeting: isthmus: /],
    [[{ ...GREETING, version: 9 }], /version 9 of the protocol, here it is 1/],
    [[{ ...GREETING, needsToken: true }], /a token is needed: --token-file$/],
    [[GREETING, { refused: 'another session\u001b[2J runs' }], /refused: another session\S* runs$/],
    [[GREETING, { welcome: {} }], /welcome: welcome: program: /],
    [[GREETING], /cannot begin: the other end closed the connection$/],
    [[], /closed the connection; does isthmus bench serve run there, and is the port open\?$/],
    [['x'.repeat(300_000)], /a line of more than/],
  ];
  for (const [lines, message] of wrong) {
    const options = await scripted(t, ...lines);
    const name = new RegExp(`^${HOST}:${options.port}: `);
    await assert.rejects(BenchClient.connect(options), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'ISTHMUS_ERR_BENCH');
      assert.match(error.message, name);
      assert.match(error.message, message);
      assert.ok(!error.message.includes('\u001b'));
      return true;
    });
  }
});

test('nobody listens', async (t) => {
  const { server, ...options } = await real(t, null);
  await server.close();
  await assert.rejects(BenchClient.connect(options), /ECONNREFUSED.*does isthmus bench serve run there/);
});

test('an IPv6 address is refused by name', async (t) => {
  const options = await real(t, null);
  await assert.rejects(BenchClient.connect({ ...options, host: '::1' }), {
    code: 'ISTHMUS_ERR_USAGE',
    message: /^::1: test traffic is IPv4/,
  });
});

test('a connection that is lost fails every call, those that wait and those to come', async (t) => {
  const { server, ...options } = await real(t, null);
  const client = await BenchClient.connect(options);
  const waiting = client.call('clock', {});
  assert.equal(client.lost.aborted, false);
  await server.close();
  await Promise.allSettled([waiting]);
  if (!client.lost.aborted) await once(client.lost, 'abort');
  await assert.rejects(client.call('clock', {}), /: the connection is lost: /);
  assert.match(client.failure!.message, /the connection is lost/);
});

test('answers that make no sense fail their call or end the connection, and nothing else', async (t) => {
  const answers: [unknown, RegExp][] = [
    [{ id: 1, answer: { ns: 'noon' } }, /: clock: ns: /],
    [{ id: 1, error: 'no clock' }, /: no clock$/],
    [{ id: 'one' }, /the connection is lost: reply: /],
    ['\u0000\n', /the connection is lost: a line is not JSON/],
  ];
  for (const [answer, message] of answers) {
    const client = await BenchClient.connect(await scripted(t, GREETING, WELCOME, answer));
    await assert.rejects(client.call('clock', {}), message);
    await client.close();
  }
});
