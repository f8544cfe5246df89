import assert from 'node:assert/strict';
import { EtcdServer, lacksEtcd } from '../fixtures/etcd-server.ts';
import { Fleet } from './fleet.ts';
import { systemTest } from './topology/scene.ts';

/** Fifty processes on a busy machine may not get to their leases for seconds, and so may etcd with a slow disk; here nobody is to be missed. */
const LONG_LEASE_MS = 60_000;
/** As long as a test can wait for its end, for the same reason. */
const SHORT_LEASE_MS = 10_000;
const MEMBERS = 50;

async function withFleet(
  members: number,
  leaseMs: number,
  body: (fleet: Fleet, etcd: EtcdServer) => Promise<void>,
): Promise<void> {
  const etcd = await EtcdServer.start();
  const fleet = new Fleet(etcd.endpoint, leaseMs);
  try {
    await fleet.grow(members);
    await body(fleet, etcd);
  } finally {
    await fleet.close();
    await etcd.close();
  }
}

systemTest(
  'fifty gateways over one etcd all follow a new prefix, its withdrawal, and a restart of etcd',
  () =>
    withFleet(MEMBERS, LONG_LEASE_MS, async (fleet, etcd) => {
      const announcer = fleet.members[17]!;
      const spreadMs = await fleet.spread(announcer, '10.200.1.0/24');
      assert.equal(spreadMs.length, MEMBERS - 1);
      assert.equal((await fleet.withdraw(announcer, '10.200.1.0/24')).length, MEMBERS - 1);
      await etcd.kill();
      await fleet.until('all have noticed', ({ state }) => state === 'stale');
      await etcd.restart();
      await fleet.until('all watch again', ({ state }) => state === 'fresh');
      await fleet.spread(announcer, '10.200.2.0/24');
      const lost = fleet.members.flatMap(({ lostAt }) => [...lostAt.keys()]);
      assert.deepEqual(new Set(lost), new Set(['10.200.1.0/24']), 'nothing else was ever withdrawn');
    }),
  lacksEtcd(),
);

systemTest(
  'a gateway that dies is gone when its lease ends; one that is back before is not missed',
  () =>
    withFleet(3, SHORT_LEASE_MS, async (fleet) => {
      const [first, second, third] = [fleet.members[0]!, fleet.members[1]!, fleet.members[2]!];
      await second.kill();
      const again = fleet.start(2);
      await fleet.settled();
      // It speaks for itself again: what it announces now is its own.
      await fleet.spread(again, '10.200.1.0/24');
      assert.deepEqual([...first.lostAt.keys()], []);
      await third.kill();
      await fleet.until('the others do without it', ({ routes }) => !routes.has('10.3.0.0/16'), third);
      assert.deepEqual([...first.lostAt.keys()], ['10.3.0.0/16']);
      assert.deepEqual([...first.routes].sort(), ['10.2.0.0/16', '10.200.1.0/24']);
    }),
  lacksEtcd(),
);
