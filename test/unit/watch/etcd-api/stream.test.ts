import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { silentLogger } from '../../../../src/base/log.ts';
import { EtcdApi } from '../../../../src/watch/etcd-api/api.ts';
import { EtcdStream, STEADY_MS } from '../../../../src/watch/etcd-api/stream.ts';
import type { StoreEvent } from '../../../../src/watch/store-event.ts';
import { StreamRegistry, type StreamState } from '../../../../src/watch/stream-state.ts';
import { until } from '../running-watcher.ts';
import { FakeEtcd, HEADER, hastyClock, json, keyValue, refusal } from './fake-etcd.ts';

const RANGE = '/v3/kv/range';
const WATCH = '/v3/watch';

/** One word as it is easiest to compare. */
function brief(event: StoreEvent<string>): string {
  switch (event.kind) {
    case 'replace':
      return `replace ${[...event.objects].join(' ')}`;
    case 'change':
      return `change ${[...event.upserts].join(' ')} -${event.removed.join(' -')}`;
    case 'fresh':
      return 'fresh';
    default:
      return `${event.kind} ${event.reason}`;
  }
}

describe('a stream of etcd objects', () => {
  let fake: FakeEtcd;
  let api: EtcdApi;
  let abort: AbortController;
  let state: StreamState;
  let heard: string[];
  let done: Promise<void>;
  /** How long a watch has lasted is decided by the test, unless it runs with the clock. */
  let nowMs: () => number;
  /** The watches that were opened, newest last. */
  let watches: ServerResponse[];

  const startRevision = (watch: number): unknown => {
    const asked = fake.asked.filter(({ path }) => path === WATCH)[watch];
    return (asked?.body.create_request as { start_revision?: unknown } | undefined)?.start_revision;
  };
  const tell = (result: object, watch = watches.length - 1): void => {
    watches[watch]!.write(`${JSON.stringify({ result: { header: HEADER, ...result } })}\n`);
  };
  const changed = (...kvs: object[]): object => ({ events: kvs.map((kv) => ({ kv })) });
  const says = (...words: (string | RegExp)[]): Promise<void> =>
    until(
      () =>
        words.length === heard.length &&
        words.every((word, i) => (typeof word === 'string' ? word === heard[i] : word.test(heard[i]!))),
      () => [heard, state],
    );
  const hasWatches = (count: number): Promise<void> =>
    until(
      () => watches.length === count,
      () => [heard, state],
    );
  const start = (limits: object = { probeAfterMs: 1e9, lagMs: 1e9 }): void => {
    const stream = new EtcdStream<string>({
      ...{
        api,
        prefix: '/x/',
        stream: state,
        clock: { ...hastyClock, nowMs: () => nowMs() },
        logger: silentLogger,
        random: () => 0,
        limits,
      },
      project: (_key, value) => (value === 'hidden' ? undefined : value),
    });
    done = (async () => {
      for await (const event of stream.events(abort.signal)) heard.push(brief(event));
    })();
  };

  beforeEach(async () => {
    fake = await FakeEtcd.start();
    api = new EtcdApi({ endpoints: [fake.endpoint] }, { clock: hastyClock });
    nowMs = () => 0;
    [abort, watches, heard, done] = [new AbortController(), [], [], Promise.resolve()];
    state = new StreamRegistry().open('etcd:/x/', '/x/');
    fake.on(RANGE, json({ header: HEADER, kvs: [keyValue('/x/a', '1', 9)], count: '1' }));
    fake.on(WATCH, (response) => {
      watches.push(response);
      tell({ created: true });
    });
  });
  afterEach(async () => {
    abort.abort();
    await done;
    api.close();
    await fake.close();
  });

  test('lists, watches from the next revision, and tells only what its reader would notice', async () => {
    start();
    await says('replace /x/a,1');
    await hasWatches(1);
    assert.equal(startRevision(0), 11);
    tell(changed(keyValue('/x/a', '1', 11, 2), keyValue('/x/b', 'hidden', 11)));
    tell(changed(keyValue('/x/b', '2', 12, 2)));
    await says('replace /x/a,1', 'change /x/b,2 -');
    tell({ events: [{ type: 'DELETE', kv: keyValue('/x/a', '', 13, 0) }] });
    await says('replace /x/a,1', 'change /x/b,2 -', 'change  -/x/a');
    assert.equal(state.phase, 'watching');
    assert.equal(state.objects, 1);
    assert.equal(state.events, 4);
  });

  test('goes on from the last whole revision when the connection ends, without a word if the next one works', async () => {
    start();
    await hasWatches(1);
    tell(changed(keyValue('/x/b', '2', 12)));
    // Half of a revision is told again by the next watch.
    tell({ ...changed(keyValue('/x/c', '3', 13)), fragment: true });
    await says('replace /x/a,1', 'change /x/b,2 -');
    nowMs = () => STEADY_MS;
    fake.on(WATCH, (response) => {
      watches.push(response);
      tell({ header: { ...HEADER, revision: '13' }, created: true });
    });
    watches[0]!.end();
    await hasWatches(2);
    assert.equal(startRevision(1), 13);
    tell(changed(keyValue('/x/c', '3', 13), keyValue('/x/d', '4', 13)));
    await says('replace /x/a,1', 'change /x/b,2 -', 'change /x/c,3 /x/d,4 -');
    assert.equal(state.lists.start, 1);
  });

  test('a watch that ends as soon as it has begun is told as stale, with a pause before the next', async () => {
    start();
    await hasWatches(1);
    watches[0]!.write(`${JSON.stringify({ error: { grpc_code: 14, message: 'server is going away' } })}\n`);
    await says('replace /x/a,1', 'stale etcd ended the watch: server is going away', 'fresh');
    assert.equal(state.problem, null);
    assert.equal(state.errors, 1);
  });

  test('compacted history is read anew', async () => {
    start();
    await hasWatches(1);
    fake.on(
      RANGE,
      json({ header: { ...HEADER, revision: '20' }, kvs: [keyValue('/x/b', '2', 19)], count: '1' }),
    );
    fake.on(WATCH, (response) => {
      watches.push(response);
      tell({ header: { ...HEADER, revision: '20' }, created: true });
    });
    tell({ canceled: true, compact_revision: '15' });
    await says('replace /x/a,1', /^stale .*history before revision 15 was compacted/, 'replace /x/b,2');
    await hasWatches(2);
    assert.equal(startRevision(1), 21);
    assert.equal(state.lists.expired, 1);
  });

  test('a store that is another one, or older, is read anew', async () => {
    start();
    await hasWatches(1);
    fake.on(WATCH, (response) => {
      watches.push(response);
      const header = watches.length === 2 ? { ...HEADER, cluster_id: '9' } : { ...HEADER, revision: '9' };
      tell({ ...(watches.length > 3 ? {} : { header }), created: true });
    });
    watches[0]!.end();
    await until(
      () => watches.length === 4 && state.phase === 'watching',
      () => [heard, state],
    );
    assert.equal(state.lists.expired, 2);
  });

  test('a watch that is cancelled for another reason goes on where it was, with that reason', async () => {
    start();
    await hasWatches(1);
    tell({ canceled: true, cancel_reason: 'etcdserver: permission denied' });
    await says('replace /x/a,1', 'stale watching /x/: etcdserver: permission denied', 'fresh');
    assert.equal(startRevision(1), 11);
    assert.equal(state.lists.start, 1);
  });

  test('what makes no sense is read anew, because a watch from there would bring it again', async () => {
    start();
    await hasWatches(1);
    watches[0]!.write('{"result":{"header":{"revision":"x"}}}\n');
    await says('replace /x/a,1', /^stale etcd's answer to watch is not as its API says/, 'replace /x/a,1');
    assert.equal(state.lists.error, 1);
  });

  test('a first list that fails is told, and tried again until it works', async () => {
    fake.on(RANGE, refusal(503, 'etcdserver: no leader', 14));
    start();
    await until(
      () => fake.count(RANGE) > 2 && state.phase === 'waiting',
      () => [heard, state],
    );
    assert.match(heard[0]!, /^stale reading \/x\/: http:\S+: 503 no leader$/);
    assert.equal(state.lists.start, 0);
    fake.on(RANGE, json({ header: HEADER, kvs: [keyValue('/x/a', '1', 9)], count: '1' }));
    await until(
      () => heard.at(-1) === 'replace /x/a,1',
      () => heard,
    );
  });

  test('silence is checked against the store; a store that does not answer ends the watch', async () => {
    nowMs = hastyClock.nowMs;
    start({ probeAfterMs: 1000, lagMs: 1000 });
    await hasWatches(1);
    fake.on(RANGE, json({ header: { ...HEADER, revision: '30' }, kvs: [], count: '1' }));
    await until(
      () => fake.count(RANGE) >= 5,
      () => state,
    );
    assert.deepEqual(heard, ['replace /x/a,1']);
    fake.on(RANGE, refusal(503, 'etcdserver: request timed out', 14));
    await until(
      () => watches.length > 1,
      () => state,
    );
    // By comparison it knew that nothing had happened up to 30.
    assert.equal(startRevision(1), 31);
    assert.equal(state.lists.silent, 0);
  });

  test('a watch that has not told of a key that came or went is given up', async () => {
    nowMs = hastyClock.nowMs;
    start({ probeAfterMs: 1000, lagMs: 1000 });
    await hasWatches(1);
    fake.on(RANGE, json({ header: { ...HEADER, revision: '30' }, kvs: [], count: '0' }));
    await until(
      () => heard.at(-1) === 'replace ',
      () => [heard, state],
    );
    assert.equal(state.lists.silent, 1);
  });
});
