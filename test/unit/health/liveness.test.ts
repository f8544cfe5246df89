import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Liveness, type LivenessState } from '../../../src/health/liveness.ts';

const TIMES = { intervalMs: 500, deadAfterMs: 2000, holdMs: 5000 };
const TIMEOUT_MS = 60;
const ROUND_TRIP_MS = 10;

interface Change {
  readonly atMs: number;
  readonly state: LivenessState;
}

/** Probes a peer for `untilMs`; `answers` says whether the probe sent at a moment is answered. Returns the changes of state. */
function probe(
  answers: (atMs: number) => boolean,
  untilMs: number,
  stalls: readonly [number, number][] = [],
) {
  const liveness = new Liveness(0);
  const changes: Change[] = [];
  const note = (atMs: number): void => {
    if (liveness.state !== (changes.at(-1)?.state ?? 'unknown'))
      changes.push({ atMs, state: liveness.state });
  };
  for (let nowMs = 0; nowMs <= untilMs; ) {
    for (const [fromMs, toMs] of stalls) if (nowMs >= fromMs && nowMs < toMs) nowMs = toMs;
    liveness.look(nowMs, TIMES);
    note(nowMs);
    liveness.sent(nowMs);
    const isAnswered = answers(nowMs);
    if (isAnswered) {
      liveness.answered(nowMs + ROUND_TRIP_MS);
      note(nowMs + ROUND_TRIP_MS);
    }
    nowMs += liveness.nextInMs(nowMs + ROUND_TRIP_MS, TIMES, TIMEOUT_MS);
  }
  return { changes, state: liveness.state };
}

test('a peer that never answers stays unknown: it may be one that cannot', () => {
  assert.deepEqual(
    probe(() => false, 60_000),
    { changes: [], state: 'unknown' },
  );
});

test('the first answer makes a peer alive at once', () => {
  assert.deepEqual(probe(() => true, 60_000).changes, [{ atMs: 10, state: 'alive' }]);
});

test('a peer that falls silent is dead between the limit and the limit with one interval', () => {
  for (const diesAtMs of [1000, 1001, 1250, 1499]) {
    const { changes } = probe((atMs) => atMs < diesAtMs, 20_000);
    assert.deepEqual(
      changes.map(({ state }) => state),
      ['alive', 'dead'],
    );
    const afterMs = changes[1]!.atMs - diesAtMs;
    assert.ok(afterMs >= TIMES.deadAfterMs - 500 && afterMs <= TIMES.deadAfterMs + 600, `${afterMs} ms`);
  }
});

test('a dead peer that answers again is alive only after the hold, and a silence in it begins anew', () => {
  const back = probe((atMs) => atMs < 1000 || atMs >= 10_000, 30_000).changes;
  assert.deepEqual(
    back.map(({ state }) => state),
    ['alive', 'dead', 'recovering', 'alive'],
  );
  assert.ok(back[3]!.atMs - back[2]!.atMs >= TIMES.holdMs);
  const shaky = probe((atMs) => atMs < 1000 || (atMs >= 10_000 && atMs < 12_000) || atMs >= 20_000, 40_000);
  assert.deepEqual(
    shaky.changes.map(({ state }) => state),
    ['alive', 'dead', 'recovering', 'dead', 'recovering', 'alive'],
  );
});

test('a pause of this process is not taken for one of the peer', () => {
  const { changes } = probe((atMs) => atMs < 3000 || atMs >= 9000, 60_000, [[3000, 9000]]);
  assert.deepEqual(changes, [{ atMs: 10, state: 'alive' }]);
  // Also where the answer to the probe before the pause was lost.
  const lost = probe((atMs) => atMs !== 2500, 60_000, [[2600, 9000]]);
  assert.deepEqual(
    lost.changes.map(({ state }) => state),
    ['alive'],
  );
});

test('one probe in ten lost never kills a peer in a day', () => {
  let seed = 1;
  const answers = (): boolean => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 16) % 100 >= 10;
  };
  const { changes } = probe(answers, 24 * 3_600_000);
  assert.deepEqual(
    changes.map(({ state }) => state),
    ['alive'],
  );
});
