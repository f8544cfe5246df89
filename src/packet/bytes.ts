/**
 * Big-endian loads and stores on a Uint8Array by index. A DataView would be one more object to carry beside each slab, and gains nothing
 * over the unrolled loads (bench/packet.bench.ts: "checksum 1,480 B" takes two thirds of "checksum 1,480 B, DataView").
 *
 * None of these checks a bound: the packet was checked once, by checkInner or checkOuter. A load outside the array would read
 * `undefined`, which the shifts turn into 0, and a store would be lost; neither throws, neither touches other memory.
 */

/** The u16 in network order at `at`. Reads 2 bytes. */
export function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

/** The u32 in network order at `at`, never negative. Reads 4 bytes. An IPv4 address read so is the host-order u32 used everywhere. */
export function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

/**
 * The same 32 bits as readU32, as a signed number. V8 keeps every i32 as a small integer, but allocates 16 bytes for a number from 2^31
 * on whenever it crosses a call that was not inlined (test/alloc measured 16 bytes a packet in flowHash). Functions that say "u32 or
 * i32" take either.
 */
export function readI32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

/** Writes the low 16 bits of `value` in network order. Writes 2 bytes. */
export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** Writes the low 32 bits of `value`, u32 or i32, in network order. Writes 4 bytes. */
export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
