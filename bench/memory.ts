import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatCidr } from '../src/base/address.ts';
import type { ClusterEntry } from '../src/measure/shipped-gateway.ts';
import { median } from '../src/measure/statistics.ts';
import { type TwoClusters, twoClusters } from '../src/measure/two-clusters.ts';
import { GatewayProcess } from '../test/system/topology/gateway-process.ts';
import type { MemoryRow, MemorySection } from './results.ts';
import { say } from './sandboxed.ts';

const CIDRS_PER_CLUSTER = 500;
/** /26 as Calico cuts its pools, from 10.64.0.0 on: outside of both clusters' own networks, room for 131,072. */
const FIRST_ADDRESS = 0x0a40_0000;
const BLOCK_BYTES = 64;
const PREFIX_LENGTH = 26;

/** The garbage of the start is collected when there is idle time, within a few seconds. */
export const REST_MS = 4000;
const SAMPLES = 10;
const SAMPLE_MS = 200;
const READY_MS = 60_000;

/** Clusters with `count` CIDRs between them, each behind a gateway of its own. */
export function manyClusters(count: number): ClusterEntry[] {
  const clusters: ClusterEntry[] = [];
  for (let first = 0; first < count; first += CIDRS_PER_CLUSTER) {
    const number = clusters.length;
    const cidrs = Array.from({ length: Math.min(CIDRS_PER_CLUSTER, count - first) }, (_, index) =>
      formatCidr({ address: FIRST_ADDRESS + (first + index) * BLOCK_BYTES, prefixLength: PREFIX_LENGTH }),
    );
    clusters.push({
      name: `remote-${number}`,
      cidrs,
      gateways: [{ address: `172.31.${3 + (number >> 7)}.${1 + (number & 127)}` }],
    });
  }
  return clusters;
}

/** Memory at rest and time to readiness, by the number of routes in the watched file; each start is a new process without any state. */
export async function memory(options: {
  readonly routes: readonly number[];
  readonly repeats: number;
}): Promise<Omit<MemorySection, 'run'>> {
  const scene = await twoClusters();
  try {
    const rows: MemoryRow[] = [];
    for (const routes of options.routes) rows.push(await memoryOf(scene, routes, options.repeats));
    return { rows };
  } finally {
    await scene.topology.close();
  }
}

async function memoryOf(scene: TwoClusters, routes: number, repeats: number): Promise<MemoryRow> {
  const idleMiB: number[] = [];
  const peakMiB: number[] = [];
  const readySeconds: number[] = [];
  for (let repeat = 0; repeat < repeats; repeat++) {
    const gateway = new GatewayProcess(scene.topology, scene.a.gateways[0]!);
    gateway.configure(scene.a, scene.b, {
      watch: [{ kind: 'file', path: 'clusters.yaml' }],
      state: { directory: 'none' },
    });
    gateway.writeWatched(manyClusters(routes));
    const start = performance.now();
    gateway.start();
    await gateway.ready(READY_MS);
    readySeconds.push((performance.now() - start) / 1000);
    const known = (await gateway.status()).counts.routes;
    if (known !== routes + 1) throw new Error(`${known} routes are known, not ${routes + 1}`);
    await sleep(REST_MS);
    idleMiB.push(await atRestMiB(gateway.daemon.pid));
    peakMiB.push(residentMiB(gateway.daemon.pid, 'VmHWM'));
    await gateway.kill('SIGTERM');
  }
  say(
    `memory  ${routes} routes: ${median(idleMiB).toFixed(0)} MiB, ready in ${median(readySeconds).toFixed(2)} s`,
  );
  return { routes, idleMiB, peakMiB, readySeconds };
}

/** The highest resident set of a process within two seconds. */
export async function atRestMiB(pid: number): Promise<number> {
  const samples: number[] = [];
  for (let sample = 0; sample < SAMPLES; sample++) {
    samples.push(residentMiB(pid, 'VmRSS'));
    await sleep(SAMPLE_MS);
  }
  return Math.max(...samples);
}

export function residentMiB(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  if (match === null) throw new Error(`no ${field} of process ${pid}`);
  return Number(match[1]) / 1024;
}
