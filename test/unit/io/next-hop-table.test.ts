import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { HOP, HOP_WORDS, hasNextHop, NextHopTable } from '../../../src/io/next-hop-table.ts';

const WEST = parseAddress('172.31.0.2');
const EAST = parseAddress('172.31.0.3');
const MAC = Uint8Array.of(0x82, 1, 2, 3, 0xfe, 0xff);

describe('the next-hop table', () => {
  test('names the next hop of the peer that it was written for, and of no other', () => {
    const table = new NextHopTable(4);
    table.set(2, WEST, 7, MAC);
    assert.equal(table.has(2, WEST), true);
    assert.equal(table.has(2, EAST), false, 'the index went to another peer');
    assert.equal(table.has(1, WEST), false);
    assert.equal(
      table.countKnown([
        { index: 2, address: WEST },
        { index: 3, address: WEST },
      ]),
      1,
    );
    table.clear(2);
    assert.equal(table.has(2, WEST), false);
    assert.equal(table.has(2, 0), false, 'an empty record is nobody');
  });

  test('keeps the MAC address in the order of its bytes, and leaves an even sequence behind', () => {
    const table = new NextHopTable(2);
    const words = new Uint32Array(table.buffer);
    table.set(1, WEST, 7, MAC);
    const record = words.subarray(HOP_WORDS, 2 * HOP_WORDS);
    assert.deepEqual([...record.subarray(0, 5)], [2, WEST, 7, 0x8201_0203, 0xfeff_0000]);
    table.clear(1);
    assert.deepEqual([...record.subarray(0, 5)], [4, 0, 0, 0, 0]);
    assert.equal(record[HOP.SEQUENCE]! & 1, 0);
  });

  test('knows nothing of peers that it has no record for', () => {
    const words = new Uint32Array(new NextHopTable(1).buffer);
    assert.equal(hasNextHop(words, -1, 0), false);
    assert.equal(hasNextHop(words, 1, 0), false);
  });

  test('refuses what is no next hop', () => {
    const table = new NextHopTable(1);
    assert.throws(() => table.set(0, WEST, 0, MAC), /device indexes begin at 1/);
    assert.throws(() => table.set(0, WEST, 7, MAC.subarray(1)), /six bytes/);
    assert.throws(() => table.set(1, WEST, 7, MAC), /has a record/);
    assert.throws(() => table.clear(-1), /has a record/);
  });
});
