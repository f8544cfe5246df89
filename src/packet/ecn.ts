import { readU16, writeU16 } from './bytes.ts';
import { adjustChecksum } from './checksum.ts';
import { IPV4 } from './ipv4.ts';
import { VERDICT } from './verdict.ts';

/** How the outer ECN field is made. NORMAL copies the inner one; COMPATIBILITY is for a far end that predates RFC 6040. */
export const ECN_MODE = { NORMAL: 0, COMPATIBILITY: 1 } as const;

/** The two-bit codepoints of RFC 3168 §5. ECT(1) is the smaller number. */
const ECN = { NOT_ECT: 0, ECT_1: 1, ECT_0: 2, CE: 3 } as const;

/** Marks the one cell of ECN_DECAPSULATE whose packet must be dropped. */
export const ECN_DROP = 255;

/**
 * The ECN field after decapsulation, indexed `inner << 2 | outer`; ECN_DROP where the packet must go. RFC 6040 §4.2, Figure 4.
 * The columns are in the order of the codepoints, which is not the order of the figure.
 */
export const ECN_DECAPSULATE = Uint8Array.of(
  // outer: Not-ECT, ECT(1), ECT(0), CE
  /* inner Not-ECT */ ECN.NOT_ECT,
  ECN.NOT_ECT,
  ECN.NOT_ECT,
  ECN_DROP,
  /* inner ECT(1) */ ECN.ECT_1,
  ECN.ECT_1,
  ECN.ECT_1,
  ECN.CE,
  /* inner ECT(0) */ ECN.ECT_0,
  ECN.ECT_1,
  ECN.ECT_0,
  ECN.CE,
  /* inner CE */ ECN.CE,
  ECN.CE,
  ECN.CE,
  ECN.CE,
);

/**
 * 1 for the pairs `inner << 2 | outer` that RFC 6040 §4.2 calls currently unused and wants to be logged, "(!!!)" in its Figure 4: an outer
 * mark on a packet that is not ECN-capable, and outer ECT(1) on inner CE.
 */
export const ECN_UNUSED = Uint8Array.of(0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0);

/**
 * The TOS byte of the outer header. `dscp` from 0 to 63 is used as it is (the pipe model of RFC 2983 §3.1), anything else, -1 by
 * custom, inherits the inner DSCP (the uniform model). `ecnMode` is an ECN_MODE: RFC 6040 §4.1.
 */
export function outerTos(innerTos: number, dscp: number, ecnMode: number): number {
  const class6 = dscp >>> 0 > 63 ? innerTos & 0xfc : dscp << 2;
  return ecnMode === ECN_MODE.NORMAL ? class6 | (innerTos & 3) : class6;
}

/**
 * Carries the outer congestion mark into the inner header at `at`, which must be checked: writes its TOS (byte 1) and, by RFC 1624,
 * its checksum, and nothing when the field stays as it is. The inner DSCP is kept. Returns VERDICT.FORWARD, or VERDICT.ECN_ILLEGAL
 * with the packet untouched. RFC 6040 §4.2.
 */
export function decapsulateEcn(bytes: Uint8Array, at: number, tosOfOuter: number): number {
  const tos = bytes[at + IPV4.TOS]!;
  const ecn = ECN_DECAPSULATE[((tos & 3) << 2) | (tosOfOuter & 3)]!;
  if (ecn === (tos & 3)) return VERDICT.FORWARD;
  if (ecn === ECN_DROP) return VERDICT.ECN_ILLEGAL;
  const before = readU16(bytes, at + IPV4.VERSION_IHL);
  const after = (before & 0xfffc) | ecn;
  bytes[at + IPV4.TOS] = after;
  const check = readU16(bytes, at + IPV4.CHECKSUM);
  writeU16(bytes, at + IPV4.CHECKSUM, adjustChecksum(check, before, after));
  return VERDICT.FORWARD;
}
