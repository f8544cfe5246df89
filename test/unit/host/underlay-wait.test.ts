import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GatewayError } from '../../../src/base/errors.ts';
import { waitForUnderlay } from '../../../src/host/underlay-wait.ts';
import type { Native } from '../../../src/io/native.ts';
import { message } from '../io/kernel-script.ts';
import { StepClock } from './step-clock.ts';

const LIMIT_MS = 60_000;

/** A change of an address, as the kernel announces it. */
const NOTICE = message(20, 0, 0, 8, (writer, fixed) => {
  writer.u8(fixed, 2);
  writer.attributeAddress(2, 0x0a00_0001);
});

function setup() {
  const clock = new StepClock();
  const abort = new AbortController();
  const reasons: string[] = [];
  let ready = (): void => {};
  let waiting = 0;
  let closed = 0;
  let answer: () => unknown = () => {
    throw new GatewayError('ISTHMUS_ERR_KERNEL', 'no address yet');
  };
  const native: Partial<Native> = {
    netlinkOpen: () => 9,
    watch: (_fd, call) => {
      ready = call;
      return {};
    },
    unwatch: () => {},
    netlinkReceive(_fd, bytes) {
      if (waiting === 0) return 0;
      waiting -= 1;
      bytes.set(NOTICE);
      return NOTICE.length;
    },
    close: () => ++closed * 0,
  };
  const start = (limitMs = LIMIT_MS) =>
    waitForUnderlay({
      ...{ native: native as Native, clock, limitMs, signal: abort.signal },
      find: () => answer(),
      onWaiting: (reason) => reasons.push(reason),
    });
  const change = (next: () => unknown): void => {
    answer = next;
    waiting += 1;
    ready();
  };
  return { clock, abort, reasons, start, change, closed: () => closed };
}

const notYet = (): never => {
  throw new GatewayError('ISTHMUS_ERR_KERNEL', 'still none');
};

test('an underlay that is there is not waited for', async () => {
  const { start, change, reasons, closed } = setup();
  change(() => 1);
  await start();
  assert.deepEqual([reasons, closed()], [[], 1]);
});

test('the wait ends with the change that brings the underlay, and its reason is told once', async () => {
  const { start, change, reasons, closed } = setup();
  const wait = start();
  change(notYet);
  change(() => 1);
  await wait;
  assert.deepEqual([reasons, closed()], [['no address yet'], 1]);
});

test('the wait ends at its limit', async () => {
  const { start, clock, closed } = setup();
  const wait = start();
  clock.advance(LIMIT_MS);
  await wait;
  assert.equal(closed(), 1);
});

test('the wait ends when it is told to', async () => {
  const { start, abort, closed } = setup();
  const wait = start();
  abort.abort();
  await wait;
  assert.equal(closed(), 1);
});

test('without a limit nothing is waited for, and an aborted wait does not begin', async () => {
  const { start, abort, reasons } = setup();
  await start(0);
  abort.abort();
  await start();
  assert.deepEqual(reasons, []);
});

test('what is no lack of an underlay is not waited out', async () => {
  const { start, change, closed } = setup();
  const wait = start();
  change(() => {
    throw new Error('netlink is closed');
  });
  await assert.rejects(wait, /netlink is closed/);
  assert.equal(closed(), 1);
});
