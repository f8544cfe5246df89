import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ago, bytes, count, duration, percent } from '../../../src/cli/human.ts';
import { piped, screen } from './fake-terminal.ts';

test('bytes have a binary unit on a screen and are plain in a pipe', () => {
  for (const [number, text] of [
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [1_048_575, '1.0 MiB'],
    [5_368_709_120, '5.0 GiB'],
    [150 * 2 ** 20, '150 MiB'],
    [2 ** 53, '8.0 PiB'],
  ] as const) {
    assert.equal(bytes(screen(), number), text);
    assert.equal(bytes(piped(), number), String(number));
  }
});

test('counts have a decimal prefix on a screen and are plain in a pipe', () => {
  for (const [number, text] of [
    [0, '0'],
    [999, '999'],
    [1000, '1.0k'],
    [999_999, '1.0M'],
    [1_234_567, '1.2M'],
    [123_456_789, '123M'],
  ] as const) {
    assert.equal(count(screen(), number), text);
    assert.equal(count(piped(), number), String(number));
  }
});

test('durations show their two largest units on a screen and seconds in a pipe', () => {
  for (const [seconds, text] of [
    [0, '0s'],
    [59.9, '59s'],
    [60, '1m'],
    [3725, '1h 2m'],
    [86_400, '1d'],
    [100_000, '1d 3h'],
  ] as const) {
    assert.equal(duration(screen(), seconds), text);
    assert.equal(duration(piped(), seconds), String(Math.floor(seconds)));
  }
});

test('times are ages on a screen and ISO in a pipe', () => {
  const time = '2026-01-02T03:04:05.000Z';
  const now = Date.parse(time) + 65_000;
  assert.equal(ago(screen(), time, now), '1m 5s ago');
  assert.equal(
    ago(screen(), time, now - 100_000),
    '0s ago',
    'a clock that is behind does not make ages negative',
  );
  assert.equal(ago(piped(), time, now), time);
});

test('shares are percentages', () => {
  assert.equal(percent(0.25), '25.0%');
  assert.equal(percent(1), '100.0%');
});
