import { setTimeout as sleep } from 'node:timers/promises';
import { loadNative } from '../src/io/load.ts';
import { Netlink } from '../src/io/netlink.ts';
import type { RouteRow } from '../src/io/netlink-route.ts';
import { monotonicMs } from '../src/measure/load/monotonic.ts';
import { median } from '../src/measure/statistics.ts';
import { run } from '../src/measure/topology.ts';
import { TRAFFIC_AGENT } from '../test/system/topology/agent-commands.ts';
import { joinedWithWatchedFiles, LATE_ADDRESS, lateNetwork } from '../test/system/topology/late-network.ts';
import type { ControlSection } from './results.ts';
import { say } from './sandboxed.ts';

const KERNEL_ROUTES = 10_000;
const ROUTES_TABLE = 254;
const ROUTES_PROTOCOL = 73;
const PROBE_MS = 1;
const CHANGE_MS_MAX = 5000;
/** Between two edits: far enough apart that each is met by a gateway at rest. */
const BETWEEN_EDITS_MS = 60;

export async function control(options: {
  readonly repeats: number;
  readonly edits: number;
}): Promise<Omit<ControlSection, 'run'>> {
  const kernel = await kernelRoutes(options.repeats);
  say(`control  ${KERNEL_ROUTES} kernel routes: added in ${median(kernel.addRoutesMs).toFixed(0)} ms`);
  const edits = await fileEdits(options.edits);
  say(`control  a file edit reaches packets in ${median(edits.addedMs).toFixed(1)} ms`);
  return { kernelRoutes: KERNEL_ROUTES, ...kernel, ...edits, probeMs: PROBE_MS };
}

/** Routes through netlink as the gateway installs them, in the sandbox's own namespace. */
async function kernelRoutes(
  repeats: number,
): Promise<Pick<ControlSection, 'addRoutesMs' | 'removeRoutesMs'>> {
  await run(
    ['ip', '-batch', '-'],
    'link add bench0 type veth peer name bench1\nlink set bench0 up\nlink set bench1 up\n',
  );
  const native = loadNative();
  const netlink = new Netlink(native);
  try {
    const rows = Array.from(
      { length: KERNEL_ROUTES },
      (_, index): RouteRow => ({
        cidr: { address: 0x0a40_0000 + index * 256, prefixLength: 24 },
        deviceIndex: native.deviceIndex('bench0'),
        ...{ table: ROUTES_TABLE, metric: 0, protocol: ROUTES_PROTOCOL },
      }),
    );
    const addRoutesMs: number[] = [];
    const removeRoutesMs: number[] = [];
    for (let repeat = 0; repeat < repeats; repeat++) {
      addRoutesMs.push(timed(() => netlink.addRoutes(rows).length));
      removeRoutesMs.push(timed(() => netlink.removeRoutes(rows).length));
    }
    return { addRoutesMs, removeRoutesMs };
  } finally {
    netlink.close();
    await run(['ip', 'link', 'del', 'bench0']);
  }
}

function timed(failures: () => number): number {
  const start = performance.now();
  const count = failures();
  if (count > 0) throw new Error(`the kernel refused ${count} routes`);
  return performance.now() - start;
}

/** A network that comes and goes in the watched file, and echo requests to it all the while. */
async function fileEdits(edits: number): Promise<Pick<ControlSection, 'addedMs' | 'withdrawnMs'>> {
  const scene = await joinedWithWatchedFiles();
  try {
    const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
    const addedMs: number[] = [];
    const withdrawnMs: number[] = [];
    const isNow = (until: boolean): Promise<{ readonly at: number }> =>
      agent.call('reachability', {
        ...{ destination: LATE_ADDRESS, until, intervalMs: PROBE_MS, timeoutMs: CHANGE_MS_MAX },
      });
    const change = async (until: boolean, into: number[]): Promise<void> => {
      await isNow(!until);
      const changed = isNow(until);
      await sleep(BETWEEN_EDITS_MS);
      const editedAt = monotonicMs();
      scene.gwA.writeWatched(until ? [lateNetwork(scene)] : []);
      const { at } = await changed;
      // A probe that was lost before the edit was lost to something else, and says nothing of the edit.
      if (at >= editedAt) into.push(at - editedAt);
    };
    // The first pair is not counted: it compiles what the others run.
    await change(true, []);
    await change(false, []);
    for (let tries = 0; tries < 2 * edits && withdrawnMs.length < edits; tries++) {
      await change(true, addedMs);
      await change(false, withdrawnMs);
    }
    return { addedMs, withdrawnMs };
  } finally {
    await scene.topology.close();
  }
}
