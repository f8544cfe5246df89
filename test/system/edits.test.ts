import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { entryOf } from '../../src/measure/shipped-gateway.ts';
import { poll } from '../../src/measure/topology.ts';
import type { PingAnswer } from './topology/agent-commands.ts';
import { TRAFFIC_AGENT, type TrafficAgent } from './topology/agent-commands.ts';
import type { JoinedClusters } from './topology/gateway-process.ts';
import { joinedWithWatchedFiles } from './topology/late-network.ts';
import { inScene, systemTest } from './topology/scene.ts';
import { BATCH, RAW_SOCKET } from './topology/variants.ts';

/**
 * The watcher waits 50 ms for a file to be complete, so a thousand edits that are each waited for take a minute: `npm run soak` does that.
 */
const WAITED_EDITS = Number(process.env.ISTHMUS_TEST_EDITS ?? 100);
const HASTY_EDITS = 1000;
const IN_FORCE_MS = 10_000;
const PUBLICATIONS = 'isthmus_fib_publish_duration_seconds_count';

/** Three networks after edit n: one came, one went, two stayed; of more than half going the gateway would wait for a confirmation. */
function cidrsAfter(edit: number): string[] {
  return [edit, edit + 1, edit + 2].map((number) => `10.${64 + (number >> 8)}.${number & 255}.0/24`);
}

function write(scene: JoinedClusters, edit: number): void {
  scene.gwA.writeWatched([
    { name: 'changing', cidrs: cidrsAfter(edit), gateways: entryOf(scene.b).gateways },
  ]);
}

async function inForce(scene: JoinedClusters, edit: number): Promise<void> {
  const wanted = [scene.b.cidr, ...cidrsAfter(edit)].toSorted().join();
  await poll(
    `edit ${edit} in force`,
    IN_FORCE_MS,
    async () => (await scene.gwA.routes()).toSorted().join() === wanted,
  );
}

/** Pings every millisecond to an address whose route no edit touches, until `body` is done. */
async function underTraffic(
  scene: JoinedClusters,
  body: (agent: TrafficAgent) => Promise<void>,
): Promise<PingAnswer> {
  const agent = await scene.a.pods[0]!.machine.agent(TRAFFIC_AGENT);
  const series = agent.call('ping', {
    destination: scene.b.pods[0]!.address,
    ...{ count: 600_000, intervalMs: 1, sizeBytes: 84, seed: 1, timeoutMs: 2000 },
  });
  await poll('traffic', 5000, async () => (await agent.call('pingProgress', null)).received > 0);
  await body(agent);
  await agent.call('stop', null);
  return series;
}

async function publications(scene: JoinedClusters): Promise<number> {
  return (await scene.gwA.metrics()).get(PUBLICATIONS) ?? 0;
}

async function waitedEdits(t: TestContext, scene: JoinedClusters): Promise<void> {
  // Traffic starts when the watched networks are there, so that every edit is one coming and one going.
  write(scene, 0);
  await inForce(scene, 0);
  const before = await publications(scene);
  const waits: number[] = [];
  const answer = await underTraffic(scene, async () => {
    for (let edit = 1; edit <= WAITED_EDITS; edit++) {
      const start = performance.now();
      write(scene, edit);
      await inForce(scene, edit);
      waits.push(performance.now() - start);
    }
  });
  const published = (await publications(scene)) - before;
  const sorted = waits.toSorted((a, b) => a - b);
  t.diagnostic(
    `${WAITED_EDITS} edits, ${published} publications, ${answer.sent} pings, ${answer.lost.length} lost; an edit was in force after ${sorted[sorted.length >> 1]!.toFixed(0)} ms (median), ${sorted.at(-1)!.toFixed(0)} ms (longest)`,
  );
  assert.ok(published >= WAITED_EDITS, `${published} publications`);
  assert.ok(answer.sent > WAITED_EDITS, `${answer.sent} pings`);
  assert.deepEqual([answer.lost, answer.duplicated, answer.corrupted], [[], 0, 0]);
}

async function hastyEdits(t: TestContext, scene: JoinedClusters): Promise<void> {
  const before = await publications(scene);
  const answer = await underTraffic(scene, async (agent) => {
    for (let edit = 1; edit <= HASTY_EDITS; edit++) {
      write(scene, edit);
      // A turn of the event loop and a word with the agent: about as fast as a program writes files.
      await agent.call('pingProgress', null);
    }
    await inForce(scene, HASTY_EDITS);
  });
  const published = (await publications(scene)) - before;
  t.diagnostic(`${HASTY_EDITS} edits in ${published} publications, ${answer.sent} pings`);
  assert.ok(published >= 1 && published <= HASTY_EDITS, `${published} publications`);
  assert.deepEqual([answer.lost, answer.duplicated, answer.corrupted], [[], 0, 0]);
}

for (const { name, change, skip } of [BATCH, RAW_SOCKET]) {
  systemTest(
    `${WAITED_EDITS} edits, each in force before the next, lose no packet of an unchanged route (${name})`,
    (t) =>
      inScene(
        () => joinedWithWatchedFiles(change),
        (scene) => waitedEdits(t, scene),
      ),
    skip,
  );

  systemTest(
    `${HASTY_EDITS} edits back to back end in the last one and lose no packet of an unchanged route (${name})`,
    (t) =>
      inScene(
        () => joinedWithWatchedFiles(change),
        (scene) => hastyEdits(t, scene),
      ),
    skip,
  );
}
