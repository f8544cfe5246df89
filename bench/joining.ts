import { monotonicMs } from '../src/measure/load/monotonic.ts';
import { median } from '../src/measure/statistics.ts';
import { TRAFFIC_AGENT } from '../test/system/topology/agent-commands.ts';
import { isthmusOf, kubernetesClusters } from '../test/system/topology/kubernetes-clusters.ts';
import type { KubernetesSection } from './results.ts';
import { say } from './sandboxed.ts';

const PROBE_MS = 5;
const JOINED_MS_MAX = 60_000;

/** Two clusters are joined and parted by the commands, again and again: from the end of each to the first echo reply, or the first lost request. */
export async function joining(
  joins: number,
): Promise<Pick<KubernetesSection, 'joinSeconds' | 'joinedMs' | 'leftMs'>> {
  const clusters = await kubernetesClusters();
  const { topology, east, west, a, b } = clusters;
  try {
    const gateways = [...east.gateways, ...west.gateways];
    for (const gateway of gateways) gateway.start();
    await Promise.all(gateways.map((gateway) => gateway.ready()));
    const agent = await a.pods[0]!.machine.agent(TRAFFIC_AGENT);
    const joinSeconds: number[] = [];
    /** Negative where packets were faster than the command, which has a last word to say. */
    const run = async (command: 'join' | 'leave'): Promise<number> => {
      const until = command === 'join';
      const changed = agent.call('reachability', {
        ...{ destination: b.pods[0]!.address, until, intervalMs: PROBE_MS, timeoutMs: JOINED_MS_MAX },
      });
      const startedAt = monotonicMs();
      await isthmusOf(clusters, command);
      const endedAt = monotonicMs();
      if (until) joinSeconds.push((endedAt - startedAt) / 1000);
      return (await changed).at - endedAt;
    };
    const joinedMs: number[] = [];
    const leftMs: number[] = [];
    for (let join = 0; join < joins; join++) {
      joinedMs.push(await run('join'));
      leftMs.push(await run('leave'));
    }
    say(`kubernetes  joined ${median(joinedMs).toFixed(0)} ms after the command's end`);
    return { joinSeconds, joinedMs, leftMs };
  } finally {
    await topology.close();
  }
}
