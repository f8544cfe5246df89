import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ECN_REPORT_INTERVAL_MS, UnusedEcn } from '../../../src/host/unused-ecn.ts';

test('ECN log: the first unused pair is told at once, those of the next minute together at its end', () => {
  const unused = new UnusedEcn();
  assert.equal(unused.due(0, 0), 0);
  assert.equal(unused.due(3, 10_000), 3);
  assert.equal(unused.due(4, 20_000), 0);
  assert.equal(unused.due(9, 10_000 + ECN_REPORT_INTERVAL_MS - 1), 0);
  assert.equal(unused.due(9, 10_000 + ECN_REPORT_INTERVAL_MS), 6);
});

test('nothing is told while nothing comes, and what comes after a quiet time at once', () => {
  const unused = new UnusedEcn();
  unused.due(5, 0);
  assert.equal(unused.due(5, 10 * ECN_REPORT_INTERVAL_MS), 0);
  assert.equal(unused.due(6, 10 * ECN_REPORT_INTERVAL_MS + 1), 1);
});

test('engines that were made anew count from 0', () => {
  const unused = new UnusedEcn();
  unused.due(100, 0);
  assert.equal(unused.due(0, ECN_REPORT_INTERVAL_MS), 0);
  assert.equal(unused.due(2, 2 * ECN_REPORT_INTERVAL_MS), 2);
});
