import { setTimeout as sleep } from 'node:timers/promises';
import { monotonicMs } from '../src/measure/load/monotonic.ts';
import { median } from '../src/measure/statistics.ts';
import { kubeApiServerMissing } from '../test/fixtures/kube-api-server.ts';
import { TRAFFIC_AGENT, type TrafficAgent } from '../test/system/topology/agent-commands.ts';
import {
  configureReader,
  type LargeClusters,
  largeClusters,
} from '../test/system/topology/large-clusters.ts';
import { joining } from './joining.ts';
import { atRestMiB, REST_MS, residentMiB } from './memory.ts';
import type { KubernetesRow, KubernetesSection } from './results.ts';
import { say } from './sandboxed.ts';

const CLUSTERS = 3;
const READY_MS_MAX = 120_000;
const CHANGE_MS_MAX = 10_000;
/** While a gateway starts it is asked so seldom that the questions do not slow it down. */
const START_PROBE_MS = 20;
const PROBE_MS = 2;
/** Between two changes: far enough apart that each is met by a gateway at rest. */
const BETWEEN_CHANGES_MS = 100;
/** An address of the nodes' network that no node has: the router drops what goes there. */
const NOWHERE = '172.23.255.254';

const SOURCES = [
  { what: 'Nodes', source: { kind: 'kubernetes' } },
  { what: 'Nodes and blocks of Calico', source: { kind: 'calico', aggregate: 'block' } },
] as const;

export interface KubernetesOptions {
  /** Nodes, and blocks, of each cluster. */
  readonly objects: number;
  readonly repeats: number;
  readonly changes: number;
  readonly joins: number;
}

/** Large clusters with real API servers: how long a start takes and how much memory, how long a change of one node, and how long joining. */
export async function kubernetes(options: KubernetesOptions): Promise<Omit<KubernetesSection, 'run'>> {
  const lacks = kubeApiServerMissing();
  if (lacks !== undefined) throw new Error(lacks);
  const { objects } = options;
  const madeMs = performance.now();
  const scene = await largeClusters({ clusters: CLUSTERS, nodes: objects, blocks: true });
  const rows: KubernetesRow[] = [];
  try {
    const madeSeconds = (performance.now() - madeMs) / 1000;
    say(`kubernetes  ${CLUSTERS} API servers with their objects after ${madeSeconds.toFixed(0)} s`);
    const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
    for (const { what, source } of SOURCES) {
      configureReader(scene, source);
      const starts = await measureStarts(scene, agent, options);
      const changedMs = await measureChanges(scene, agent, options.changes);
      await scene.gwA.kill('SIGTERM');
      rows.push({ what, ...starts, changedMs });
      say(
        `kubernetes  ${what}: forwards after ${median(starts.forwardsSeconds).toFixed(1)} s with ${median(starts.idleMiB).toFixed(0)} MiB; a change takes ${median(changedMs).toFixed(0)} ms`,
      );
    }
  } finally {
    await scene.topology.close();
  }
  return { clusters: CLUSTERS, objects, rows, probeMs: PROBE_MS, ...(await joining(options.joins)) };
}

type Starts = Pick<KubernetesRow, 'readySeconds' | 'forwardsSeconds' | 'idleMiB' | 'peakMiB'>;

/** Starts it several times without state, and leaves the last one running. */
async function measureStarts(
  scene: LargeClusters,
  agent: TrafficAgent,
  { objects, repeats }: KubernetesOptions,
): Promise<Starts> {
  const { gwA, clusters } = scene;
  const readySeconds: number[] = [];
  const forwardsSeconds: number[] = [];
  const idleMiB: number[] = [];
  const peakMiB: number[] = [];
  for (let repeat = 0; repeat < repeats; repeat++) {
    if (repeat > 0) await gwA.kill('SIGTERM');
    const startedAt = monotonicMs();
    gwA.start();
    const forwards = allForwarded(scene, agent);
    await gwA.ready(READY_MS_MAX, START_PROBE_MS);
    readySeconds.push((monotonicMs() - startedAt) / 1000);
    await forwards;
    forwardsSeconds.push((monotonicMs() - startedAt) / 1000);
    const { routes } = (await gwA.status()).counts;
    if (routes !== clusters.length * objects) throw new Error(`${routes} routes are known`);
    await sleep(REST_MS);
    idleMiB.push(await atRestMiB(gwA.daemon.pid));
    peakMiB.push(residentMiB(gwA.daemon.pid, 'VmHWM'));
  }
  return { readySeconds, forwardsSeconds, idleMiB, peakMiB };
}

/** Resolves when the pod of the last node of each cluster answers: a cluster's routes come all at once, and its last is that node's. */
async function allForwarded({ clusters }: LargeClusters, agent: TrafficAgent): Promise<void> {
  for (const { pod } of clusters)
    await agent.call('reachability', {
      ...{ destination: pod, until: true, intervalMs: START_PROBE_MS, timeoutMs: READY_MS_MAX },
    });
}

/**
 * The last node of a cluster gets an address where nobody is, and its own again, in one cluster after the other: from the request to the
 * API server to the first echo request that went the new way.
 */
async function measureChanges(
  { clusters, b }: LargeClusters,
  agent: TrafficAgent,
  changes: number,
): Promise<number[]> {
  const changedMs: number[] = [];
  const own = b.gateways[0]!.address;
  for (let change = 0; change < changes; change++) {
    const { api, lastNode, pod } = clusters[(change >> 1) % clusters.length]!;
    const until = change % 2 === 1;
    const changed = agent.call('reachability', {
      ...{ destination: pod, until, intervalMs: PROBE_MS, timeoutMs: CHANGE_MS_MAX },
    });
    await sleep(BETWEEN_CHANGES_MS);
    const changedAt = monotonicMs();
    await api.admin.setNodeAddress(lastNode, until ? own : NOWHERE);
    const { at } = await changed;
    if (at < changedAt) throw new Error(`${pod} was ${until ? '' : 'un'}reachable before the change`);
    changedMs.push(at - changedAt);
  }
  return changedMs;
}
