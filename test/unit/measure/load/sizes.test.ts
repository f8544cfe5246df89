import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  IMIX,
  isSize,
  mssOf,
  payloadsOf,
  SIZE_MAX,
  SIZE_MIN,
  SIZES,
} from '../../../../src/measure/load/sizes.ts';

test('the mix has seven small packets to four of 576 to one large', () => {
  const count = (size: number): number => IMIX.filter((bytes) => bytes === size).length;
  assert.deepEqual([count(64), count(576), count(1480), IMIX.length], [7, 4, 1, 12]);
});

test('a size is of the whole IPv4 packet', () => {
  assert.deepEqual(payloadsOf('64'), [36]);
  assert.equal(mssOf('1480'), 1440);
});

test('TCP has no packets smaller than the least MSS makes them, and no mix', () => {
  assert.deepEqual(
    [mssOf('128'), mssOf('127'), mssOf('64'), mssOf('imix')],
    [88, undefined, undefined, undefined],
  );
});

test('sizes are those that the generator can send', () => {
  assert.ok(SIZES.every(isSize));
  assert.ok(isSize(String(SIZE_MIN)) && isSize(String(SIZE_MAX)));
  for (const wrong of [SIZE_MIN - 1, SIZE_MAX + 1, '', 'large', '64.5', '-64'])
    assert.ok(!isSize(String(wrong)));
});
