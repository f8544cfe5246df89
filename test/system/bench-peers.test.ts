import assert from 'node:assert/strict';
import { joinByRecipe } from '../../src/measure/peers/join-by-recipe.ts';
import type { Recipe } from '../../src/measure/peers/recipe.ts';
import { RECIPES } from '../../src/measure/peers/recipes.ts';
import { type TwoClusters, twoClusters } from '../../src/measure/two-clusters.ts';
import { TRAFFIC_AGENT } from './topology/agent-commands.ts';
import { PROTOCOL } from './topology/packet-builder.ts';
import { inScene, systemTest } from './topology/scene.ts';

async function fragmentsCreated(scene: TwoClusters): Promise<number> {
  let created = 0;
  for (const { machine } of [scene.a.gateways[0]!, scene.b.gateways[0]!]) {
    const text = await machine.exec('cat', '/proc/net/snmp');
    const [names, values] = text
      .split('\n')
      .filter((line) => line.startsWith('Ip:'))
      .map((line) => line.split(' '));
    created += Number(values![names!.indexOf('FragCreates')]);
  }
  return created;
}

/** In both directions, up to the largest packet that the recipe says fits. */
async function carriesEverySize(scene: TwoClusters, mtuBytes: number): Promise<void> {
  const [podA, podB] = [scene.a.pods[0]!, scene.b.pods[0]!];
  const [a, b] = [await podA.machine.agent(TRAFFIC_AGENT), await podB.machine.agent(TRAFFIC_AGENT)];
  for (const [from, to, source, destination] of [
    [a, b, podA.address, podB.address],
    [b, a, podB.address, podA.address],
  ] as const) {
    const sizes = [64, 576, 1280, mtuBytes];
    const about = { source, destination, protocol: PROTOCOL.EXPERIMENTAL, sizes, seed: 3 };
    const request = { ...about, dontFragment: true };
    const expected = to.call('expectSizes', { ...request, timeoutMs: 5000 });
    await to.call('begun', null);
    await from.call('sendSizes', request);
    assert.deepEqual(await expected, {
      received: sizes.length,
      missing: [],
      duplicated: [],
      differences: [],
    });
  }
  assert.equal(await fragmentsCreated(scene), 0, 'the largest packet goes in one piece');
}

async function isCarriedBy(recipe: Recipe): Promise<void> {
  await inScene(twoClusters, async (scene) => {
    await joinByRecipe(scene, recipe);
    await carriesEverySize(scene, recipe.mtuBytes);
  });
}

for (const recipe of RECIPES.filter(({ kind }) => kind === 'peer')) {
  systemTest(
    `${recipe.name} joins two clusters and carries packets of every size in one piece`,
    () => isCarriedBy(recipe),
    recipe.lacks(),
  );
}

systemTest("the kernel's tunnels carry packets of every size, or say which module is missing", async () => {
  for (const recipe of RECIPES.filter(({ kind }) => kind === 'kernel')) {
    const lacks = recipe.lacks();
    if (lacks === undefined) await isCarriedBy(recipe);
    else assert.match(lacks, /\((?:kernel module \w+|Debian package [\w-]+)\)$/);
  }
});

systemTest('a tunnel whose program ends at once is told by what the program said', async () => {
  const broken: Recipe = {
    ...RECIPES.find(({ name }) => name.startsWith('OpenVPN'))!,
    setUp: () => {
      const setup = { files: [], daemon: ['sh', '-c', 'echo no such cipher >&2; exit 3'] };
      return [setup, setup];
    },
  };
  const scene = await twoClusters();
  try {
    await assert.rejects(joinByRecipe(scene, broken), /gwB: sh ended with 3\s+no such cipher/);
  } finally {
    await scene.topology.close();
  }
});
