import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Daemon } from '../../src/measure/daemon.ts';
import type { BenchResult, PathResult } from '../../src/measure/model.ts';
import { PROGRAM, startGateways } from '../../src/measure/shipped-gateway.ts';
import { poll } from '../../src/measure/topology.ts';
import { type TwoClusters, twoClusters } from '../../src/measure/two-clusters.ts';
import { suiteInScene } from './topology/scene.ts';

/** Of the two pods, where no tunnel goes: the router knows them. */
const [DIRECT_A, DIRECT_B] = ['10.99.0.1', '10.99.0.2'];
const TOKEN = 'a token that both of them know';

/** Two clusters joined by shipped gateways, and an address of each pod that is reached without them. */
async function joinedClusters(): Promise<TwoClusters> {
  const scene = await twoClusters();
  try {
    await startGateways(scene, {});
    const { router, a, b } = scene;
    const pairs = [
      { own: DIRECT_A, other: DIRECT_B, cluster: a },
      { own: DIRECT_B, other: DIRECT_A, cluster: b },
    ];
    for (const { own, other, cluster } of pairs) {
      const [pod, gateway] = [cluster.pods[0]!, cluster.gateways[0]!];
      await pod.machine.ip(
        `addr add ${own}/32 dev eth0`,
        `route add ${other} via ${pod.address.replace(/\d+$/, '1')} src ${own}`,
      );
      await gateway.machine.ip(`route add ${own} via ${pod.address}`);
      await router.ip(`route add ${own} via ${gateway.address}`);
    }
    return scene;
  } catch (error) {
    await scene.topology.close();
    throw error;
  }
}

function start({ machine }: TwoClusters['a']['pods'][number], ...words: readonly string[]): Daemon {
  return machine.start(`isthmus bench ${words[0]}`, [process.execPath, PROGRAM, 'bench', ...words]);
}

async function serving(scene: TwoClusters, ...words: readonly string[]): Promise<Daemon> {
  const server = start(scene.b.pods[0]!, 'serve', ...words);
  await poll('bench serve listens', 5000, () => server.stdout().includes('listening on'));
  return server;
}

/** Packets that gateway A has read from its tunnel device so far. */
async function tunnelled({ a }: TwoClusters): Promise<number> {
  const [link] = await a.gateways[0]!.machine.ipJson<{ stats64: { tx: { packets: number } } }>(
    '-statistics',
    ...['link', 'show', 'dev', 'isthmus0'],
  );
  return link!.stats64.tx.packets;
}

suiteInScene('bench between two hosts', { make: joinedClusters }, (check) => {
  check('through two gateways, and beside it directly, in one run', async (scene) => {
    const [here, peer] = [scene.a.pods[0]!, scene.b.pods[0]!];
    const folder = scene.topology.folder;
    writeFileSync(`${folder}/token`, TOKEN);
    const server = await serving(scene, '--once', '--token-file', `${folder}/token`);
    const before = await tunnelled(scene);
    const report = `${folder}/report.html`;
    const run = start(
      here,
      ...['run', peer.address, '--direct', DIRECT_B, '--token-file', `${folder}/token`],
      ...['--quick', '--sizes', '64,512', '--seed', '7', '--json', '--report', report],
    );
    assert.equal(await run.exited, 0, run.log());
    assert.equal(await server.exited, 0, server.log());
    const result = JSON.parse(run.stdout()) as BenchResult;
    assert.deepEqual([result.mode, result.run.seed, result.left], ['run', 7, []]);
    assert.equal(result.far?.machine.kernel, result.machine.kernel);
    assert.deepEqual(
      result.paths.map(({ name, kind, reference, failures }) => [name, kind, reference, failures]),
      [
        ['plain forwarding', 'reference', 'plain forwarding', []],
        ['Isthmus', 'isthmus', 'plain forwarding', []],
      ],
    );
    for (const path of result.paths) isMeasured(path);
    assert.ok((await tunnelled(scene)) > before + 1000);
    assert.match(readFileSync(report, 'utf8'), /between two hosts/);
    assert.match(server.stdout(), /10\.2\.1\.2|10\.99\.0\.1/);
  });

  check('in reverse the far end sends', async (scene) => {
    const server = await serving(scene, '--once');
    const run = start(
      scene.a.pods[0]!,
      ...['run', scene.b.pods[0]!.address, '--reverse', '--quick', '--sizes', '512', '--json'],
    );
    assert.equal(await run.exited, 0, run.log());
    assert.equal(await server.exited, 0, server.log());
    const { paths } = JSON.parse(run.stdout()) as BenchResult;
    assert.deepEqual(
      paths.map(({ name, failures }) => [name, failures]),
      [['Isthmus', []]],
    );
    isMeasured(paths[0]!);
  });

  check('a controller that is killed leaves the server free for the next', async (scene) => {
    const server = await serving(scene);
    const words = ['run', scene.b.pods[0]!.address, '--quick', '--sizes', '64'];
    const killed = start(scene.a.pods[0]!, ...words, '--rounds', '100');
    await poll('a first session', 5000, () => server.stdout().includes('session begins'));
    await killed.kill('SIGKILL');
    await poll('its end', 5000, () => server.stdout().includes('session over'));
    const next = start(scene.a.pods[0]!, ...words, '--json');
    assert.equal(await next.exited, 0, next.log());
    isMeasured((JSON.parse(next.stdout()) as BenchResult).paths[0]!);
    assert.equal(await server.kill('SIGINT'), 0);
  });

  check('a server that dies ends the run with what there is, and says so', async (scene) => {
    const server = await serving(scene);
    const words = ['run', scene.b.pods[0]!.address, '--quick', '--sizes', '64', '--rounds', '100', '--json'];
    const run = start(scene.a.pods[0]!, ...words);
    await poll('a first round', 10_000, () => run.log().includes('round 2/'));
    await server.kill('SIGKILL');
    assert.equal(await run.exited, 1, run.log());
    const { left, paths } = JSON.parse(run.stdout()) as BenchResult;
    assert.match(left[0]!, /^10\.2\.1\.2:9462: the connection is lost: /);
    assert.ok(paths[0]!.tcpSingle.length >= 1);
  });

  check('without a server and with a wrong token the reason stands in one line', async (scene) => {
    const folder = scene.topology.folder;
    writeFileSync(`${folder}/token`, TOKEN);
    writeFileSync(`${folder}/wrong`, 'another token of theirs');
    const words = ['run', scene.b.pods[0]!.address, '--token-file', `${folder}/wrong`];
    const alone = start(scene.a.pods[0]!, ...words);
    assert.equal(await alone.exited, 1);
    assert.match(alone.log(), /^isthmus: 10\.2\.1\.2:9462: cannot begin: .*ECONNREFUSED.*serve.*$/);
    const server = await serving(scene, '--token-file', `${folder}/token`);
    const refused = start(scene.a.pods[0]!, ...words);
    assert.equal(await refused.exited, 1);
    assert.match(refused.log(), /^isthmus: .*refused: the token is wrong$/);
    assert.equal(await server.kill('SIGTERM'), 0);
  });
});

function isMeasured(path: PathResult): void {
  const { tcpSingle, tcpMany, tcpBySize, lossFree, flood, roundTrip, cpuPerGbit } = path;
  const series = [tcpSingle, tcpMany, roundTrip.p50, roundTrip.p99, cpuPerGbit];
  const sized = [...tcpBySize, ...lossFree, ...flood].map(({ values }) => values);
  for (const values of [...series, ...sized]) {
    assert.equal(values.length, 1, JSON.stringify(path));
    assert.ok(values[0]! > 0, JSON.stringify(path));
  }
  assert.ok(lossFree.length >= 1 && flood.length >= 1);
}
