/** What a test run came to. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** One line for each skipped test, with its reason. */
  readonly skips: readonly string[];
}

export const NOTHING: Tally = { passed: 0, failed: 0, skipped: 0, skips: [] };

export function add(a: Tally, b: Tally): Tally {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
    skips: [...a.skips, ...b.skips],
  };
}

/**
 * Reads the TAP that `node --test` wrote. A run that ended without its totals (killed, out of memory, a syntax error in the runner's
 * arguments) or with a status other than 0 but no failed test counts as one failure, so that nothing can pass by dying.
 */
export function parseTap(tap: string, exitStatus: number): Tally {
  const totals = new Map<string, number>();
  const skips: string[] = [];
  for (const line of tap.split('\n')) {
    const total = /^# (pass|fail|cancelled|skipped|todo) (\d+)$/.exec(line);
    if (total !== null) totals.set(total[1]!, Number(total[2]));
    const skip = /^\s*ok \d+ - (.*?) # SKIP ?(.*)$/.exec(line);
    if (skip !== null) skips.push(`${skip[1]}: ${skip[2] === '' ? 'no reason given' : skip[2]}`);
  }
  const failed = (totals.get('fail') ?? 0) + (totals.get('cancelled') ?? 0);
  const broken = failed === 0 && (exitStatus !== 0 || !totals.has('pass'));
  return {
    passed: totals.get('pass') ?? 0,
    failed: broken ? 1 : failed,
    skipped: (totals.get('skipped') ?? 0) + (totals.get('todo') ?? 0),
    skips,
  };
}

/** With `ISTHMUS_TEST_REQUIRE=all` a skipped test is a failed one: CI may not lose tests because a package was not installed. */
export function requireAll(tally: Tally): Tally {
  return { ...tally, failed: tally.failed + tally.skipped, skipped: 0 };
}

/** The closing line that CI reads. */
export function closingLine(tally: Tally): string {
  return `${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`;
}
