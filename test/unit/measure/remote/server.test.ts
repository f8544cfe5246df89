import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import type { Load } from '../../../../src/measure/remote/load-process.ts';
import { LINE_BYTES_MAX } from '../../../../src/measure/remote/protocol.ts';
import { BenchServer, type BenchServerOptions } from '../../../../src/measure/remote/server.ts';
import { proofOf } from '../../../../src/measure/remote/token.ts';
import { ScriptedLoad } from './scripted-load.ts';

const HOST = '127.0.0.1';
const TOKEN = 'a token of enough characters';
const [SESSION, OTHER_SESSION] = ['ab'.repeat(16), 'cd'.repeat(16)];

interface Scene {
  readonly server: BenchServer;
  readonly load: ScriptedLoad;
  readonly logged: string[];
}

async function serving(t: TestContext, change: Partial<BenchServerOptions> = {}): Promise<Scene> {
  const load = new ScriptedLoad();
  const logged: string[] = [];
  const server = await BenchServer.listen({
    ...{ host: HOST, port: 0, token: null, once: false, program: '1.2.3' },
    ...{ log: (line) => logged.push(line), start: load.start, ...change },
  });
  t.after(() => server.close());
  return { server, load, logged };
}

/** A controller that says whatever the test wants. */
class Caller {
  readonly socket: Socket;
  readonly #lines: AsyncIterator<string>;

  constructor({ server }: Scene) {
    this.socket = connect(server.port, HOST);
    this.socket.on('error', () => {});
    this.#lines = createInterface({ input: this.socket })[Symbol.asyncIterator]();
  }

  say(message: unknown): void {
    this.socket.write(`${typeof message === 'string' ? message : JSON.stringify(message)}\n`);
  }

  /** The next line; undefined at the end. */
  async heard(): Promise<Record<string, unknown> | undefined> {
    const { value, done } = await this.#lines.next();
    return done === true ? undefined : JSON.parse(value);
  }

  /** Up to the welcome, or to what is said instead. */
  async hello(session: string, token: string | null = null): Promise<Record<string, unknown> | undefined> {
    const { challenge } = (await this.heard())!;
    const proof = token === null ? null : proofOf(token, String(challenge), session);
    this.say({ version: 1, session, proof });
    return this.heard();
  }
}

test('a controller is welcomed, and traffic goes to the address that it asks from', async (t) => {
  const scene = await serving(t, { token: TOKEN });
  scene.load.answer = async () => ({ sent: 5, refused: 0 });
  const caller = new Caller(scene);
  const { welcome } = (await caller.hello(SESSION, TOKEN)) as { welcome: Record<string, unknown> };
  const trafficPort = scene.server.port + 1;
  assert.deepEqual([welcome.program, welcome.trafficPort], ['1.2.3', trafficPort]);
  const { ns } = await clockOf(caller);
  const request = { port: 9463, run: 1, flows: 1, payloadBytes: [36], perSecond: 1, startAtNs: ns };
  caller.say({ id: 2, command: 'send', request: { ...request, durationMs: 10 } });
  assert.deepEqual(await caller.heard(), { id: 2, answer: { sent: 5, refused: 0 } });
  assert.deepEqual(scene.load.asked, [
    { command: 'listen', request: { port: trafficPort } },
    { command: 'send', request: { ...request, durationMs: 10, destination: HOST } },
  ]);
});

async function clockOf(caller: Caller): Promise<{ ns: number }> {
  caller.say({ id: 1, command: 'clock', request: {} });
  return (await caller.heard())!.answer as { ns: number };
}

test('what is wrong with a request is answered, and the connection goes on', async (t) => {
  const scene = await serving(t);
  const caller = new Caller(scene);
  await caller.hello(SESSION);
  caller.say({ id: 4, command: 'drain', request: { quietMs: 0, atMostMs: 1 } });
  assert.match(String((await caller.heard())!.error), /^drain: quietMs: /);
  scene.load.answer = () => Promise.reject(new Error('EADDRINUSE'));
  caller.say({ id: 5, command: 'drain', request: { quietMs: 1, atMostMs: 1 } });
  assert.deepEqual(await caller.heard(), { id: 5, error: 'drain: EADDRINUSE' });
  assert.ok((await clockOf(caller)).ns > 0);
});

test('one measurement at a time', async (t) => {
  const scene = await serving(t);
  let finish = (_: unknown): void => {};
  scene.load.answer = () => new Promise((resolve) => (finish = resolve));
  const caller = new Caller(scene);
  await caller.hello(SESSION);
  const drain = { command: 'drain', request: { quietMs: 1, atMostMs: 1 } };
  caller.say({ id: 1, ...drain });
  caller.say({ id: 2, ...drain });
  assert.deepEqual(await caller.heard(), { id: 2, error: 'drain: drain still runs; one at a time' });
  finish(null);
  assert.deepEqual(await caller.heard(), { id: 1, answer: null });
});

test('strangers, wrong tokens and other versions are told why, and leave no session', async (t) => {
  const open = await serving(t);
  const closed = await serving(t, { token: TOKEN });
  const refusals: [Scene, unknown, RegExp][] = [
    [open, 'GET / HTTP/1.1', /expected the hello of isthmus bench run/],
    [open, { version: 2 }, /version 2 of the protocol, here it is 1/],
    [open, { version: 1, session: 'short', proof: null }, /hello: session: /],
    [open, 'x'.repeat(LINE_BYTES_MAX + 1), /a line of more than/],
    [closed, { version: 1, session: SESSION, proof: null }, /a token is needed/],
    [closed, { version: 1, session: SESSION, proof: 'ee'.repeat(32) }, /the token is wrong/],
  ];
  for (const [scene, hello, reason] of refusals) {
    const caller = new Caller(scene);
    await caller.heard();
    caller.say(hello);
    assert.match(String((await caller.heard())!.refused), reason);
    assert.equal(await caller.heard(), undefined, 'the connection goes on');
    assert.match(scene.logged.at(-1)!, reason);
  }
  assert.deepEqual([...open.load.asked, ...closed.load.asked], []);
});

test('a second controller waits for its turn; two connections of a session share it', async (t) => {
  const scene = await serving(t);
  const [first, second, other] = [new Caller(scene), new Caller(scene), new Caller(scene)];
  assert.ok('welcome' in (await first.hello(SESSION))!);
  assert.ok('welcome' in (await second.hello(SESSION))!);
  assert.match(String((await other.hello(OTHER_SESSION))!.refused), /another session runs, of 127\.0\.0\.1/);
  first.socket.destroy();
  assert.equal(await second.heard(), undefined, 'half of a session goes on');
  await until(() => scene.logged.some((line) => line.includes('session over')));
  assert.equal(scene.load.closed, 1);
  const next = new Caller(scene);
  assert.ok('welcome' in (await next.hello(OTHER_SESSION))!);
});

test('a connection that is lost before its session is ready leaves none', async (t) => {
  let start = (_: Load): void => {};
  const started = new Promise<Load>((resolve) => (start = resolve));
  const scene = await serving(t, { start: () => started });
  const caller = new Caller(scene);
  void caller.hello(SESSION);
  await until(() => scene.logged.length > 0);
  caller.socket.destroy();
  await once(caller.socket, 'close');
  start(scene.load.load);
  await until(() => scene.logged.some((line) => line.includes('session over')));
  assert.equal(scene.load.closed, 1);
});

test('with once the server ends after the first session, and not after a stranger', async (t) => {
  const scene = await serving(t, { once: true });
  const stranger = new Caller(scene);
  await stranger.heard();
  stranger.say('hello');
  await stranger.heard();
  const caller = new Caller(scene);
  assert.ok('welcome' in (await caller.hello(SESSION))!);
  caller.socket.destroy();
  await scene.server.ended;
  assert.equal(scene.load.closed, 1);
});

test('a load agent that does not start is the reason that the controller hears', async (t) => {
  const start = (): Promise<never> => Promise.reject(new Error('UDP port 9463: EADDRINUSE'));
  const scene = await serving(t, { start });
  for (let round = 0; round < 2; round++) {
    const caller = new Caller(scene);
    assert.match(String((await caller.hello(SESSION))!.refused), /UDP port 9463: EADDRINUSE/);
    await once(caller.socket, 'close');
  }
});

test('an address that cannot be listened on is named', async (t) => {
  const { server } = await serving(t);
  const port = server.port;
  await assert.rejects(serving(t, { port }), {
    code: 'ISTHMUS_ERR_BENCH',
    message: new RegExp(`cannot listen on ${HOST}:${port}: .*EADDRINUSE`),
  });
});

async function until(probe: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!probe()) {
    assert.ok(performance.now() < deadline, 'not within 5 s');
    await new Promise((resolve) => setImmediate(resolve));
  }
}
