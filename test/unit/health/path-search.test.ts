import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Prng } from '../../../src/base/prng.ts';
import { PATH_MTU_BYTES_MIN } from '../../../src/health/path-mtu.ts';
import { DISTRUST_MS, PathSearch } from '../../../src/health/path-search.ts';

const LINK_MTU = 1500;
const INTERVAL_MS = 500;
const TIMEOUT_MS = 60;

interface Path {
  /** What it carries at a moment; 0: nothing at all. */
  readonly carries: (atMs: number) => number;
  readonly roundTripMs?: number;
  /** Share of round trips that are lost. */
  readonly loss?: number;
  readonly seed?: number;
}

/** The search with a path before it: moves time on, and notes when what was found changed. */
class Run {
  readonly search: PathSearch;
  readonly changes: { readonly atMs: number; readonly found: number }[] = [];
  nowMs = 0;
  sent = 0;
  readonly #path: Path;
  readonly #random: Prng;
  readonly #answers: { readonly atMs: number; readonly sentMs: number; readonly bytes: number }[] = [];
  #smallDueMs = 0;

  constructor(path: Path, linkMtu = LINK_MTU) {
    this.#path = path;
    this.#random = new Prng(path.seed ?? 1);
    this.search = new PathSearch(linkMtu, PATH_MTU_BYTES_MIN, 0);
  }

  until(endMs: number): void {
    const { roundTripMs = 10 } = this.#path;
    const timeoutMs = Math.max(TIMEOUT_MS, 1.5 * roundTripMs);
    while (this.nowMs < endMs) {
      this.#answer();
      const isSmallDue = this.nowMs >= this.#smallDueMs;
      const sizes = this.search.due(this.nowMs, timeoutMs, isSmallDue);
      for (const bytes of sizes) this.#send(bytes);
      if (isSmallDue || sizes.length > 0) this.#send(68);
      if (isSmallDue) this.#smallDueMs = this.nowMs + INTERVAL_MS;
      this.#note();
      const nextMs = Math.min(
        this.#smallDueMs,
        this.search.nextMs(timeoutMs),
        this.#answers[0]?.atMs ?? endMs,
      );
      this.nowMs = Math.max(this.nowMs + 1, Math.min(nextMs, endMs));
    }
  }

  get found(): number {
    return this.search.pathMtuBytes;
  }

  #send(bytes: number): void {
    const { carries, roundTripMs = 10, loss = 0 } = this.#path;
    this.sent += 1;
    if (bytes > carries(this.nowMs) || this.#random.chance(loss)) return;
    this.#answers.push({ atMs: this.nowMs + roundTripMs, sentMs: this.nowMs, bytes });
  }

  #answer(): void {
    while (this.#answers[0] !== undefined && this.#answers[0].atMs <= this.nowMs) {
      const { bytes, sentMs } = this.#answers.shift()!;
      this.search.answered(bytes, sentMs, this.nowMs);
      this.#note();
    }
  }

  #note(): void {
    if (this.found !== (this.changes.at(-1)?.found ?? 0))
      this.changes.push({ atMs: this.nowMs, found: this.found });
  }
}

test('finds every path MTU to the byte within two seconds', () => {
  fc.assert(
    fc.property(fc.integer({ min: PATH_MTU_BYTES_MIN, max: LINK_MTU }), (mtu) => {
      const run = new Run({ carries: () => mtu });
      run.until(2000);
      assert.equal(run.found, mtu);
      assert.equal(run.changes.length, 1);
    }),
  );
});

test('finds that of jumbo frames, and over a path with a long delay within five seconds', () => {
  for (const [linkMtu, roundTripMs] of [
    [9000, 10],
    [9000, 200],
    [1500, 300],
  ] as const) {
    fc.assert(
      fc.property(fc.integer({ min: PATH_MTU_BYTES_MIN, max: linkMtu }), (mtu) => {
        const run = new Run({ carries: () => mtu, roundTripMs }, linkMtu);
        run.until(5000);
        assert.equal(run.found, mtu);
      }),
      { numRuns: 20 },
    );
  }
});

test('follows a path that changes, down and up, within five seconds and without a step between', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: PATH_MTU_BYTES_MIN, max: LINK_MTU }),
      fc.integer({ min: PATH_MTU_BYTES_MIN, max: LINK_MTU }),
      fc.integer({ min: 8000, max: 8999 }),
      (before, after, changesAtMs) => {
        fc.pre(Math.abs(after - before) >= 4);
        const run = new Run({ carries: (atMs) => (atMs < changesAtMs ? before : after) });
        run.until(changesAtMs);
        assert.equal(run.found, before);
        run.until(changesAtMs + 5000);
        assert.equal(run.found, after);
        assert.equal(run.changes.length, 2);
      },
    ),
  );
});

test('does not flap for a day of five lost packets in a hundred each way', () => {
  const run = new Run({ carries: () => 1400, loss: 1 - 0.95 ** 2, seed: 7 });
  run.until(24 * 3_600_000);
  assert.deepEqual(
    run.changes.map(({ found }) => found),
    [1400],
  );
});

test('a path that is cut is no black hole: the size stays, and nothing but confirmations is sent', () => {
  const run = new Run({ carries: (atMs) => (atMs >= 5000 && atMs < 60_000 ? 0 : 1400) });
  run.until(5000);
  const before = run.sent;
  run.until(60_000);
  assert.ok(run.sent - before < 2200, `${run.sent - before} probes in 55 s`);
  run.until(70_000);
  assert.deepEqual(
    run.changes.map(({ found }) => found),
    [1400],
  );
});

test('a report of a router holds at once, and is confirmed', () => {
  const run = new Run({ carries: (atMs) => (atMs < 5000 ? 1500 : 1300) });
  run.until(5100);
  run.search.reported(1300, run.nowMs);
  assert.equal(run.found, 1300);
  run.until(10_000);
  assert.equal(run.found, 1300);
  assert.equal(run.search.distrusts(run.nowMs), false);
});

test('a forged report is undone within a second, and none is believed for a minute', () => {
  const run = new Run({ carries: () => 1500 });
  run.until(5000);
  run.search.reported(600, run.nowMs);
  assert.equal(run.found, 600);
  run.until(6000);
  assert.equal(run.found, 1500);
  assert.equal(run.search.distrusts(run.nowMs), true);
  run.until(6000 + DISTRUST_MS);
  assert.equal(run.search.distrusts(run.nowMs), false);
});

test('a link with another MTU is searched anew', () => {
  const run = new Run({ carries: () => 9000 });
  run.until(3000);
  assert.equal(run.found, 1500);
  run.search.setLinkMtu(9000, run.nowMs);
  run.until(6000);
  assert.equal(run.found, 9000);
  run.search.setLinkMtu(1500, run.nowMs);
  assert.equal(run.found, 1500);
});

test('a path that carries not even 596 bytes gives no value', () => {
  const run = new Run({ carries: () => 500 });
  run.until(20_000);
  assert.equal(run.found, 0);
});
