import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Logger } from '../../../src/base/log.ts';
import { counterBytes, TOTAL } from '../../../src/dataplane/counters.ts';
import { ECN_ALARM_MS, EcnAlarm } from '../../../src/observe/ecn-alarm.ts';
import { SimClock } from '../../sim/sim-clock.ts';

test('says how many packets there were, at most once a minute, and leaves none out', () => {
  const said: unknown[] = [];
  const clock = new SimClock();
  const logger = { warn: (fields: { packets: number }) => said.push(fields.packets) } as unknown as Logger;
  const alarm = new EcnAlarm(logger, clock);
  const block = new Float64Array(new SharedArrayBuffer(counterBytes(1)));
  const look = (count: number, laterMs: number) => {
    block[TOTAL.ECN_UNUSED] = count;
    clock.advance(laterMs);
    alarm.look([block]);
  };
  look(0, 0);
  assert.deepEqual(said, []);
  look(3, 5000);
  look(10, 5000);
  look(12, ECN_ALARM_MS - 5001);
  assert.deepEqual(said, [3]);
  look(12, 1);
  look(12, ECN_ALARM_MS);
  assert.deepEqual(said, [3, 9]);
  look(2, ECN_ALARM_MS);
  assert.deepEqual(said, [3, 9, 2], 'the counters began anew');
});
