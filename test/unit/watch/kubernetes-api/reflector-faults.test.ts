import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { sendJson } from './fake-answers.ts';
import { FakeApiServer } from './fake-api-server.ts';
import { NODES, node, RunningReflector, type RunningReflectorOptions } from './running-reflector.ts';

/** Longer than any test: every clean close comes early. */
const ALWAYS_EARLY = { earlyCloseMs: 600_000 };

let server: FakeApiServer;
let running: RunningReflector | undefined;

beforeEach(async () => {
  server = await FakeApiServer.start({ serves: [NODES] });
  server.put(NODES, node('n1', '10.0.1.0/24'));
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  await server.stop();
});

async function startWatching(options: RunningReflectorOptions = {}): Promise<RunningReflector> {
  running = new RunningReflector(server, options);
  const reflector = running;
  await reflector.until(() => reflector.stream.phase === 'watching' && server.watching === 1);
  return reflector;
}

function start(options: RunningReflectorOptions = {}): RunningReflector {
  running = new RunningReflector(server, options);
  return running;
}

describe('a compaction', () => {
  for (const form of ['status', 'event'] as const) {
    it(`told as ${form === 'status' ? 'HTTP 410' : 'an ERROR event'} leads to a list that also has what was deleted`, async () => {
      server.goneAs = form;
      server.put(NODES, node('n2', '10.0.2.0/24'));
      const reflector = await startWatching();
      server.freezeWatches();
      server.remove(NODES, 'n1');
      server.put(NODES, node('n3', '10.0.3.0/24'));
      server.compact();
      // The frozen watch is invisible to the fake server by now; its connection is reset.
      await server.stop();
      await server.listen();
      await reflector.shows('n2=10.0.2.0/24', 'n3=10.0.3.0/24');
      assert.equal(reflector.stream.lists.expired, 1);
      assert.equal(reflector.words.at(-1)?.kind, 'replace');
    });
  }

  it('in the middle of a watch leads to a list', async () => {
    const reflector = await startWatching();
    server.sendErrors(410, 'Expired');
    await reflector.until(() => reflector.stream.lists.expired === 1 && server.watching === 1);
    server.sendErrors(410, 'Gone');
    await reflector.until(() => reflector.stream.lists.expired === 2 && server.watching === 1);
    assert.equal(reflector.stream.errors, 0);
    assert.equal(reflector.count('stale'), 0);
  });
});

describe('a watch that ends', () => {
  it('cleanly after its time goes on from where it was', async () => {
    const reflector = await startWatching();
    server.endWatches();
    server.remove(NODES, 'n1');
    await reflector.shows();
    assert.equal(server.count('list'), 1);
    assert.equal(reflector.count('stale'), 0);
    assert.equal(reflector.stream.errors, 0);
  });

  it('early again and again is counted, and after three times everything is listed', async () => {
    const reflector = await startWatching({ limits: ALWAYS_EARLY });
    server.closeEarly({ times: 2 });
    server.endWatches();
    server.remove(NODES, 'n1');
    await reflector.until(() => reflector.stream.lists['closed-early'] === 1);
    await reflector.shows();
    assert.equal(reflector.stream.errors, 3);
    assert.equal(server.count('list'), 2);
  });

  it('early but not without a word does not lead to a list', async () => {
    const reflector = await startWatching({ limits: ALWAYS_EARLY });
    for (let i = 0; i < 5; i++) {
      server.put(NODES, node('n1', `10.9.${i}.0/24`));
      await reflector.shows(`n1=10.9.${i}.0/24`);
      server.endWatches();
      await reflector.until(() => server.watching === 1);
    }
    assert.equal(server.count('list'), 1);
    assert.equal(reflector.stream.errors, 0);
  });

  it('by a reset goes on from where it was', async () => {
    const reflector = await startWatching();
    server.put(NODES, node('n2', '10.0.2.0/24'));
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    server.resetWatches();
    server.remove(NODES, 'n1');
    await reflector.shows('n2=10.0.2.0/24');
    assert.equal(server.count('list'), 1);
    assert.equal(reflector.stream.errors, 1);
    assert.equal(reflector.stream.problem, null, 'all is well again');
  });

  it('with an error of the server is tried again, and after three times everything is listed', async () => {
    const reflector = await startWatching({ limits: ALWAYS_EARLY });
    for (let i = 1; i <= 3; i++) {
      await reflector.until(() => server.watching === 1);
      server.sendErrors(500, 'InternalError');
      await reflector.until(() => reflector.stream.errors === i);
    }
    await reflector.until(() => reflector.stream.lists.error === 1);
    await reflector.shows('n1=10.0.1.0/24');
  });

  it('in silence is begun anew, the second time after a list', async () => {
    // A machine that stands still for a while must not make a silence of its own.
    const reflector = await startWatching({ limits: { bookmarkSilenceMs: 1000 } });
    server.sendBookmarks();
    server.freezeWatches();
    await reflector.until(() => server.count('watch') === 3 && server.watching === 1);
    assert.equal(server.count('list'), 1);
    assert.match(reflector.stream.problem ?? 'well again', /well again/);
    assert.equal(reflector.stream.errors, 1);
    server.sendBookmarks();
    server.freezeWatches();
    await reflector.until(() => reflector.stream.lists.silent === 1);
  });

  it('not when it should is ended by the client', async () => {
    const reflector = await startWatching({
      limits: { watchSecondsMin: 0, watchSecondsMax: 0, watchMarginMs: 30 },
    });
    server.freezeWatches();
    await reflector.until(() => server.count('watch') > 3);
    await reflector.shows('n1=10.0.1.0/24');
  });
});

describe('an event that cannot be read', () => {
  const cases: [string, string | Uint8Array][] = [
    ['is no JSON', '{"type":"ADDED","object":\n'],
    ['has bytes that are no text', Uint8Array.of(0xff, 0xfe, 0x0a)],
    ['is longer than a line may be', 'x'.repeat(5000)],
  ];
  for (const [what, bytes] of cases) {
    it(`because it ${what} leads to a list`, async () => {
      const reflector = await startWatching({ limits: { lineBytesMax: 4096 } });
      server.sendRaw(bytes);
      await reflector.until(() => reflector.stream.lists.error === 1 && server.watching === 1);
      assert.equal(reflector.stream.errors, 1);
      server.put(NODES, node('n2', '10.0.2.0/24'));
      await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    });
  }

  it('only because it has no name or an unknown type is passed over', async () => {
    const reflector = await startWatching();
    server.sendRaw(
      '{"type":"ADDED","object":{"metadata":{}}}\n\n{"type":"SYNC","object":{}}\n7\nnull\n{"type":"DELETED"}\n',
    );
    server.put(NODES, node('n2', '10.0.2.0/24'));
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    assert.equal(reflector.stream.errors, 5);
    assert.equal(server.count('list'), 1);
  });
});

describe('a refusal', () => {
  it('for want of a right is told with the rule that grants it, and nothing is withdrawn', async () => {
    const reflector = await startWatching();
    const lift = server.refuse(403);
    server.endWatches();
    await reflector.isStale(
      /GET \/api\/v1\/nodes at http:\/\/127\.0\.0\.1:\d+: 403 Forbidden: .*the right to watch nodes is missing: grant it with the RBAC rule \{apiGroups: \[""\], resources: \["nodes"\], verbs: \["get", "list", "watch"\]\}/,
    );
    assert.equal(reflector.shown, 'n1=10.0.1.0/24');
    assert.match(reflector.stream.problem ?? '', /403/);
    lift();
    await reflector.isFresh();
    assert.equal(reflector.count('replace'), 1, 'the watch went on from where it was');
    assert.equal(reflector.stream.problem, null);
  });

  it('from the start is told as stale and not as an empty list', async () => {
    const lift = server.refuse(403, { verb: 'list' });
    const reflector = start();
    await reflector.isStale(/the right to list nodes is missing/);
    assert.deepEqual([...new Set(reflector.words.map(({ kind }) => kind))], ['stale']);
    lift();
    await reflector.shows('n1=10.0.1.0/24');
  });

  it('of the credentials makes them be read again', async () => {
    server.tokens = new Set(['right']);
    const reflector = start({ token: 'wrong' });
    await reflector.isStale(/401 Unauthorized.*token or client certificate/);
    server.tokens.add('wrong');
    await reflector.shows('n1=10.0.1.0/24');
  });

  it('with Retry-After is not asked again before', async () => {
    const reflector = await startWatching();
    for (const status of [429, 503]) {
      const before = server.count('watch');
      server.refuse(status, { times: 1 }, { 'Retry-After': '1' });
      const startMs = performance.now();
      server.endWatches();
      await reflector.until(() => server.count('watch') === before + 2);
      assert.ok(performance.now() - startMs >= 1000, 'the client waited for as long as it was asked to');
      await reflector.isFresh();
    }
    assert.equal(server.count('list'), 1);
  });

  it('of the watch for another reason leads to a list after three times', async () => {
    const reflector = await startWatching();
    // A server whose etcd came back from a backup does not know our version yet.
    server.refuse(504, { verb: 'watch', times: 3 });
    server.remove(NODES, 'n1');
    server.resetWatches();
    await reflector.until(() => reflector.stream.lists.error === 1);
    await reflector.shows();
    await reflector.isFresh();
  });
});

describe('a resource that the server does not know', () => {
  it('is absent, not empty, and is found when it comes', async () => {
    server.store.unserve(NODES);
    const reflector = start();
    await reflector.until(() => reflector.health === 'absent');
    assert.match(reflector.reason, /GET \/api\/v1\/nodes at .*404 NotFound/);
    await reflector.until(() => server.count('watch') > 2);
    assert.equal(reflector.stream.phase, 'absent');
    assert.equal(reflector.stream.errors, 0);
    assert.equal(reflector.count('absent'), 1, 'said once');
    server.put(NODES, node('n2', '10.0.2.0/24'));
    await reflector.shows('n2=10.0.2.0/24');
    await reflector.until(() => reflector.stream.phase === 'watching');
  });

  it('any more keeps its objects until it is listed again', async () => {
    const reflector = await startWatching();
    server.store.unserve(NODES);
    server.endWatches();
    await reflector.until(() => reflector.health === 'absent');
    assert.equal(reflector.shown, 'n1=10.0.1.0/24');
    server.store.serve(NODES);
    await reflector.shows();
  });
});

describe('a server that', () => {
  it('cannot be reached is stale, and what happened meanwhile is seen when it is back', async () => {
    const reflector = await startWatching();
    await server.stop();
    await reflector.isStale(/connect ECONNREFUSED 127\.0\.0\.1/);
    server.put(NODES, node('n2', '10.0.2.0/24'));
    server.remove(NODES, 'n1');
    await server.listen();
    await reflector.shows('n2=10.0.2.0/24');
    await reflector.isFresh();
    assert.equal(server.count('list'), 1);
  });

  it('accepts connections and never answers is stale', async () => {
    const lift = server.hang();
    const reflector = start({ responseTimeoutMs: 30 });
    await reflector.isStale(/no answer within 30 ms/);
    lift();
    await reflector.shows('n1=10.0.1.0/24');
  });

  it('stops in the middle of a list is stale', async () => {
    const lift = server.fault({
      verb: 'list',
      respond: (response) => {
        response.writeHead(200, { 'Content-Type': 'application/json' });
        response.write('{"metadata":{"resourceVersion":"7"},"items":[');
      },
    });
    const reflector = start({ responseTimeoutMs: 30 });
    await reflector.isStale(/the answer stopped for 30 ms/);
    lift();
    await reflector.shows('n1=10.0.1.0/24');
  });

  it('breaks off in the middle of a list is stale', async () => {
    server.fault({
      verb: 'list',
      times: 1,
      respond: (response) => {
        response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': '1000' });
        response.write('{"metadata":{"resourceVersion":"7"},"items":[', () =>
          response.socket?.resetAndDestroy(),
        );
      },
    });
    const reflector = start();
    await reflector.shows('n1=10.0.1.0/24');
    assert.equal(reflector.words[0]?.kind, 'stale');
  });

  it('resets what it is asked is stale', async () => {
    server.reset({ times: 2 });
    const reflector = start();
    await reflector.shows('n1=10.0.1.0/24');
    assert.equal(reflector.words[0]?.kind, 'stale');
    assert.ok(reflector.stream.errors >= 2);
  });

  it('has more objects than there is room for is stale, and what fitted stays', async () => {
    server.put(NODES, node('n2', '10.0.2.0/24'));
    const reflector = await startWatching({ limits: { objectsMax: 2 } });
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    server.put(NODES, node('n3', '10.0.3.0/24'));
    await reflector.isStale(/nodes: more than 2 objects; narrow it with a label selector/);
    server.remove(NODES, 'n1');
    await reflector.shows('n2=10.0.2.0/24', 'n3=10.0.3.0/24');
    await reflector.isFresh();
  });

  it('always has one more page is stale', async () => {
    server.fault({
      verb: 'list',
      respond: (response) => {
        const metadata = { resourceVersion: '7', continue: 'more' };
        sendJson(response, 200, { metadata, items: [node('n1', '10.0.1.0/24')] });
      },
    });
    const reflector = start({ limits: { pagesMax: 10 } });
    await reflector.isStale(/expected a list with items and metadata.resourceVersion that ends/);
    assert.equal(reflector.count('replace'), 0);
  });
});
