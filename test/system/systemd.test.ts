import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ERROR_CODES } from '../../src/base/errors.ts';
import { lacking } from '../../src/measure/sandbox.ts';
import { CHECKOUT } from './vm/checkout.ts';
import { oneValue, parseUnit } from './vm/unit-file.ts';

const FILE = join(CHECKOUT, 'deploy', 'systemd', 'isthmus.service');
const UNIT = parseUnit(readFileSync(FILE, 'utf8'));
const skip = lacking('systemd-analyze', 'systemd') ?? false;

/** In tenths: systemd-analyze counts exposure from 0 to 10.0. */
const EXPOSURE_MAX = 30;

function analyze(...words: readonly string[]): { status: number | null; output: string; complaints: string } {
  const ended = spawnSync('systemd-analyze', words, {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  return { status: ended.status, output: ended.stdout, complaints: ended.stderr };
}

test('systemd has nothing to say against the unit', { skip }, () => {
  const { status, complaints } = analyze('verify', '--man=no', FILE);
  // It ends with 0 on keys that it does not know: only silence is agreement.
  assert.equal(complaints, '');
  assert.equal(status, 0);
});

test('the exposure of the unit is 3.0 at most', { skip }, () => {
  const { status, output } = analyze('security', '--offline=true', `--threshold=${EXPOSURE_MAX}`, FILE);
  assert.equal(status, 0, output);
  assert.match(output, /Overall exposure level for isthmus\.service: [0-2]\.\d|3\.0/);
});

test('the unit has exactly the two capabilities and no way to more', () => {
  for (const key of ['Service.AmbientCapabilities', 'Service.CapabilityBoundingSet']) {
    assert.equal(oneValue(UNIT, key), 'CAP_NET_ADMIN CAP_NET_RAW');
  }
  assert.equal(oneValue(UNIT, 'Service.NoNewPrivileges'), 'yes');
  assert.equal(oneValue(UNIT, 'Service.DynamicUser'), 'yes');
});

test('the unit is not started again after a failure that a new start cannot mend', () => {
  const permanent = new Set(
    Object.values(ERROR_CODES)
      .map(({ exit }) => exit)
      .filter((exit) => exit !== 1),
  );
  assert.equal(oneValue(UNIT, 'Service.Restart'), 'on-failure');
  assert.equal(oneValue(UNIT, 'Service.RestartPreventExitStatus'), [...permanent].toSorted().join(' '));
});
