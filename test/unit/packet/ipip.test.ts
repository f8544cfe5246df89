import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encapsulate, IPIP_ENCAPSULATION_BYTES } from '../../../src/packet/ipip.ts';
import {
  checkInner,
  checkOuter,
  headerBytes,
  IPV4,
  outerPayload,
  PROTOCOL,
} from '../../../src/packet/ipv4.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import { WIKIPEDIA_HEADER } from '../../vectors/checksum-vectors.ts';
import { bytesOfHex } from '../../vectors/packet-vector.ts';
import { anyPacket, Guarded, plainPacket, SEED } from './oracle.ts';

const u32 = fc.integer({ min: 0, max: 0xffffffff });

test('writes the outer header of RFC 2003 §3.1, byte for byte', () => {
  const inner = WIKIPEDIA_HEADER.bytes;
  const bytes = new Uint8Array(40);
  bytes.set(inner, 20);
  encapsulate(
    new DataView(bytes.buffer),
    20,
    115,
    0xac1f0002,
    0xac1f0102,
    0xb8,
    64,
    0x1234,
    IPV4.DF,
    PROTOCOL.IPIP,
  );
  // The checksum by hand: 45b8 + 0087 + 1234 + 4000 + 4004 + ac1f + 0002 + ac1f + 0102 = 231b9, folded 31bb, inverted ce44.
  const expected = bytesOfHex(`
    45b8 0087 1234 4000 # IHL 5, DSCP EF, total length 135, DF
    4004 ce44           # TTL 64, protocol 4
    ac1f 0002 ac1f 0102 # 172.31.0.2 > 172.31.1.2
  `);
  assert.deepEqual(bytes.slice(0, 20), expected);
  assert.deepEqual(bytes.slice(20), inner);
});

test('equals a header built field by field, for any fields, and writes only the 20 bytes before the inner packet', () => {
  fc.assert(
    fc.property(
      anyPacket,
      u32,
      u32,
      fc.integer({ min: 0, max: 255 }),
      fc.integer({ min: 1, max: 255 }),
      fc.integer({ min: 0, max: 0xffff }),
      fc.constantFrom(0, IPV4.DF),
      (inner, source, destination, tos, ttl, id, fragment) => {
        const guarded = new Guarded(inner);
        const { bytes, at } = guarded;
        encapsulate(
          new DataView(bytes.buffer),
          at,
          inner.length,
          source,
          destination,
          tos,
          ttl,
          id,
          fragment,
          PROTOCOL.IPIP,
        );
        guarded.assertOnlyWritten(-IPIP_ENCAPSULATION_BYTES);
        const expected = plainPacket({
          protocol: 4,
          source,
          destination,
          tos,
          ttl,
          id,
          fragment,
          payload: inner,
        });
        assert.deepEqual(bytes.slice(at - IPIP_ENCAPSULATION_BYTES, at + inner.length), expected);
        // Addresses that are passed as i32 make the same bytes.
        encapsulate(
          new DataView(bytes.buffer),
          at,
          inner.length,
          source | 0,
          destination | 0,
          tos,
          ttl,
          id,
          fragment,
          PROTOCOL.IPIP,
        );
        assert.deepEqual(bytes.slice(at - IPIP_ENCAPSULATION_BYTES, at + inner.length), expected);
      },
    ),
    { seed: SEED, numRuns: 1000 },
  );
});

test('what was encapsulated passes the checks of the far end and is the same packet there', () => {
  fc.assert(
    fc.property(anyPacket, u32, u32, (inner, source, destination) => {
      const { bytes, at } = new Guarded(inner);
      encapsulate(
        new DataView(bytes.buffer),
        at,
        inner.length,
        source,
        destination,
        0,
        64,
        0,
        IPV4.DF,
        PROTOCOL.IPIP,
      );
      const outerAt = at - IPIP_ENCAPSULATION_BYTES;
      const available = inner.length + IPIP_ENCAPSULATION_BYTES;
      assert.equal(checkOuter(bytes, outerAt, available, PROTOCOL.IPIP), VERDICT.FORWARD);
      const innerAt = outerAt + headerBytes(bytes, outerAt);
      const innerAvailable = outerPayload(bytes, outerAt, available);
      assert.equal(checkInner(bytes, innerAt, innerAvailable), VERDICT.FORWARD);
      assert.deepEqual(bytes.slice(innerAt, innerAt + innerAvailable), inner);
    }),
    { seed: SEED },
  );
});

test('the largest inner packet that fits makes an outer total length of 65,535', () => {
  const bytes = new Uint8Array(20);
  encapsulate(
    new DataView(bytes.buffer),
    20,
    65_515,
    0xffffffff,
    0xffffffff,
    0xff,
    0xff,
    0xffff,
    IPV4.DF,
    PROTOCOL.IPIP,
  );
  assert.equal(checkOuter(bytes, 0, 20, PROTOCOL.IPIP), VERDICT.FORWARD);
  assert.deepEqual([...bytes.slice(2, 4)], [0xff, 0xff]);
});
