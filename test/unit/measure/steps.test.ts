import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DatagramTrial, Ends } from '../../../src/measure/ends.ts';
import { planOf } from '../../../src/measure/plan.ts';
import { emptyCell, stepsOf } from '../../../src/measure/steps.ts';

const PLAN = planOf({
  ...{
    rounds: 2,
    seed: 1,
    seconds: 3,
    quick: false,
    only: [],
    peers: false,
    sizes: ['64', '1480', 'imix'],
    command: '',
  },
});
const CAPACITY = 100_000;

/** Ends of a path that carries a fixed number of packets. */
function ends(change: Partial<DatagramTrial> = {}): Ends & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    async tcp(connections, seconds) {
      asked.push(`tcp ${connections} ${seconds}`);
      return { gigabitsPerSecond: connections, cpuSecondsPerGigabit: 0.5 };
    },
    async tcpOfSize(mss, seconds) {
      asked.push(`tcpOfSize ${mss} ${seconds}`);
      return mss / 1000;
    },
    async datagrams(size, perSecond, durationMs) {
      asked.push(`datagrams ${size} ${perSecond === null ? 'all' : 'some'} ${durationMs}`);
      const offeredPerSecond = perSecond ?? CAPACITY * 5;
      const sent = (offeredPerSecond * durationMs) / 1000;
      const deliveredPerSecond = Math.min(CAPACITY, offeredPerSecond);
      const arrived = (deliveredPerSecond * durationMs) / 1000;
      return { sent, arrived, offeredPerSecond, deliveredPerSecond, duplicates: 0, reordered: 0, ...change };
    },
    async roundTrips(count) {
      return Array.from({ length: count }, (_, index) => index + 1);
    },
  };
}

test('each kind of measurement puts its figure of the round into the result', async () => {
  const cell = emptyCell('path', 'isthmus', 'plain forwarding');
  const fake = ends();
  for (const step of stepsOf(cell, PLAN, ['64'], PLAN.sizes)) await step.run(fake);
  assert.deepEqual([cell.tcpSingle, cell.tcpMany, cell.cpuPerGbit], [[1], [4], [0.5]]);
  assert.deepEqual(cell.tcpBySize, [{ size: '1480', values: [1.44] }]);
  assert.deepEqual(cell.flood, [{ size: '64', values: [CAPACITY] }]);
  assert.equal(cell.lossFree.length, 1);
  const found = cell.lossFree[0]!.values[0]!;
  assert.ok(found > CAPACITY * 0.93 && found <= CAPACITY * 1.006, String(found));
  assert.deepEqual(cell.roundTrip.p50, [250.5]);
  assert.ok(cell.roundTrip.p99[0]! < cell.roundTrip.p999[0]!);
  assert.deepEqual(cell.failures, []);
  assert.ok(fake.asked.includes('tcp 1 3'));
});

test('a second round adds a value to each series', async () => {
  const cell = emptyCell('path', 'isthmus', null);
  for (let round = 0; round < 2; round++) {
    for (const step of stepsOf(cell, PLAN, ['64', 'imix'], [])) await step.run(ends());
  }
  assert.equal(cell.tcpSingle.length, 2);
  assert.deepEqual(
    cell.lossFree.map(({ size, values }) => [size, values.length]),
    [
      ['64', 2],
      ['imix', 2],
    ],
  );
});

test('a path that carries nothing gives failures and no zeros', async () => {
  const cell = emptyCell('path', 'peer', null);
  for (const step of stepsOf(cell, PLAN, ['64'], []).slice(3)) {
    await assert.rejects(
      step.run(ends({ arrived: 0, deliveredPerSecond: 0 })),
      /none of 150000 packets arrived|every rate lost/,
    );
  }
  assert.deepEqual(
    [cell.flood.flatMap(({ values }) => values), cell.lossFree.flatMap(({ values }) => values)],
    [[], []],
  );
});

test('a flood of which an end was too late is repeated once', async () => {
  const cell = emptyCell('path', 'isthmus', null);
  const [flood] = stepsOf(cell, PLAN, ['64'], []).slice(3);
  const [late, whole] = [ends({ sent: 0, arrived: 0, deliveredPerSecond: 0 }), ends()];
  let floods = 0;
  await flood!.run({
    ...whole,
    datagrams: (...words) => (floods++ === 0 ? late : whole).datagrams(...words),
  });
  assert.equal(floods, 2);
  assert.deepEqual(cell.flood, [{ size: '64', values: [CAPACITY] }]);
});

test('duplicates and overtaken packets are told', async () => {
  const cell = emptyCell('path', 'peer', null);
  const [flood] = stepsOf(cell, PLAN, ['64'], []).slice(3);
  await flood!.run(ends({ duplicates: 2, reordered: 30_000 }));
  assert.deepEqual(cell.failures, [
    'flood 64: 2 duplicates',
    'flood 64: 30000 of 30000 packets were overtaken',
  ]);
});
