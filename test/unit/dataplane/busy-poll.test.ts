import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AUTO_SPIN_MAX_US, SpinWindow, spinMaxUs } from '../../../src/dataplane/busy-poll.ts';

function after(...waits: number[]): number {
  const window = new SpinWindow(100);
  for (const waitedUs of waits) window.learn(waitedUs);
  return window.us;
}

describe('busy polling', () => {
  test('auto turns itself off on one processor, where whoever sends the next packet waits for us', () => {
    assert.equal(spinMaxUs('auto', 1), 0);
    assert.equal(spinMaxUs('auto', 2), AUTO_SPIN_MAX_US);
  });

  test('off is off, and a duration in milliseconds holds on any number of processors', () => {
    assert.equal(spinMaxUs('off', 8), 0);
    assert.equal(spinMaxUs(3, 1), 3000);
  });

  test('starts without a window, so that a gateway without traffic never looks in vain', () => {
    assert.equal(after(), 0);
    assert.equal(after(1_000_000, 1_000_000), 0);
  });

  test('grows while packets come within the longest window, and never beyond it', () => {
    assert.deepEqual([after(90), after(90, 90), after(90, 90, 90), after(90, 90, 90, 90)], [10, 20, 40, 80]);
    assert.equal(after(90, 90, 90, 90, 90, 90), 100);
  });

  test('stays as it is while packets come within it', () => {
    assert.equal(after(90, 90, 30, 15, 5, 0), 40);
  });

  test('shrinks to nothing while packets come later than the longest window', () => {
    const grown = [90, 90, 90, 90, 90];
    assert.deepEqual(
      [1, 2, 3, 4].map((late) => after(...grown, ...Array<number>(late).fill(101))),
      [50, 25, 12, 0],
    );
  });

  test('without a longest window there is never one', () => {
    const window = new SpinWindow(0);
    for (const waitedUs of [0, 0, 5, 0]) window.learn(waitedUs);
    assert.equal(window.us, 0);
  });
});
