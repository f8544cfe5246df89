import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readI32, readU16, readU32, writeU16, writeU32 } from '../../../src/packet/bytes.ts';
import { SEED } from './oracle.ts';

const BYTES = 12;
const offset = fc.nat(BYTES - 4);
const u32 = fc.oneof(
  fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff),
  fc.integer({ min: 0, max: 0xffffffff }),
);

test('reads numbers in network order, as a DataView does', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: BYTES, maxLength: BYTES }), offset, (bytes, at) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      assert.equal(readU16(bytes, at), view.getUint16(at));
      assert.equal(readU32(bytes, at), view.getUint32(at));
      assert.equal(readI32(bytes, at), view.getInt32(at));
    }),
    { seed: SEED },
  );
});

test('an address of 192.0.2.1 on the wire is the positive number 0xc0000201', () => {
  assert.equal(readU32(Uint8Array.of(192, 0, 2, 1), 0), 0xc0000201);
});

test('what is written reads back, whether it was given signed or unsigned, and its neighbours stay', () => {
  fc.assert(
    fc.property(u32, offset, (value, at) => {
      const bytes = new Uint8Array(BYTES).fill(0xa5);
      writeU32(bytes, at, value);
      assert.equal(readU32(bytes, at), value);
      writeU32(bytes, at, value | 0);
      assert.equal(readU32(bytes, at), value);
      writeU16(bytes, at, value);
      assert.equal(readU16(bytes, at), value & 0xffff);
      for (let i = 0; i < BYTES; i++) if (i < at || i >= at + 4) assert.equal(bytes[i], 0xa5);
      assert.equal(readU16(bytes, at + 2), value & 0xffff);
    }),
    { seed: SEED },
  );
});

test('a load behind the end yields 0 for the missing bytes and does not throw', () => {
  const bytes = Uint8Array.of(1, 2, 3);
  assert.equal(readU16(bytes, 2), 0x0300);
  assert.equal(readU32(bytes, 1), 0x02030000);
  assert.equal(readU32(bytes, 100), 0);
});
