import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readU16, writeU16 } from '../../../src/packet/bytes.ts';
import { adjustChecksum, foldSum, internetChecksum, sumBytes } from '../../../src/packet/checksum.ts';
import {
  RFC_1071_EXAMPLE,
  RFC_1624_EXAMPLE,
  TEXTBOOK_HEADER,
  WIKIPEDIA_HEADER,
} from '../../vectors/checksum-vectors.ts';
import { plainChecksum, SEED } from './oracle.ts';

test('sums the example of RFC 1071 to 0x2ddf0 and folds it to 0xddf2', () => {
  const { bytes } = RFC_1071_EXAMPLE;
  assert.equal(sumBytes(bytes, 0, bytes.length), 0x2ddf0);
  assert.equal(foldSum(0x2ddf0), 0xddf2);
  assert.equal(internetChecksum(bytes, 0, bytes.length), 0x220d);
});

for (const [vector, check] of [
  [WIKIPEDIA_HEADER, 0xb861],
  [TEXTBOOK_HEADER, 0xb1e6],
] as const) {
  test(`computes checksum 0x${check.toString(16)} of the header from ${vector.source}`, () => {
    const header = vector.bytes.slice();
    assert.equal(foldSum(sumBytes(header, 0, 20)), 0xffff);
    writeU16(header, 10, 0);
    assert.equal(internetChecksum(header, 0, 20), check);
  });
}

test('gives 0x0000 where the equation before RFC 1624 gave 0xffff', () => {
  const { check, oldWord, newWord, expected } = RFC_1624_EXAMPLE;
  assert.equal(adjustChecksum(check, oldWord, newWord), expected);
});

test('changing a word to itself keeps the checksum, also 0x0000', () => {
  assert.equal(adjustChecksum(0x0000, 0x5555, 0x5555), 0x0000);
  assert.equal(adjustChecksum(0xb861, 0x4011, 0x4011), 0xb861);
});

test('agrees with a sum of unlimited size for any bytes, length and offset, odd ones too', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(40), fc.nat(40), (bytes, head, tail) => {
      const at = Math.min(head, bytes.length);
      const length = Math.max(0, bytes.length - at - tail);
      assert.equal(internetChecksum(bytes, at, length), plainChecksum(bytes.slice(at, at + length)));
    }),
    { seed: SEED, numRuns: 1000 },
  );
});

test('every length from 0 to 67 is summed to its last byte', () => {
  const bytes = Uint8Array.from({ length: 80 }, (_, i) => 255 - i);
  for (let length = 0; length <= 67; length++) {
    const before = sumBytes(bytes, 3, length);
    assert.equal(before, sumWordByWord(bytes, 3, length), `length ${length}`);
    bytes[3 + length]! ^= 0xff;
    assert.equal(sumBytes(bytes, 3, length), before, `length ${length} read one byte more`);
    bytes[3 + length]! ^= 0xff;
  }
});

/** What sumBytes was before it was unrolled. */
function sumWordByWord(bytes: Uint8Array, at: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += i % 2 === 0 ? bytes[at + i]! << 8 : bytes[at + i]!;
  return sum;
}

test('the largest packet, 65,535 bytes of 0xff, does not overflow the sum', () => {
  const bytes = new Uint8Array(65_535).fill(0xff);
  const sum = sumBytes(bytes, 0, bytes.length);
  assert.equal(sum, 32_767 * 0xffff + 0xff00);
  assert.ok(sum < 2 ** 31);
  assert.equal(internetChecksum(bytes, 0, bytes.length), plainChecksum(bytes));
});

test('folds sums up to 2^32 - 1 completely', () => {
  assert.equal(foldSum(0), 0);
  assert.equal(foldSum(0xffff), 0xffff);
  assert.equal(foldSum(0x10000), 1);
  assert.equal(foldSum(0x1ffff), 1);
  assert.equal(foldSum(0xffffffff), 0xffff);
});

test('an incremental update equals a full sum over the changed bytes', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 4, maxLength: 60 }),
      fc.nat(29),
      fc.oneof(fc.constantFrom(0, 0xffff), fc.integer({ min: 0, max: 0xffff })),
      (bytes, wordIndex, newWord) => {
        const at = (wordIndex % (bytes.length >> 1)) * 2;
        const before = internetChecksum(bytes, 0, bytes.length);
        const oldWord = readU16(bytes, at);
        writeU16(bytes, at, newWord);
        // Only zeros have two checksums, and no packet is all zeros.
        fc.pre(bytes.some((byte) => byte !== 0));
        assert.equal(adjustChecksum(before, oldWord, newWord), internetChecksum(bytes, 0, bytes.length));
      },
    ),
    { seed: SEED, numRuns: 2000 },
  );
});
