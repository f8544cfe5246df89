import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DROPS_INBOUND, DROPS_OUTBOUND, TOTAL } from '../../src/dataplane/counters.ts';
import { DROP_REASONS } from '../../src/packet/verdict.ts';
import { Violation } from './auditor.ts';
import { SABOTAGES } from './sabotage.ts';
import { Simulation, SimulationFailure } from './simulation.ts';

/** Bounded in steps, never in time: the long run is `npm run sim -- --seeds 1000 --steps 20000`. */
const SEEDS = 20;
const STEPS = 250;
const SABOTAGE_STEPS = 400;

/** Reasons that need a kernel or memory that a memory end does not have are provoked in test/unit/dataplane. */
const NOT_SIMULATED = new Set(['forward', 'no-buffer', 'encapsulation-limit']);

test(`every rule holds in ${SEEDS} worlds of ${STEPS} steps, and each drop reason and counter was met`, (t) => {
  const met = new Map<string, number>();
  const count = (name: string, by: number): void => void met.set(name, (met.get(name) ?? 0) + by);
  let packets = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const simulation = new Simulation({ seed });
    simulation.run(STEPS);
    packets += simulation.stats.packets;
    count('full FIB', simulation.stats.refusedPublications);
    for (const { counters } of [simulation.west, simulation.east]) {
      for (const { name, verdict } of DROP_REASONS) {
        count(name, counters[DROPS_OUTBOUND + verdict]! + counters[DROPS_INBOUND + verdict]!);
      }
      for (const [name, cell] of Object.entries(TOTAL)) count(name, counters[cell]!);
    }
  }
  t.diagnostic(`${packets} packets`);
  const missing = [...met].filter(([name, times]) => times === 0 && !NOT_SIMULATED.has(name));
  assert.deepEqual(
    missing.map(([name]) => name),
    ['OVERFLOWED', 'SYSTEM_CALLS', 'SENT_BY_PACKET_SOCKET', 'SENT_BY_RAW_SOCKET', 'INBOUND_PROBES'],
    'a memory end never overflows, calls no kernel and has no socket, and nobody probes; everything else must have happened',
  );
});

test('equal seeds make equal worlds, and other seeds others', () => {
  const play = (seed: number): unknown => {
    const simulation = new Simulation({ seed });
    simulation.run(60);
    return [simulation.stats, [...simulation.west.counters.slice(0, 60)], simulation.east.table.snapshot()];
  };
  assert.deepEqual(play(7), play(7));
  assert.notDeepEqual(play(7), play(8));
});

for (const { name, saboteur, caughtAs } of SABOTAGES) {
  test(`an engine is caught that ${name}`, () => {
    const simulation = new Simulation({ seed: 5, sabotage: saboteur });
    assert.throws(
      () => simulation.run(SABOTAGE_STEPS),
      (error: unknown) => {
        assert.ok(error instanceof SimulationFailure);
        assert.ok(error.cause instanceof Violation, error.message);
        assert.match(error.message, caughtAs);
        assert.match(error.message, new RegExp(`npm run sim -- --seed 5 --steps ${error.step}$`));
        return true;
      },
    );
  });
}
