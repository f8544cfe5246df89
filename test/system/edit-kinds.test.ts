import assert from 'node:assert/strict';
import {
  appendFileSync,
  mkdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { monotonicMs } from '../../src/measure/load/monotonic.ts';
import { poll } from '../../src/measure/topology.ts';
import { TRAFFIC_AGENT, type TrafficAgent } from './topology/agent-commands.ts';
import type { JoinedClusters } from './topology/gateway-process.ts';
import { joinedWithWatchedFiles, LATE_ADDRESS, LATE_CIDR, lateNetwork } from './topology/late-network.ts';
import { inScene, systemTest } from './topology/scene.ts';

const TURNS = 5;
/** Only that a change arrives decides here; how long it takes is printed, and measured by `npm run bench -- control`. */
const CHANGE_MS_MAX = 20_000;

/** One way to bring the late network in and to take it away again. */
interface Kind {
  readonly name: string;
  /** `path` of the watch, in the gateway's folder. */
  readonly watched: string;
  /** Makes what is watched, without the late network in it. */
  prepare(folder: string): void;
  /** The change itself is the function that is returned; what may take time is done before. */
  add(scene: JoinedClusters, folder: string, text: string): Promise<() => void>;
  remove(scene: JoinedClusters, folder: string): void;
}

const EMPTY = stringify({ clusters: [] });

/** A volume as kubelet mounts and changes it: the file is a link through ..data, which is replaced by rename. */
function swapConfigMap(folder: string, text: string): void {
  const version = `..version-${monotonicMs()}`;
  mkdirSync(join(folder, version), { recursive: true });
  writeFileSync(join(folder, version, 'clusters.yaml'), text);
  let old: string | undefined;
  try {
    old = readlinkSync(join(folder, '..data'));
  } catch {
    symlinkSync(join('..data', 'clusters.yaml'), join(folder, 'clusters.yaml'));
  }
  symlinkSync(version, join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
  if (old !== undefined) rmSync(join(folder, old), { recursive: true });
}

function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

const KINDS: readonly Kind[] = [
  {
    name: 'a file that is replaced in one step',
    watched: 'clusters.yaml',
    prepare: () => {},
    add: async (scene) => () => scene.gwA.writeWatched([lateNetwork(scene)]),
    remove: (scene) => scene.gwA.writeWatched([]),
  },
  {
    name: 'a mounted ConfigMap whose ..data link is swapped',
    watched: 'mounted/clusters.yaml',
    prepare: (folder) => swapConfigMap(join(folder, 'mounted'), EMPTY),
    add: async (_scene, folder, text) => () => swapConfigMap(join(folder, 'mounted'), text),
    remove: (_scene, folder) => swapConfigMap(join(folder, 'mounted'), EMPTY),
  },
  {
    name: 'a file that is written in two halves',
    watched: 'clusters.yaml',
    prepare: () => {},
    async add({ gwA }, _folder, text) {
      // Cut within a key: the gateway must see that this is no document, say so, and wait for the rest.
      const half = text.indexOf('gateways:') + 4;
      writeFileSync(gwA.watchedFile, text.slice(0, half));
      await poll('the half file refused', CHANGE_MS_MAX, async () =>
        (await gwA.status()).sources.some(({ name, reason }) => name.startsWith('file:') && reason !== null),
      );
      assert.ok(!(await gwA.routes()).includes(LATE_CIDR), 'half a file brings no route');
      return () => appendFileSync(gwA.watchedFile, text.slice(half));
    },
    remove: ({ gwA }) => gwA.writeWatched([]),
  },
  {
    name: 'a new file in a watched folder, and its deletion',
    watched: 'clusters.d',
    prepare: (folder) => mkdirSync(join(folder, 'clusters.d')),
    add: async (_scene, folder, text) => () => replace(join(folder, 'clusters.d', 'late.yaml'), text),
    remove: (_scene, folder) => rmSync(join(folder, 'clusters.d', 'late.yaml')),
  },
  {
    name: 'a watched file that is made, and its deletion',
    watched: 'clusters.yaml',
    prepare: () => {},
    add: async (scene) => () => scene.gwA.writeWatched([lateNetwork(scene)]),
    remove: ({ gwA }) => rmSync(gwA.watchedFile),
  },
];

/** Resolves with the time from the change to the first echo request that took the new way, or that found none any more. */
async function untilPackets(agent: TrafficAgent, until: boolean, change: () => void): Promise<number> {
  const answer = agent.call('reachability', {
    ...{ destination: LATE_ADDRESS, until, intervalMs: 1, timeoutMs: CHANGE_MS_MAX },
  });
  const changedAt = monotonicMs();
  change();
  // A reply that was only late, before the change, looks lost: then packets stopped at 0 ms as far as we know.
  return Math.max(0, (await answer).at - changedAt);
}

function figures(ms: readonly number[]): string {
  return ms
    .toSorted((a, b) => a - b)
    .map((each) => each.toFixed(0))
    .join(', ');
}

for (const kind of KINDS) {
  systemTest(`packets follow ${kind.name}`, (t) =>
    inScene(
      () => {
        const watch = { kind: 'file', path: kind.watched, pollInterval: '60s' };
        return joinedWithWatchedFiles({ watch: [watch] }, kind.prepare);
      },
      async (scene) => {
        const { folder } = scene.gwA;
        const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
        const text = stringify({ clusters: [lateNetwork(scene)] });
        const added: number[] = [];
        const removed: number[] = [];
        for (let turn = 0; turn < TURNS; turn++) {
          assert.ok(!(await scene.gwA.routes()).includes(LATE_CIDR), 'not there before');
          added.push(await untilPackets(agent, true, await kind.add(scene, folder, text)));
          removed.push(await untilPackets(agent, false, () => kind.remove(scene, folder)));
          await poll(
            'the route gone',
            CHANGE_MS_MAX,
            async () => !(await scene.gwA.routes()).includes(LATE_CIDR),
          );
        }
        t.diagnostic(`ms until packets followed: added ${figures(added)}; removed ${figures(removed)}`);
        assert.equal(added.length + removed.length, 2 * TURNS);
        assert.deepEqual(await scene.gwA.routes(), [scene.b.cidr]);
      },
    ),
  );
}
