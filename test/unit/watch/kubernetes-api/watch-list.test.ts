import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { FakeApiServer } from './fake-api-server.ts';
import { NODES, node, RunningReflector, type RunningReflectorOptions } from './running-reflector.ts';

let server: FakeApiServer;
let running: RunningReflector | undefined;

beforeEach(async () => {
  server = await FakeApiServer.start({ serves: [NODES], watchList: 'served' });
  server.put(NODES, node('n1', '10.0.1.0/24'));
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  await server.stop();
});

function start(options: RunningReflectorOptions = {}): RunningReflector {
  running = new RunningReflector(server, options);
  return running;
}

describe('a server with watch-lists', () => {
  it('is listed by the watch itself', async () => {
    server.put(NODES, node('n2', '10.0.2.0/24'));
    const reflector = start();
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    server.put(NODES, node('n3', '10.0.3.0/24'));
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24', 'n3=10.0.3.0/24');
    assert.deepEqual(
      reflector.words.map(({ kind }) => kind),
      ['replace', 'change'],
    );
    assert.equal(server.count('list'), 0);
    assert.equal(server.count('watch'), 1);
    const [{ query } = assert.fail()] = server.requests;
    assert.equal(query.get('sendInitialEvents'), 'true');
    assert.equal(query.get('resourceVersionMatch'), 'NotOlderThan');
    assert.equal(reflector.stream.lists.start, 1);
  });

  it('is listed so again after a compaction, and what was deleted goes', async () => {
    server.put(NODES, node('n2', '10.0.2.0/24'));
    const reflector = start();
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    await server.stop();
    server.remove(NODES, 'n1');
    server.compact();
    await server.listen();
    await reflector.shows('n2=10.0.2.0/24');
    assert.equal(reflector.stream.lists.expired, 1);
    assert.equal(server.count('list'), 0);
  });

  it('that breaks off before its end tells nothing, and is asked again', async () => {
    server.fault({
      verb: 'watch',
      times: 2,
      respond: (response) => {
        response.writeHead(200);
        response.write(`${JSON.stringify({ type: 'ADDED', object: node('half', '10.0.7.0/24') })}\n`, () =>
          response.socket?.resetAndDestroy(),
        );
      },
    });
    const reflector = start();
    await reflector.shows('n1=10.0.1.0/24');
    assert.deepEqual(
      reflector.words.map(({ kind }) => kind),
      ['replace'],
    );
    assert.equal(server.count('list'), 0);
  });

  it('whose watches always end before their end is listed page by page', async () => {
    server.fault({ verb: 'watch', times: 3, respond: (response) => response.writeHead(200).end() });
    const reflector = start();
    await reflector.shows('n1=10.0.1.0/24');
    assert.equal(server.count('list'), 1);
    assert.equal(reflector.stream.errors, 3);
  });
});

describe('a server without watch-lists', () => {
  it('that refuses them is listed page by page at once', async () => {
    server.watchList = 'refused';
    const reflector = start();
    await reflector.shows('n1=10.0.1.0/24');
    await reflector.until(() => reflector.stream.phase === 'watching');
    assert.deepEqual(
      server.requests.map(({ verb }) => verb),
      ['watch', 'list', 'watch'],
    );
    assert.equal(reflector.stream.errors, 0);
    server.compact();
    server.sendErrors(410, 'Expired');
    await reflector.until(() => reflector.stream.lists.expired === 1);
    assert.equal(
      server.requests.filter(({ query }) => query.has('sendInitialEvents')).length,
      1,
      'asked once',
    );
  });

  it('that refuses them with 400 is listed as well', async () => {
    server.refuse(400, { verb: 'watch', times: 1 });
    const reflector = start();
    await reflector.shows('n1=10.0.1.0/24');
  });

  it('that ignores the wish is listed when it pauses', async () => {
    server.watchList = 'ignored';
    const reflector = start({ limits: { initialEventsSilenceMs: 30 } });
    await reflector.shows('n1=10.0.1.0/24');
    assert.deepEqual(
      reflector.words.map(({ kind }) => kind),
      ['replace'],
    );
    assert.equal(server.count('list'), 1);
    assert.equal(reflector.stream.errors, 0);
  });

  it('that ignores the wish and never pauses is listed in the end', async () => {
    server.watchList = 'ignored';
    const storm = setInterval(() => server.put(NODES, node('n1', '10.0.1.0/24')), 1);
    try {
      const reflector = start({ limits: { initialEventsMs: 30 } });
      await reflector.shows('n1=10.0.1.0/24');
      assert.equal(server.count('list'), 1);
    } finally {
      clearInterval(storm);
    }
  });
});
