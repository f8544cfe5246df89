import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { EtcdApi } from '../../src/watch/etcd-api/api.ts';
import { EtcdServer, type EtcdServerOptions, lacksEtcd } from '../fixtures/etcd-server.ts';
import { until } from '../unit/watch/running-watcher.ts';
import { type EtcdGateway, Started } from './etcd-gateway.ts';
import { EtcdRelay } from './etcd-relay.ts';

const KEY = '/isthmus/v1/clusters/';

function etcdTest(
  name: string,
  body: (server: EtcdServer, started: Started, t: TestContext) => Promise<void>,
  options: EtcdServerOptions = {},
): void {
  test(name, { skip: lacksEtcd() ?? false }, async (t) => {
    const started = new Started();
    const server = started.add(await EtcdServer.start(options), (it) => it.close());
    try {
      await body(server, started, t);
    } finally {
      await started.end();
    }
  });
}

function east(server: EtcdServer, started: Started, more: object = {}): EtcdGateway {
  return started.gateway({
    ...{ access: { endpoints: [server.endpoint] }, cluster: 'east', gateway: 'gw-1' },
    ...{ address: '172.31.0.1', cidrs: ['10.1.0.0/16'], ...more },
  });
}

function west(server: EtcdServer, started: Started, more: object = {}): EtcdGateway {
  return started.gateway({
    ...{ access: { endpoints: [server.endpoint] }, cluster: 'west', gateway: 'gw-1' },
    ...{ address: '172.31.0.2', cidrs: ['10.2.0.0/16'], ...more },
  });
}

function words(gateway: EtcdGateway): string[] {
  return gateway.running.updates.map(({ kind }) => kind);
}

async function leaseOf(server: EtcdServer, key: string): Promise<string | undefined> {
  return (await new EtcdApi({ endpoints: [server.endpoint] }).get(key))?.lease;
}

etcdTest('two gateways learn of each other, and nothing of themselves', async (server, started) => {
  const a = east(server, started);
  const b = west(server, started);
  await a.running.shows('10.2.0.0/16 west');
  await b.running.shows('10.1.0.0/16 east');
  const [route] = [...a.running.table.routes()];
  assert.deepEqual(route?.gateways, [{ address: 0xac1f0002, weight: 1 }]);
  assert.deepEqual(a.notes.get('west'), {
    ...{ origin: 'etcd:/isthmus/', dns: null, server: server.endpoint, problems: [] },
  });
});

etcdTest('a gateway of our own cluster makes no routes', async (server, started) => {
  const a = east(server, started);
  const sibling = east(server, started, { gateway: 'gw-2', address: '172.31.0.3' });
  const b = west(server, started);
  await b.running.shows('10.1.0.0/16 east');
  await until(
    () => [...b.running.table.routes()][0]?.gateways.length === 2,
    () => b.running.routes,
  );
  await a.running.shows('10.2.0.0/16 west');
  await sibling.running.shows('10.2.0.0/16 west');
});

etcdTest(
  'another address and other CIDRs are announced in place, under the same lease',
  async (server, started) => {
    const a = east(server, started);
    const b = west(server, started);
    await a.running.shows('10.2.0.0/16 west');
    const lease = await leaseOf(server, `${KEY}west/gateways/gw-1`);
    b.become('172.31.0.22', ['10.2.0.0/16', '10.3.0.0/16']);
    await a.running.shows('10.2.0.0/16 west', '10.3.0.0/16 west');
    assert.deepEqual([...a.running.table.routes()][0]?.gateways, [{ address: 0xac1f0016, weight: 1 }]);
    assert.equal(await leaseOf(server, `${KEY}west/gateways/gw-1`), lease);
    assert.ok(!words(a).includes('remove'));
  },
);

etcdTest('a gateway whose address is not known yet is announced once it is', async (server, started) => {
  const a = east(server, started);
  const b = west(server, started, { address: undefined });
  await b.running.shows('10.1.0.0/16 east');
  await until(
    () => b.announcement.problem !== null,
    () => b.announcement,
  );
  assert.match(b.announcement.problem ?? '', /underlay address is not known yet/);
  b.become('172.31.0.2', ['10.2.0.0/16']);
  await a.running.shows('10.2.0.0/16 west');
  b.become(undefined, ['10.2.0.0/16']);
  await until(
    () => b.announcement.problem !== null,
    () => b.announcement,
  );
  assert.ok(!words(a).includes('remove'), 'an address that is lost for a while withdraws nothing');
});

etcdTest(
  'a gateway that is told to leave is gone at once, one that is only stopped is not',
  async (server, started) => {
    const a = east(server, started);
    const b = west(server, started);
    await a.running.shows('10.2.0.0/16 west');
    await b.announced();
    await b.stop();
    const again = west(server, started, { withdrawOnStop: () => true });
    await again.announced();
    assert.ok(!words(a).includes('remove'), 'a restart withdraws nothing');
    await again.stop();
    await a.running.shows();
  },
);

etcdTest('a record that somebody deletes is put back', async (server, started) => {
  const a = east(server, started);
  const b = west(server, started);
  await a.running.shows('10.2.0.0/16 west');
  await b.announced();
  await server.remove(`${KEY}west/gateways/gw-1`);
  await until(
    () => words(a).includes('remove'),
    () => words(a),
  );
  await a.running.shows('10.2.0.0/16 west');
});

etcdTest('a lease that somebody revokes is granted anew', async (server, started) => {
  const a = east(server, started);
  const b = west(server, started);
  await a.running.shows('10.2.0.0/16 west');
  await b.announced();
  const lease = (await leaseOf(server, `${KEY}west/gateways/gw-1`)) as string;
  await new EtcdApi({ endpoints: [server.endpoint] }).revoke(lease);
  await until(
    () => words(a).includes('remove'),
    () => words(a),
  );
  await a.running.shows('10.2.0.0/16 west');
  assert.notEqual(await leaseOf(server, `${KEY}west/gateways/gw-1`), lease);
});

etcdTest(
  'a name that another gateway holds is not fought for, and taken over once it is free',
  async (server, started) => {
    const a = east(server, started);
    const holder = west(server, started, { withdrawOnStop: () => true });
    await holder.announced();
    await a.running.shows('10.2.0.0/16 west');
    const second = west(server, started, { address: '172.31.0.9' });
    await until(
      () => second.announcement.problem !== null,
      () => second.announcement,
    );
    assert.match(
      second.announcement.problem ?? '',
      /the name west\/gw-1 is taken by a gateway at 172\.31\.0\.2;/,
    );
    assert.match(second.announcement.problem ?? '', /cluster\.gateway/);
    await second.running.shows('10.1.0.0/16 east');
    assert.equal(holder.announcement.problem, null);
    await holder.stop();
    await until(
      () => [...a.running.table.routes()][0]?.gateways[0]?.address === 0xac1f0009,
      () => a.running.routes,
    );
    await second.announced();
  },
);

etcdTest('a malformed record is named, and what it said before stays', async (server, started) => {
  const a = east(server, started, { register: false });
  await server.put(
    `${KEY}west/gateways/by-hand`,
    '{"address":"172.31.0.2","cidrs":["10.2.0.0/16","2001:db8::/64"]}',
  );
  await a.running.shows('10.2.0.0/16 west', '2001:db8::/64 west');
  await server.put(`${KEY}west/gateways/by-hand`, '{"address":"172.31.0.2","cidrs":["10.2.0.1/16"]}');
  await a.running.isStale(
    /clusters\/west\/gateways\/by-hand: cidrs\[0\]: "10\.2\.0\.1\/16" has host bits set/,
  );
  await server.put(`${KEY}north/gateways/gw-1`, '{"address":"172.31.0.5","cidrs":["10.5.0.0/16"]}');
  await a.running.shows('10.2.0.0/16 west', '10.5.0.0/16 north', '2001:db8::/64 west');
  await server.remove(`${KEY}west/gateways/by-hand`);
  await a.running.shows('10.5.0.0/16 north');
  await a.running.isFresh();
});

etcdTest(
  'a restart of etcd withdraws nothing, and what changes after it is followed',
  async (server, started) => {
    const a = east(server, started);
    const b = west(server, started);
    await a.running.shows('10.2.0.0/16 west');
    await b.announced();
    await server.kill();
    await a.running.isStale(/ECONNREFUSED/);
    assert.deepEqual(a.running.routes, ['10.2.0.0/16 west']);
    await server.restart();
    await a.running.isFresh();
    b.become('172.31.0.2', ['10.2.0.0/16', '10.3.0.0/16']);
    await a.running.shows('10.2.0.0/16 west', '10.3.0.0/16 west');
    assert.ok(!words(a).includes('remove'));
    assert.equal(
      words(a).filter((word) => word === 'replace').length,
      1,
      'the watch went on from where it was',
    );
  },
);

etcdTest(
  'what came and went while history was lost is found by reading everything',
  async (server, started) => {
    const relay = started.add(await EtcdRelay.to(server.endpoint), (it) => it.cut());
    const record = (n: number): string =>
      JSON.stringify({ address: '172.31.0.2', cidrs: [`10.${n}.0.0/16`] });
    for (const n of [2, 3]) await server.put(`${KEY}west/gateways/gw-${n}`, record(n));
    const a = east(server, started, { access: { endpoints: [relay.endpoint] }, register: false });
    await a.running.shows('10.2.0.0/16 west', '10.3.0.0/16 west');
    await relay.cut();
    await a.running.isStale(/ECONNREFUSED/);
    await server.remove(`${KEY}west/gateways/gw-2`);
    await server.put(`${KEY}west/gateways/gw-4`, record(4));
    await server.compact();
    await relay.restore();
    await a.running.shows('10.3.0.0/16 west', '10.4.0.0/16 west');
    await a.running.isFresh();
    assert.equal(a.list.lists.expired, 1);
  },
);

etcdTest(
  'another store behind the same address is noticed, though etcd would wait in silence for the old revision',
  async (server, started) => {
    for (const n of [2, 3, 4])
      await server.put(`${KEY}west/gateways/gw-${n}`, '{"address":"172.31.0.2","cidrs":["10.2.0.0/16"]}');
    const a = east(server, started, { register: false });
    await a.running.shows('10.2.0.0/16 west');
    await server.stop();
    await server.forget();
    await server.restart();
    await server.put(`${KEY}north/gateways/gw-1`, '{"address":"172.31.0.5","cidrs":["10.5.0.0/16"]}');
    await a.running.shows('10.5.0.0/16 north');
    assert.equal(a.list.lists.expired, 1);
  },
);

etcdTest('a watch that only looks alive is given up and everything read again', async (server, started) => {
  const relay = started.add(await EtcdRelay.to(server.endpoint), (it) => it.cut());
  const access = { endpoints: [relay.endpoint] };
  const limits = { probeAfterMs: 200, lagMs: 100 };
  const a = east(server, started, { access, register: false, limits });
  await until(
    () => a.running.source.state === 'fresh' && a.list.phase === 'watching',
    () => a.list,
  );
  relay.silenceWatches();
  await server.put(`${KEY}west/gateways/gw-1`, '{"address":"172.31.0.2","cidrs":["10.2.0.0/16"]}');
  await a.running.shows('10.2.0.0/16 west');
  assert.equal(a.list.lists.silent, 1);
});

etcdTest(
  'silence in which nothing happens is no fault, whatever is written elsewhere',
  async (server, started) => {
    const a = east(server, started, { register: false, limits: { probeAfterMs: 50, lagMs: 50 } });
    await server.put(`${KEY}west/gateways/gw-1`, '{"address":"172.31.0.2","cidrs":["10.2.0.0/16"]}');
    await a.running.shows('10.2.0.0/16 west');
    let heard = 0;
    let last: number | null = null;
    await until(
      () => {
        if (a.list.lastEventMs !== last) heard++;
        last = a.list.lastEventMs;
        return heard > 5;
      },
      () => a.list,
    );
    await server.put('/elsewhere', 'x');
    heard = 0;
    await until(
      () => {
        if (a.list.lastEventMs !== last) heard++;
        last = a.list.lastEventMs;
        return heard > 5;
      },
      () => a.list,
    );
    assert.deepEqual(a.list.lists, { start: 1, expired: 0, 'closed-early': 0, silent: 0, error: 0 });
    // The comparison also moves the place to go on from, so that compaction of what concerns others costs nothing.
    await server.compact();
    await server.restart();
    await server.put(`${KEY}west/gateways/gw-1`, '{"address":"172.31.0.2","cidrs":["10.3.0.0/16"]}');
    await a.running.shows('10.3.0.0/16 west');
    assert.equal(a.list.lists.expired, 0);
  },
);

etcdTest('of two endpoints one may be dead', async (server, started) => {
  const endpoints = ['http://127.0.0.1:1', server.endpoint];
  const a = east(server, started, { access: { endpoints } });
  const b = west(server, started, { access: { endpoints: endpoints.toReversed() } });
  await a.running.shows('10.2.0.0/16 west');
  await b.running.shows('10.1.0.0/16 east');
  assert.equal(a.list.problem, null);
});

etcdTest(
  'an etcd without its JSON gateway is named as such',
  async (server, started) => {
    const a = east(server, started, { register: false });
    await a.running.isStale(/404 .*--enable-grpc-gateway/);
  },
  { flags: ['--enable-grpc-gateway=false'] },
);

etcdTest('a leased record ends with its lease when nobody keeps it alive', async (server, started) => {
  const a = east(server, started, { register: false });
  const api = started.add(new EtcdApi({ endpoints: [server.endpoint] }), async (it) => it.close());
  const lease = await api.grant(2);
  const key = `${KEY}west/gateways/gw-1`;
  const value = '{"address":"172.31.0.2","cidrs":["10.2.0.0/16"]}';
  assert.equal(await api.putIf({ key, value, lease, modRevision: 0 }), true);
  assert.equal(await api.putIf({ key, value, lease, modRevision: 0 }), false);
  await a.running.shows('10.2.0.0/16 west');
  await a.running.shows();
  assert.equal(await api.keepAlive(lease), false);
  await api.revoke(lease);
});
