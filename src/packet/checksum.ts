/**
 * The unfolded ones-complement sum of the 16-bit words in `length` bytes from `at` (RFC 1071 §1); an odd last byte counts as the high
 * half of a word. Reads exactly `length` bytes. At most 65,535 bytes, so that the sum stays below 2^31 and needs no carry on the way.
 */
export function sumBytes(bytes: Uint8Array, at: number, length: number): number {
  const end = at + length;
  const unrolledEnd = at + (length & ~7);
  let sum = 0;
  let i = at;
  // Four words a round, and `| 0` so that the compiler drops its overflow checks: bench/packet.bench.ts has "checksum 1,480 B" at
  // 617 ns against 1033 ns for "…, word by word", and 20 bytes at 14 against 17. Sixteen bytes a round, or summing the even and the
  // odd bytes apart, gained nothing more.
  for (; i < unrolledEnd; i += 8) {
    sum =
      (sum +
        ((bytes[i]! << 8) | bytes[i + 1]!) +
        ((bytes[i + 2]! << 8) | bytes[i + 3]!) +
        ((bytes[i + 4]! << 8) | bytes[i + 5]!) +
        ((bytes[i + 6]! << 8) | bytes[i + 7]!)) |
      0;
  }
  for (; i + 1 < end; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  if (i < end) sum += bytes[i]! << 8;
  return sum;
}

/** Folds the carries of a sum below 2^32 back in: the ones-complement sum as u16. Intact data with its checksum folds to 0xffff. */
export function foldSum(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** The internet checksum of `length` bytes from `at`, ready to store; the checksum field itself must hold 0. RFC 1071. */
export function internetChecksum(bytes: Uint8Array, at: number, length: number): number {
  return ~foldSum(sumBytes(bytes, at, length)) & 0xffff;
}

/**
 * The checksum after one 16-bit word under it changed: HC' = ~(~HC + ~m + m'), equation 3 of RFC 1624. Equation 4 of the same memo
 * is shorter but can turn a checksum that should be 0x0000 into 0xffff, which a receiver that compares instead of summing refuses.
 */
export function adjustChecksum(check: number, oldWord: number, newWord: number): number {
  return ~foldSum((~check & 0xffff) + (~oldWord & 0xffff) + newWord) & 0xffff;
}
