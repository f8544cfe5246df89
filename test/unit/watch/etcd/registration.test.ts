import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { parseAddress, parseCidr } from '../../../../src/base/address.ts';
import type { Clock } from '../../../../src/base/clock.ts';
import { silentLogger } from '../../../../src/base/log.ts';
import { ClusterNotes } from '../../../../src/watch/cluster-notes.ts';
import { encodeRecord, RECORD_BYTES_MAX, recordKey } from '../../../../src/watch/etcd/record.ts';
import { Registration } from '../../../../src/watch/etcd/registration.ts';
import { EtcdApi } from '../../../../src/watch/etcd-api/api.ts';
import { OwnGatewayFeed } from '../../../../src/watch/own-gateway.ts';
import { StreamRegistry, type StreamState } from '../../../../src/watch/stream-state.ts';
import {
  FakeEtcd,
  HEADER,
  hastyClock,
  json,
  keyValue,
  refusal,
  StandingClock,
} from '../etcd-api/fake-etcd.ts';
import { until } from '../running-watcher.ts';

const KEY = recordKey('/isthmus/', 'east', 'gw-1');
const ADDRESS = parseAddress('172.31.0.1');
const CIDR = parseCidr('10.1.0.0/16');

describe('the announcement of this gateway', () => {
  let fake: FakeEtcd;
  let api: EtcdApi;
  let own: OwnGatewayFeed;
  let state: StreamState;
  let abort: AbortController;
  let registration: Registration;
  let done: Promise<void>;
  let after: Clock['after'];

  const has = (problem: RegExp | null): Promise<void> =>
    until(
      () => (problem === null ? state.phase === 'watching' : problem.test(state.problem ?? '')),
      () => state,
    );
  /** What stands under our key. */
  const holds = (value: string, lease: string): void =>
    fake.on(
      '/v3/kv/range',
      json({ header: HEADER, kvs: [{ ...keyValue(KEY, value, 9), lease }], count: '1' }),
    );

  beforeEach(async () => {
    fake = await FakeEtcd.start();
    api = new EtcdApi({ endpoints: [fake.endpoint] }, { clock: hastyClock });
    own = new OwnGatewayFeed({ cluster: 'east', name: 'gw-1', address: ADDRESS, cidrs: [CIDR] });
    const streams = new StreamRegistry();
    state = streams.open('etcd:/isthmus/', 'announcement of gw-1');
    const environment = {
      ...{
        clock: { ...hastyClock, after: (delayMs: number, action: () => void) => after(delayMs, action) },
        logger: silentLogger,
        random: () => 0,
        streams,
        own,
        family: 'ipv4' as const,
      },
      notes: new ClusterNotes(),
    };
    registration = new Registration({
      ...{ api, prefix: '/isthmus/', leaseMs: 9000, weight: 1, environment, stream: state },
    });
    abort = new AbortController();
    after = hastyClock.after;
    fake.on('/v3/lease/grant', json({ ID: '77', TTL: '9' }));
    fake.on('/v3/lease/keepalive', json({ result: { ID: '77', TTL: '9' } }));
    fake.on('/v3/kv/range', json({ header: HEADER }));
    fake.on('/v3/kv/txn', json({ header: HEADER, succeeded: true }));
  });
  afterEach(async () => {
    abort.abort();
    await done;
    api.close();
    await fake.close();
  });
  const start = (): void => {
    done = registration.run(abort.signal);
  };

  test('is written under a lease, only where nothing stands', async () => {
    start();
    await has(null);
    const [asked] = fake.asked.filter(({ path }) => path === '/v3/kv/txn');
    const key = Buffer.from(KEY).toString('base64');
    const value = Buffer.from(encodeRecord({ address: ADDRESS, weight: 1, cidrs: [CIDR] })).toString(
      'base64',
    );
    assert.deepEqual(asked?.body, {
      compare: [{ key, target: 'MOD', result: 'EQUAL', mod_revision: 0 }],
      success: [{ request_put: { key, value, lease: '77' } }],
    });
    assert.deepEqual(fake.asked[0]?.body, { TTL: 9 });
  });

  test('replaces what its predecessor left, and no record of a living gateway', async () => {
    holds(encodeRecord({ address: parseAddress('172.31.0.9'), weight: 1, cidrs: [] }), '5');
    start();
    await has(
      /the name east\/gw-1 is taken by a gateway at 172\.31\.0\.9; .* or this one takes over when it is gone/,
    );
    assert.equal(fake.count('/v3/kv/txn'), 0);
    holds(encodeRecord({ address: ADDRESS, weight: 1, cidrs: [] }), '5');
    await has(null);
  });

  test('a second process with the same name and address is not fought', async () => {
    start();
    await has(null);
    holds(encodeRecord({ address: ADDRESS, weight: 1, cidrs: [] }), '5');
    const before = fake.count('/v3/kv/txn');
    await has(/taken by a gateway at 172\.31\.0\.1/);
    assert.equal(fake.count('/v3/kv/txn'), before);
  });

  test('what somebody put there by hand stays if it can be read, and goes if not', async () => {
    holds('{"address":"172.31.0.9","cidrs":[]}', '0');
    start();
    await has(/taken by a gateway at 172\.31\.0\.9; .* or delete it there/);
    holds('scribble', '0');
    await has(null);
  });

  test('a record that cannot be read is left alone while somebody keeps it alive', async () => {
    holds('{"newer":"form"}', '5');
    start();
    await has(/taken by somebody whose record cannot be read/);
    assert.equal(fake.count('/v3/kv/txn'), 0);
  });

  test('a lease that is gone is granted anew', async () => {
    start();
    await has(null);
    let granted = 77;
    fake.on('/v3/lease/grant', (response, asked) =>
      json({ ID: String(++granted), TTL: '9' })(response, asked),
    );
    fake.on('/v3/lease/keepalive', (response, asked) =>
      json({ result: { ID: String(asked.body.ID), ...(asked.body.ID === '77' ? {} : { TTL: '9' }) } })(
        response,
        asked,
      ),
    );
    await until(
      () => granted === 78,
      () => state,
    );
    await has(null);
  });

  test('a key that somebody writes all the time is tried a few times at once, then later', async () => {
    fake.on('/v3/kv/txn', json({ header: HEADER }));
    start();
    await has(/is written by somebody else all the time/);
    fake.on('/v3/kv/txn', json({ header: HEADER, succeeded: true }));
    await has(null);
  });

  test('more CIDRs than etcd takes are a problem and no request', async () => {
    // 14 bytes and a comma each, in the form in which they are written.
    const cidrs = Array.from({ length: Math.ceil(RECORD_BYTES_MAX / 15) }, (_, i) => ({
      address: (0x0a00_0000 + i * 256) >>> 0,
      prefixLength: 24,
    }));
    own.set({ cluster: 'east', name: 'gw-1', address: ADDRESS, cidrs });
    start();
    await has(/its CIDRs take \d+ bytes, etcd takes 1048576/);
    assert.deepEqual(fake.asked, []);
    own.set({ cluster: 'east', name: 'gw-1', address: ADDRESS, cidrs: [CIDR] });
    await has(null);
  });

  test('another name takes the old record away', async () => {
    start();
    await has(null);
    own.set({ cluster: 'east', name: 'gw-2', address: ADDRESS, cidrs: [CIDR] });
    const key = Buffer.from(KEY).toString('base64');
    const deletion = {
      compare: [{ key, target: 'LEASE', result: 'EQUAL', lease: '77' }],
      success: [{ request_delete_range: { key } }],
    };
    await until(
      () => fake.asked.some(({ body }) => JSON.stringify(body) === JSON.stringify(deletion)),
      () => fake.asked,
    );
    await has(null);
  });

  test('leaving revokes the lease, and waits no longer than stopping may take', async () => {
    await registration.withdraw();
    assert.equal(fake.count('/v3/lease/revoke'), 0, 'there is nothing to revoke');
    start();
    await has(null);
    abort.abort();
    await done;
    const clock = new StandingClock();
    after = (delayMs, action) => clock.after(delayMs, action);
    fake.on('/v3/lease/revoke', () => clock.expireAll());
    await registration.withdraw();
    assert.equal(fake.count('/v3/lease/revoke'), 1);
    await registration.withdraw();
    assert.equal(fake.count('/v3/lease/revoke'), 1);
  });

  test('trouble is told with its reason, and tried again', async () => {
    fake.on('/v3/lease/grant', refusal(503, 'etcdserver: no leader', 14));
    start();
    await has(/granting a lease: .*: 503 no leader/);
    fake.on('/v3/lease/grant', json({ ID: '77', TTL: '9' }));
    await has(null);
    assert.equal(state.problem, null);
  });
});
