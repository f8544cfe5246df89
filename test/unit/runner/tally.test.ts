import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { select } from '../../runner/selection.ts';
import { add, closingLine, NOTHING, parseTap, requireAll } from '../../runner/tally.ts';

const TAP = `TAP version 13
# Subtest: a
    ok 1 - inner # SKIP tcpdump is not installed
ok 1 - a
not ok 2 - b
ok 3 - c # SKIP
# tests 4
# suites 0
# pass 1
# fail 1
# cancelled 1
# skipped 2
# todo 0
`;

describe('the tally of a test run', () => {
  test('counts cancelled tests as failed and names each skip with its reason', () => {
    assert.deepEqual(parseTap(TAP, 1), {
      passed: 1,
      failed: 2,
      skipped: 2,
      skips: ['inner: tcpdump is not installed', 'c: no reason given'],
    });
  });

  test('counts a run that died without totals, or failed without a failed test, as a failure', () => {
    assert.equal(parseTap('TAP version 13\n', 0).failed, 1);
    assert.equal(parseTap('# pass 3\n# fail 0\n', 1).failed, 1);
    assert.equal(parseTap('# pass 3\n# fail 0\n', 0).failed, 0);
  });

  test('turns skips into failures where all tests are required', () => {
    const tally = requireAll(parseTap(TAP, 1));
    assert.equal(closingLine(tally), '1 passed, 4 failed, 0 skipped');
  });

  test('adds up', () => {
    const once = parseTap(TAP, 1);
    assert.equal(closingLine(add(add(NOTHING, once), once)), '2 passed, 4 failed, 4 skipped');
  });
});

describe('the selection of tests', () => {
  const files = [
    'unit/packet/ipv4.test.js',
    'unit/tidy.test.js',
    'system/ping.test.js',
    'system/topology/agent.js',
    'run.js',
  ];
  const chosen = (...words: string[]): string[] => select(files, words).flatMap((selected) => selected.files);

  test('takes all test files, layer by layer, when nothing is asked for', () => {
    assert.deepEqual(chosen(), ['unit/packet/ipv4.test.js', 'unit/tidy.test.js', 'system/ping.test.js']);
  });

  test('takes a layer, a source path, a compiled path or a part of one', () => {
    assert.deepEqual(chosen('system'), ['system/ping.test.js']);
    assert.deepEqual(chosen('test/unit/packet/ipv4.test.ts'), ['unit/packet/ipv4.test.js']);
    assert.deepEqual(chosen('./dist/test/unit/packet/'), ['unit/packet/ipv4.test.js']);
    assert.deepEqual(chosen('ipv4', 'ping'), ['unit/packet/ipv4.test.js', 'system/ping.test.js']);
    assert.deepEqual(chosen('nothing'), []);
  });
});
