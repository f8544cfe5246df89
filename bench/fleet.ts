import { summary } from '../src/measure/statistics.ts';
import { EtcdServer, lacksEtcd } from '../test/fixtures/etcd-server.ts';
import { Fleet } from '../test/system/fleet.ts';
import type { FleetSection } from './results.ts';
import { say } from './sandboxed.ts';

const LEASE_MS = 10_000;
/** The first rounds compile what the others run. */
const WARM_UP = 2;

/** A fleet over one etcd: how long a change of one gateway takes to reach the tables of all others. */
export async function fleet(options: {
  readonly members: number;
  readonly rounds: number;
}): Promise<Omit<FleetSection, 'run'>> {
  const { members, rounds } = options;
  const lacks = lacksEtcd();
  if (lacks !== undefined) throw new Error(lacks);
  const etcd = await EtcdServer.start();
  const gateways = new Fleet(etcd.endpoint, LEASE_MS);
  const learnedMs: number[] = [];
  const convergedMs: number[] = [];
  const withdrawnMs: number[] = [];
  try {
    await gateways.grow(members);
    for (let round = -WARM_UP; round < rounds; round++) {
      const announcer = gateways.members[(round + WARM_UP) % members]!;
      const cidr = `10.200.${round + WARM_UP}.0/24`;
      const spread = await gateways.spread(announcer, cidr);
      const withdrawn = await gateways.withdraw(announcer, cidr);
      if (round < 0) continue;
      learnedMs.push(...spread);
      convergedMs.push(summary(spread).max);
      withdrawnMs.push(summary(withdrawn).max);
    }
  } finally {
    await gateways.close();
    await etcd.close();
  }
  const { median, max } = summary(convergedMs);
  say(`fleet    ${members} gateways converge in ${median.toFixed(0)} ms, ${max.toFixed(0)} ms at worst`);
  return { members, rounds, learnedMs, convergedMs, withdrawnMs };
}
