import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { Daemon } from '../../src/measure/daemon.ts';
import type { BenchResult, PathResult } from '../../src/measure/model.ts';
import { sandboxEnvironment } from '../../src/measure/sandbox.ts';
import { PROGRAM } from '../../src/measure/shipped-gateway.ts';
import { poll, run } from '../../src/measure/topology.ts';
import { systemTest } from './topology/scene.ts';

const AGENT = 'measure/load/agent.js';

/** Command lines of the measurement's processes: its sandbox, gateways and agents. */
function processes(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        // It ended while we looked.
        return '';
      }
    })
    .filter((line) => line.includes('dist/src/'));
}

/** As from a shell: in no sandbox that it knows of. */
function startBench(...words: readonly string[]): Daemon {
  const env = sandboxEnvironment();
  delete env.ISTHMUS_SANDBOX;
  return new Daemon('isthmus bench local', [process.execPath, PROGRAM, 'bench', 'local', ...words], { env });
}

async function nothingIsLeft(): Promise<void> {
  await poll('the end of all processes', 5000, () => processes().length === 0);
  assert.equal(await run(['ip', 'netns', 'list']), '');
  assert.equal((await run(['ip', '-oneline', 'link'])).split('\n').length, 1);
}

function isMeasured(path: PathResult): void {
  const { tcpSingle, tcpMany, lossFree, flood, roundTrip, cpuPerGbit } = path;
  const series = [
    tcpSingle,
    tcpMany,
    roundTrip.p50,
    roundTrip.p90,
    roundTrip.p99,
    roundTrip.p999,
    cpuPerGbit,
  ];
  for (const values of [...series, ...[...lossFree, ...flood].map((size) => size.values)]) {
    assert.equal(values.length, 1, JSON.stringify(path));
    assert.ok(values[0]! > 0, JSON.stringify(path));
  }
  assert.ok(roundTrip.p50[0]! <= roundTrip.p999[0]!);
  assert.deepEqual([lossFree.map(({ size }) => size), flood.map(({ size }) => size)], [['64'], ['64']]);
}

systemTest('bench local measures the paths it was asked for, and leaves nothing behind', async () => {
  const words = ['--only', 'plain forwarding,Isthmus', '--rounds', '1', '--sizes', '64', '--seed', '7'];
  const bench = startBench('--quick', ...words, '--json');
  assert.equal(await bench.exited, 0, bench.log());
  const result = JSON.parse(bench.stdout()) as BenchResult;
  assert.deepEqual([result.schema, result.mode, result.run.rounds, result.run.seed], [1, 'local', 1, 7]);
  assert.ok(result.machine.cores > 0 && result.machine.kernel !== '' && result.program !== '');
  assert.deepEqual(
    result.paths.map(({ name, kind, reference }) => [name, kind, reference]),
    [
      ['plain forwarding', 'reference', 'plain forwarding'],
      ['plain forwarding, W', 'reference', 'plain forwarding, W'],
      ['Isthmus', 'isthmus', 'plain forwarding'],
      ['Isthmus, W', 'isthmus', 'plain forwarding, W'],
    ],
  );
  assert.deepEqual(
    [result.left, result.paths.flatMap(({ failures }) => failures)],
    [[], []],
    'something could not be measured',
  );
  for (const path of result.paths) isMeasured(path);
  await nothingIsLeft();
});

systemTest('Ctrl-C ends bench local with a result, and leaves nothing behind', async () => {
  const bench = startBench(
    '--quick',
    '--only',
    'plain forwarding',
    '--rounds',
    '100',
    '--sizes',
    '64',
    '--json',
  );
  await poll('agents at work', 10_000, () => processes().filter((line) => line.includes(AGENT)).length === 2);
  bench.child.kill('SIGINT');
  assert.equal(await bench.exited, 130, bench.log());
  const result = JSON.parse(bench.stdout()) as BenchResult;
  assert.deepEqual(result.left, ['the rest: the run was stopped']);
  await nothingIsLeft();
});
