import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { sendJson } from './fake-answers.ts';
import { FakeApiServer } from './fake-api-server.ts';
import {
  NODES,
  node,
  podCidrOf,
  RunningReflector,
  type RunningReflectorOptions,
} from './running-reflector.ts';

let server: FakeApiServer;
let running: RunningReflector | undefined;

beforeEach(async () => {
  server = await FakeApiServer.start({ serves: [NODES] });
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  await server.stop();
});

/** Starts the reflector of this test. */
function start(options: RunningReflectorOptions = {}): RunningReflector {
  running = new RunningReflector(server, options);
  return running;
}

/** Starts it, and waits for the first list and for the watch behind it. */
async function startWatching(options: RunningReflectorOptions = {}): Promise<RunningReflector> {
  const reflector = start(options);
  await reflector.until(() => reflector.stream.phase === 'watching' && server.watching === 1);
  return reflector;
}

describe('a list', () => {
  it('is read page by page, and everything is told at once', async () => {
    for (let i = 0; i < 7; i++) server.put(NODES, node(`n${i}`, `10.0.${i}.0/24`));
    const reflector = start({ limits: { pageObjects: 3 } });
    await reflector.until(() => reflector.view.size === 7);
    assert.equal(reflector.words[0]?.kind, 'replace');
    const pages = server.requests.filter(({ verb }) => verb === 'list');
    assert.equal(pages.length, 3);
    assert.ok(pages.every(({ query }) => query.get('limit') === '3' && !query.has('resourceVersion')));
    assert.deepEqual(reflector.stream.lists, {
      start: 1,
      expired: 0,
      'closed-early': 0,
      silent: 0,
      error: 0,
    });
    assert.equal(reflector.stream.objects, 7);
  });

  it('asks for 500 objects at once unless it is told otherwise', async () => {
    const reflector = start();
    await reflector.isFresh();
    assert.equal(server.requests.find(({ verb }) => verb === 'list')?.query.get('limit'), '500');
  });

  it('without any object is an empty list, also when the server writes null', async () => {
    server.fault({
      verb: 'list',
      respond: (response) => sendJson(response, 200, { metadata: { resourceVersion: '1000' }, items: null }),
    });
    const reflector = start();
    await reflector.isFresh();
    assert.deepEqual(reflector.words[0], { kind: 'replace', objects: new Map() });
  });

  it('begins again when the server has forgotten the rest of it', async () => {
    for (let i = 0; i < 4; i++) server.put(NODES, node(`n${i}`, `10.0.${i}.0/24`));
    let pages = 0;
    server.fault({
      verb: 'list',
      times: 2,
      respond: (response, { path, query }) => {
        if (++pages === 2) server.compact();
        const list = server.store.list(path, query);
        if (list === undefined) sendJson(response, 410, { kind: 'Status', code: 410, reason: 'Expired' });
        else sendJson(response, 200, list);
      },
    });
    const reflector = start({ limits: { pageObjects: 2 } });
    await reflector.until(() => reflector.view.size === 4);
    assert.equal(server.count('list'), 4);
    assert.equal(reflector.stream.errors, 0, 'a list that takes longer than history lasts is nothing wrong');
  });

  it('that never comes to its end is told as stale', async () => {
    for (let i = 0; i < 4; i++) server.put(NODES, node(`n${i}`, `10.0.${i}.0/24`));
    server.fault({
      verb: 'list',
      respond: (response, { query }) => {
        if (!query.has('continue'))
          return sendJson(response, 200, { metadata: { resourceVersion: '1', continue: 'x' }, items: [] });
        sendJson(response, 410, { kind: 'Status', code: 410, reason: 'Expired' });
      },
    });
    const reflector = start();
    await reflector.isStale(/410 Expired/);
  });

  it('asks for smaller pages when one is larger than it may be, and for ones of 1 MiB from then on', async () => {
    const padding = 'x'.repeat(400_000);
    for (let i = 0; i < 90; i++) server.put(NODES, { ...node(`n${i}`, `10.0.${i}.0/24`), padding });
    const reflector = start();
    await reflector.until(() => reflector.view.size === 90);
    const limits = server.requests
      .filter(({ verb }) => verb === 'list')
      .map(({ query }) => query.get('limit'));
    assert.deepEqual(limits, ['500', '50', ...Array(20).fill('2')]);
  });

  it('is not believed when it is something else that came with 200', async () => {
    for (const body of [{}, [], 'ok', null, { items: [] }, { metadata: { resourceVersion: '5' } }]) {
      const lift = server.fault({ verb: 'list', respond: (response) => sendJson(response, 200, body) });
      const reflector = start();
      await reflector.isStale(/expected a list with items/);
      assert.equal(reflector.count('replace'), 0, JSON.stringify(body));
      await reflector.stop();
      lift();
    }
  });

  it('that is no JSON is told as stale', async () => {
    server.fault({
      verb: 'list',
      respond: (response) => response.end('<html>welcome to the network</html>'),
    });
    const reflector = start();
    await reflector.isStale(/GET \/api\/v1\/nodes at http.*Malformed/);
  });

  it('passes over objects without a name and counts them', async () => {
    server.put(NODES, node('good', '10.0.1.0/24'));
    server.fault({
      verb: 'list',
      respond: (response) => {
        const items = [
          { metadata: {} },
          null,
          7,
          { spec: {} },
          node('good', '10.0.1.0/24'),
          { metadata: { name: '' } },
        ];
        sendJson(response, 200, { metadata: { resourceVersion: '1001' }, items });
      },
    });
    const reflector = start();
    await reflector.shows('good=10.0.1.0/24');
    assert.equal(reflector.stream.errors, 5);
    assert.equal(reflector.warnings.length, 1, 'one line in the log for all of them');
  });

  it('narrows to a namespace, a name and labels', async () => {
    const path = '/api/v1/secrets';
    const secret = (namespace: string, name: string, labels: Record<string, string> = {}) =>
      server.put(path, node(name, namespace, { namespace, labels }));
    secret('a', 'one', { app: 'x' });
    secret('a', 'two');
    secret('b', 'one', { app: 'x' });
    const resource = { group: '', version: 'v1', plural: 'secrets' };
    const named = start({ resource: { ...resource, namespace: 'a', name: 'one' } });
    await named.shows('a/one=a');
    await named.stop();
    const labelled = start({ resource: { ...resource, labelSelector: 'app=x' } });
    await labelled.shows('a/one=a', 'b/one=b');
    secret('b', 'one');
    await labelled.shows('a/one=a');
  });
});

describe('a watch', () => {
  it('goes on from the list, ends after 4 to 10 minutes and asks for bookmarks', async () => {
    server.put(NODES, node('n1', '10.0.1.0/24'));
    const reflector = await startWatching();
    const { query } = server.requests.find(
      ({ verb, query }) => verb === 'watch' && query.has('resourceVersion'),
    )!;
    assert.equal(query.get('resourceVersion'), server.store.version);
    assert.equal(query.get('allowWatchBookmarks'), 'true');
    const seconds = Number(query.get('timeoutSeconds'));
    assert.ok(seconds >= 240 && seconds <= 600, String(seconds));
    server.put(NODES, node('n2', '10.0.2.0/24'));
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    server.put(NODES, node('n1', '10.0.9.0/24'));
    await reflector.shows('n1=10.0.9.0/24', 'n2=10.0.2.0/24');
    server.remove(NODES, 'n1');
    await reflector.shows('n2=10.0.2.0/24');
    assert.equal(reflector.stream.events, 3);
    assert.equal(server.count('list'), 1);
    assert.ok(reflector.stream.lastEventMs !== null);
  });

  it('tells nothing of changes that change nothing of interest', async () => {
    server.put(NODES, node('n1', '10.0.1.0/24'));
    const reflector = await startWatching();
    for (let i = 0; i < 5000; i++)
      server.put(NODES, { ...node('n1', '10.0.1.0/24'), status: { heartbeat: i } });
    await reflector.until(() => reflector.stream.events === 5000);
    server.put(NODES, node('n2', '10.0.2.0/24'));
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    assert.deepEqual(
      reflector.words.map(({ kind }) => kind),
      ['replace', 'change'],
    );
  });

  it('tells many changes that come together as one', async () => {
    const reflector = await startWatching();
    const lines = Array.from({ length: 100 }, (_, i) => {
      const object = node(`n${i}`, `10.0.${i}.0/24`, { resourceVersion: String(2000 + i) });
      return `${JSON.stringify({ type: 'ADDED', object })}\n`;
    });
    server.sendRaw(lines.join(''));
    await reflector.until(() => reflector.view.size === 100);
    assert.equal(reflector.count('change'), 1);
  });

  it('keeps one entry an object for a reader that does not come back for long', async () => {
    let release: (() => void) | undefined;
    const reflector = await startWatching({
      onWord: ({ kind }) =>
        kind === 'change' && release === undefined
          ? new Promise((resolve) => {
              release = resolve;
            })
          : undefined,
    });
    server.put(NODES, node('first', '10.0.0.0/24'));
    await reflector.until(() => release !== undefined);
    for (let round = 0; round < 300; round++)
      for (let i = 0; i < 3; i++) server.put(NODES, node(`n${i}`, `10.${i}.${round % 256}.0/24`));
    server.put(NODES, node('passing', '10.9.9.0/24'));
    server.remove(NODES, 'passing');
    server.remove(NODES, 'first');
    await reflector.until(() => reflector.stream.events === 904);
    release?.();
    await reflector.shows('n0=10.0.43.0/24', 'n1=10.1.43.0/24', 'n2=10.2.43.0/24');
    assert.equal(reflector.count('change'), 2);
    assert.deepEqual(reflector.words.at(-1)?.kind === 'change' && reflector.words.at(-1), {
      kind: 'change',
      upserts: new Map([
        ['n0', '10.0.43.0/24'],
        ['n1', '10.1.43.0/24'],
        ['n2', '10.2.43.0/24'],
      ]),
      removed: ['first'],
    });
  });

  it('reads events whose bytes come one by one, in the middle of characters too', async () => {
    const reflector = await startWatching();
    const object = node('n1', '10.0.1.0/24 Zürich 東京 🗼', { resourceVersion: '2000' });
    for (const byte of Buffer.from(`${JSON.stringify({ type: 'ADDED', object })}\n`)) {
      server.sendRaw(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await reflector.shows('n1=10.0.1.0/24 Zürich 東京 🗼');
    assert.equal(reflector.stream.errors, 0);
  });

  it('counts a bookmark as a word and goes on from its version', async () => {
    const reflector = await startWatching();
    server.store.put('/api/v1/pods', node('other', ''));
    server.sendBookmarks();
    server.endWatches();
    await reflector.until(() => server.count('watch') === 3);
    assert.equal(server.requests.at(-1)?.query.get('resourceVersion'), server.store.version);
    assert.equal(server.count('list'), 1);
    assert.equal(reflector.stream.events, 0, 'a bookmark is no change');
  });

  it('goes on without bookmarks as well', async () => {
    const reflector = await startWatching();
    for (let i = 0; i < 5; i++) {
      server.put(NODES, node('n1', `10.0.${i}.0/24`));
      await reflector.shows(`n1=10.0.${i}.0/24`);
      server.endWatches();
    }
    assert.equal(server.count('list'), 1);
    assert.equal(reflector.stream.errors, 0);
  });

  it('keeps the last good state of an object that its reader cannot make sense of', async () => {
    server.put(NODES, node('n1', '10.0.1.0/24'));
    const reflector = await startWatching({
      project: (raw) => {
        const cidr = podCidrOf(raw);
        if (cidr === 'bad') throw new Error('spec.podCIDR: expected a CIDR');
        return cidr;
      },
    });
    server.put(NODES, node('n1', 'bad'));
    server.put(NODES, node('n2', '10.0.2.0/24'));
    await reflector.shows('n1=10.0.1.0/24', 'n2=10.0.2.0/24');
    assert.equal(reflector.stream.errors, 1);
    assert.match(reflector.warnings[0] ?? '', /n1 was left as it was: spec.podCIDR: expected a CIDR/);
  });

  it('removes an object that is not of interest any more', async () => {
    server.put(NODES, node('n1', '10.0.1.0/24'));
    const reflector = await startWatching();
    server.put(NODES, { metadata: { name: 'n1' }, spec: {} });
    await reflector.shows();
    assert.deepEqual(reflector.words.at(-1), { kind: 'change', upserts: new Map(), removed: ['n1'] });
  });

  it('ends with its signal, and leaves no connection open', async () => {
    const reflector = await startWatching();
    await reflector.stop();
    await reflector.until(() => server.watching === 0);
  });
});
