import type { Prng } from '../../src/base/prng.ts';

const NUMBERS = [
  0, 1, 4, 5, 6, 17, 19, 20, 21, 60, 63, 64, 127, 128, 255, 256, 1480, 1500, 0x7fff, 0x8000, 0xffff,
];

/** A changed copy of `input`, at most `bytesMax` long and never empty; `other` lends bytes. */
export function mutated(input: Uint8Array, other: Uint8Array, bytesMax: number, prng: Prng): Uint8Array {
  let bytes: Uint8Array = input.slice();
  for (let left = 1 << prng.below(4); left > 0; left--) bytes = changed(bytes, other, prng);
  if (bytes.length === 0) return Uint8Array.of(prng.below(256));
  return bytes.subarray(0, bytesMax);
}

function changed(bytes: Uint8Array, other: Uint8Array, prng: Prng): Uint8Array {
  const at = prng.below(bytes.length + 1);
  const length = Math.min(1 + prng.below(1 << prng.below(8)), bytes.length - at);
  switch (prng.below(10)) {
    case 0:
    case 1:
      if (at < bytes.length) bytes[at]! ^= 1 << prng.below(8);
      return bytes;
    case 2:
      if (at < bytes.length) bytes[at] = prng.below(256);
      return bytes;
    case 3:
      if (at < bytes.length) bytes[at] = bytes[at]! + prng.pick([-4, -1, 1, 4]);
      return bytes;
    case 4:
    case 5: {
      const number = prng.pick(NUMBERS);
      if (at + 1 < bytes.length) bytes.set([number >> 8, number & 255], at);
      return bytes;
    }
    case 6:
      return joined(bytes.subarray(0, at), bytes.subarray(at + length));
    case 7:
      return joined(
        bytes.subarray(0, at),
        Uint8Array.from({ length: 1 + prng.below(16) }, () => prng.below(256)),
        bytes.subarray(at),
      );
    case 8:
      return joined(
        bytes.subarray(0, at + length),
        bytes.subarray(at, at + length),
        bytes.subarray(at + length),
      );
    default: {
      const from = prng.below(other.length + 1);
      const piece = other.subarray(from, from + 1 + prng.below(64));
      if (prng.chance(0.5)) return joined(bytes.subarray(0, at), piece, bytes.subarray(at));
      bytes.set(piece.subarray(0, bytes.length - at), at);
      return bytes;
    }
  }
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}
