import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decapsulateEcn, ECN_DECAPSULATE, ECN_DROP, ECN_MODE, outerTos } from '../../../src/packet/ecn.ts';
import { VERDICT } from '../../../src/packet/verdict.ts';
import { Guarded, headerChecksumHolds, hostilePacket, plainPacket, SEED } from './oracle.ts';

/** The field as RFC 3168 §5 draws it: bit 6 is ECT, bit 7 is CE. */
const CODEPOINT = { 'Not-ECT': 0b00, 'ECT(1)': 0b01, 'ECT(0)': 0b10, CE: 0b11 } as const;
type Codepoint = keyof typeof CODEPOINT;

/** RFC 6040 §4.2, Figure 4, in its own order of rows and columns. */
const COLUMNS: readonly Codepoint[] = ['Not-ECT', 'ECT(0)', 'ECT(1)', 'CE'];
const FIGURE_4: Record<Codepoint, readonly (Codepoint | 'drop')[]> = {
  'Not-ECT': ['Not-ECT', 'Not-ECT', 'Not-ECT', 'drop'],
  'ECT(0)': ['ECT(0)', 'ECT(0)', 'ECT(1)', 'CE'],
  'ECT(1)': ['ECT(1)', 'ECT(1)', 'ECT(1)', 'CE'],
  CE: ['CE', 'CE', 'CE', 'CE'],
};

/** RFC 6040 §4.1, Figure 3: what each mode writes into the outer header. */
const FIGURE_3: Record<Codepoint, { readonly normal: Codepoint; readonly compatibility: Codepoint }> = {
  'Not-ECT': { normal: 'Not-ECT', compatibility: 'Not-ECT' },
  'ECT(0)': { normal: 'ECT(0)', compatibility: 'Not-ECT' },
  'ECT(1)': { normal: 'ECT(1)', compatibility: 'Not-ECT' },
  CE: { normal: 'CE', compatibility: 'Not-ECT' },
};

for (const inner of COLUMNS) {
  COLUMNS.forEach((outer, column) => {
    const expected = FIGURE_4[inner][column]!;
    test(`decapsulates inner ${inner} under outer ${outer} to ${expected}`, () => {
      const expectedBits = expected === 'drop' ? ECN_DROP : CODEPOINT[expected];
      assert.equal(ECN_DECAPSULATE[(CODEPOINT[inner] << 2) | CODEPOINT[outer]], expectedBits);
      // Under every DSCP inside and outside: only the ECN field moves.
      for (let dscp = 0; dscp < 64; dscp++) {
        const packet = plainPacket({ tos: (dscp << 2) | CODEPOINT[inner], payload: Uint8Array.of(1, 2, 3) });
        const guarded = new Guarded(packet);
        const outerByte = ((63 - dscp) << 2) | CODEPOINT[outer];
        const verdict = decapsulateEcn(guarded.bytes, guarded.at, outerByte);
        guarded.assertOnlyWritten();
        if (expected === 'drop') {
          assert.equal(verdict, VERDICT.ECN_ILLEGAL);
          assert.deepEqual(guarded.packet, packet);
          continue;
        }
        assert.equal(verdict, VERDICT.FORWARD);
        const wanted = plainPacket({
          tos: (dscp << 2) | CODEPOINT[expected],
          payload: Uint8Array.of(1, 2, 3),
        });
        assert.deepEqual(guarded.packet, wanted);
      }
    });
  });
}

for (const inner of COLUMNS) {
  const { normal, compatibility } = FIGURE_3[inner];
  test(`encapsulates inner ${inner} as ${normal} in normal and ${compatibility} in compatibility mode`, () => {
    for (let dscp = 0; dscp < 64; dscp++) {
      const tos = (dscp << 2) | CODEPOINT[inner];
      assert.equal(outerTos(tos, -1, ECN_MODE.NORMAL), (dscp << 2) | CODEPOINT[normal]);
      assert.equal(outerTos(tos, -1, ECN_MODE.COMPATIBILITY), (dscp << 2) | CODEPOINT[compatibility]);
      assert.equal(outerTos(tos, 46, ECN_MODE.NORMAL), (46 << 2) | CODEPOINT[normal]);
      assert.equal(outerTos(tos, 0, ECN_MODE.NORMAL), CODEPOINT[normal]);
    }
  });
}

test('a DSCP of -1 or 64 inherits, 0 and 63 are values', () => {
  assert.equal(outerTos(0b101110_01, -1, ECN_MODE.NORMAL), 0b101110_01);
  assert.equal(outerTos(0b101110_01, 64, ECN_MODE.NORMAL), 0b101110_01);
  assert.equal(outerTos(0b101110_01, 0, ECN_MODE.NORMAL), 0b000000_01);
  assert.equal(outerTos(0b101110_01, 63, ECN_MODE.NORMAL), 0b111111_01);
});

test('what normal mode encapsulates decapsulates to what it was, for every TOS', () => {
  for (let tos = 0; tos < 256; tos++) {
    // Inner Not-ECT under outer Not-ECT and so on: the diagonal of Figure 4.
    const packet = plainPacket({ tos });
    assert.equal(decapsulateEcn(packet, 0, outerTos(tos, -1, ECN_MODE.NORMAL)), VERDICT.FORWARD);
    assert.equal(packet[1], tos);
  }
});

test('on any bytes it writes at most TOS and checksum, and keeps a right checksum right', () => {
  fc.assert(
    fc.property(hostilePacket, fc.integer({ min: 0, max: 255 }), (packet, outer) => {
      fc.pre(packet.length >= 20);
      const guarded = new Guarded(packet);
      decapsulateEcn(guarded.bytes, guarded.at, outer);
      guarded.assertOnlyWritten();
      const after = guarded.packet;
      for (let i = 0; i < after.length; i++) {
        if (i !== 1 && i !== 10 && i !== 11) assert.equal(after[i], packet[i]);
      }
      if (packet.length >= (packet[0]! & 15) * 4 && headerChecksumHolds(packet))
        assert.ok(headerChecksumHolds(after));
    }),
    { seed: SEED, numRuns: 1000 },
  );
});
