import { monotonicMs } from '../src/measure/load/monotonic.ts';
import { median } from '../src/measure/statistics.ts';
import { twoClusters } from '../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from '../test/system/topology/agent-commands.ts';
import { joinClusters } from '../test/system/topology/gateway-process.ts';
import type { RestartSection } from './results.ts';
import { say } from './sandboxed.ts';

const PROBE_MS = 1;
const RECOVERY_MS_MAX = 20_000;

/** Kills a gateway with SIGKILL and starts it again: the time from the start of the process to the first echo reply. */
export async function restart(options: { readonly repeats: number }): Promise<Omit<RestartSection, 'run'>> {
  const scene = await joinClusters(await twoClusters());
  try {
    const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
    const isNow = (until: boolean): Promise<{ readonly at: number }> =>
      agent.call('reachability', {
        ...{ destination: scene.b.pods[0]!.address, until, intervalMs: PROBE_MS },
        timeoutMs: RECOVERY_MS_MAX,
      });
    const forwardsMs: number[] = [];
    for (let repeat = 0; repeat < options.repeats; repeat++) {
      await isNow(true);
      await scene.gwA.kill('SIGKILL');
      await isNow(false);
      const forwards = isNow(true);
      const startedAt = monotonicMs();
      scene.gwA.start();
      // When the reply is back, not when the request left: it may have waited in the new device queue for the engine to start.
      await forwards;
      forwardsMs.push(monotonicMs() - startedAt);
      await scene.gwA.ready();
    }
    say(`restart  forwards ${median(forwardsMs).toFixed(0)} ms after its start`);
    return { forwardsMs, probeMs: PROBE_MS };
  } finally {
    await scene.topology.close();
  }
}
