import assert from 'node:assert/strict';
import { type Machine, poll } from '../../../src/measure/topology.ts';
import type { PingAnswer } from './agent-commands.ts';
import { TRAFFIC_AGENT } from './agent-commands.ts';
import type { JoinedClusters } from './gateway-process.ts';

/** What can be asked while the series runs. */
export interface RunningSeries {
  /** Resolves when `count` more replies have come. */
  replies(count: number): Promise<void>;
}

/** Pings from `machine` to `destination` until `body` is done, and returns how every single one fared. */
export async function whilePinging(
  machine: Machine,
  destination: string,
  intervalMs: number,
  body: (series: RunningSeries) => Promise<void>,
): Promise<PingAnswer> {
  const agent = await machine.agent(TRAFFIC_AGENT);
  const received = async () => (await agent.call('pingProgress', null)).received;
  const answer = agent.call('ping', {
    ...{ destination, count: 600_000, intervalMs, sizeBytes: 84, seed: 1, timeoutMs: 2000 },
  });
  const replies = async (count: number): Promise<void> => {
    const wanted = (await received()) + count;
    await poll(`${count} replies from ${destination}`, 20_000, async () => (await received()) >= wanted);
  };
  await replies(1);
  await body({ replies });
  await agent.call('stop', null);
  const series = await answer;
  await agent.close();
  return series;
}

/** As many pings as `count`, between the first pods of A and B or to another address, and each is answered. */
export async function flows(scene: JoinedClusters, destination?: string, count = 100): Promise<void> {
  const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
  const { lost, corrupted } = await agent.call('ping', {
    ...{ destination: destination ?? scene.b.pods[0]!.address, count, intervalMs: 1 },
    ...{ sizeBytes: 84, seed: 1, timeoutMs: 2000 },
  });
  assert.deepEqual([lost, corrupted], [[], 0]);
  await agent.close();
}
