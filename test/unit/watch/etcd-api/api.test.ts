import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { EtcdApi } from '../../../../src/watch/etcd-api/api.ts';
import type { EtcdError } from '../../../../src/watch/etcd-api/error.ts';
import { FakeEtcd, HEADER, json, keyValue, refusal, StandingClock } from './fake-etcd.ts';

const RANGE = '/v3/kv/range';
const AUTHENTICATE = '/v3/auth/authenticate';

describe('requests to etcd', () => {
  let fake: FakeEtcd;
  let other: FakeEtcd;
  let clock: StandingClock;
  const apis: EtcdApi[] = [];
  const apiOf = (...[access]: ConstructorParameters<typeof EtcdApi>): EtcdApi => {
    const api = new EtcdApi(access, { clock });
    apis.push(api);
    return api;
  };
  const both = (): EtcdApi => apiOf({ endpoints: [fake.endpoint, other.endpoint] });
  const found = json({ header: HEADER, kvs: [keyValue('/k', 'v', 9)], count: '1' });

  beforeEach(async () => {
    [fake, other, clock] = [await FakeEtcd.start(), await FakeEtcd.start(), new StandingClock()];
  });
  afterEach(async () => {
    for (const api of apis.splice(0)) api.close();
    await Promise.all([fake.close(), other.close()]);
  });

  for (const [name, handler] of [
    ['is without a leader', refusal(503, 'etcdserver: no leader', 14)],
    ['is overloaded', refusal(429, 'etcdserver: too many requests', 8)],
    ['is no etcd', (response: Parameters<typeof found>[0]) => response.writeHead(404).end('Not Found')],
    ['says nonsense', (response: Parameters<typeof found>[0]) => response.end('<html>')],
    ['says nothing', () => clock.expireAll()],
    ['hangs up', (response: Parameters<typeof found>[0]) => response.socket?.destroy()],
  ] as const) {
    test(`an endpoint that ${name} leads to the next, which is asked first from then on`, async () => {
      fake.on(RANGE, handler);
      other.on(RANGE, found);
      const api = both();
      assert.equal(api.server, fake.endpoint);
      assert.equal((await api.get('/k'))?.value, 'v');
      assert.equal(api.server, other.endpoint);
      const before = fake.count(RANGE);
      await api.get('/k');
      assert.equal(fake.count(RANGE), before);
    });
  }

  test('what etcd refuses is not asked of its other members', async () => {
    fake.on(RANGE, refusal(403, 'etcdserver: permission denied', 7));
    other.on(RANGE, found);
    await assert.rejects(both().get('/k'), (error: EtcdError) => {
      assert.equal(error.code, 'ISTHMUS_ERR_ETCD');
      assert.equal(error.status, 403);
      assert.equal(error.passing, false);
      assert.equal(
        error.message,
        `reading /k: ${fake.endpoint}: 403 permission denied for a client without a user`,
      );
      return true;
    });
    assert.equal(other.count(RANGE), 0);
  });

  test('an error names every endpoint and what it answered', async () => {
    fake.on(RANGE, refusal(503, 'etcdserver: no leader', 14));
    const api = apiOf({ endpoints: [fake.endpoint, 'ftp://x', 'x', 'http://127.0.0.1:1'] });
    await assert.rejects(api.get('/k'), (error: EtcdError) => {
      assert.ok(error.passing);
      assert.match(
        error.message,
        /^reading \/k: http:\S+: 503 no leader; ftp:\/\/x: "ftp:\/\/x" does not begin with http/,
      );
      assert.match(
        error.message,
        /x: "x" is not an endpoint such as .*; http:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/,
      );
      return true;
    });
    await assert.rejects(apiOf({ endpoints: [] }).get('/k'), /no endpoint is given/);
  });

  test('a connection that the server closed while it was idle is not an error', async () => {
    fake.on(RANGE, found);
    const api = apiOf({ endpoints: [fake.endpoint] });
    await api.get('/k');
    let isFirst = true;
    fake.on(RANGE, (response, asked) => {
      if (!isFirst) return found(response, asked);
      isFirst = false;
      response.socket?.resetAndDestroy();
    });
    assert.equal((await api.get('/k'))?.value, 'v');
  });

  test('those who need a token at the same time ask for one only', async () => {
    fake.on(AUTHENTICATE, json({ header: HEADER, token: 'first.1' }));
    fake.on(RANGE, found);
    const api = apiOf({ endpoints: [fake.endpoint], username: 'u', password: 'p' });
    await Promise.all([api.get('/a'), api.get('/b'), api.get('/c')]);
    assert.equal(fake.count(AUTHENTICATE), 1);
    assert.deepEqual(
      fake.asked.map(({ token }) => token),
      [undefined, 'first.1', 'first.1', 'first.1'],
    );
    assert.deepEqual(fake.asked[0]?.body, { name: 'u', password: 'p' });
  });

  test('a token that etcd has forgotten is asked for anew, once', async () => {
    let tokens = 0;
    fake.on(AUTHENTICATE, (response, asked) =>
      json({ header: HEADER, token: `t.${++tokens}` })(response, asked),
    );
    fake.on(RANGE, (response, asked) =>
      (asked.token === 't.2' ? found : refusal(401, 'etcdserver: invalid auth token', 16))(response, asked),
    );
    const api = apiOf({ endpoints: [fake.endpoint], username: 'u', password: 'p' });
    assert.equal((await api.get('/k'))?.value, 'v');
    fake.on(RANGE, refusal(401, 'etcdserver: invalid auth token', 16));
    await assert.rejects(api.get('/k'), /401 invalid auth token/);
    assert.equal(tokens, 3);
  });

  test('a watch whose token etcd has forgotten is asked for once more, with another', async () => {
    let tokens = 0;
    fake.on(AUTHENTICATE, (response, asked) =>
      json({ header: HEADER, token: `t.${++tokens}` })(response, asked),
    );
    const cancel_reason = 'rpc error: code = Unauthenticated desc = etcdserver: invalid auth token';
    const says = (result: object) => (response: ServerResponse) =>
      void response.end(`${JSON.stringify({ result: { header: HEADER, created: true, ...result } })}\n`);
    const refused = says({ canceled: true, cancel_reason });
    const created = says({});
    fake.on('/v3/watch', (response, asked) => (asked.token === 't.2' ? created : refused)(response));
    const api = apiOf({ endpoints: [fake.endpoint], username: 'u', password: 'p' });
    const first = async (): Promise<string> => {
      for await (const { kind } of api.watch('/p/', 5, new AbortController().signal)) return kind;
      return 'nothing';
    };
    assert.equal(await first(), 'created');
    fake.on('/v3/watch', refused);
    assert.equal(await first(), 'canceled', 'and not for ever');
    assert.equal(tokens, 3);
  });

  test('a request whose reason is gone is not asked of the next endpoint', async () => {
    const abort = new AbortController();
    fake.on(RANGE, () => abort.abort());
    other.on(RANGE, found);
    await assert.rejects(both().get('/k', abort.signal), /stopped/);
    assert.equal(other.count(RANGE), 0);
  });
});
