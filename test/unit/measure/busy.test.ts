import assert from 'node:assert/strict';
import { test } from 'node:test';
import { busySeconds } from '../../../src/measure/busy.ts';

test('the machine is busy in all states but idle and waiting for a disk, and guest time is not counted twice', () => {
  const stat = 'cpu  100 20 300 9999 888 40 50 60 70 80\ncpu0 1 1 1 1 1 1 1 1 1 1\n';
  assert.equal(busySeconds(stat), (100 + 20 + 300 + 40 + 50 + 60) / 100);
});

test('what this machine has worked grows with work', () => {
  const before = busySeconds();
  const end = process.cpuUsage().user + 60_000;
  while (process.cpuUsage().user < end);
  assert.ok(busySeconds() > before);
});
