import type { Prng } from '../../src/base/prng.ts';
import { checksumOf, get16, headerLength, onesSum, put16, sealHeader } from '../sim/oracle/wire.ts';
import { joined } from './mutate.ts';

/**
 * How the targets of the packet path read their input: a byte that chooses the settings, then packets.
 *
 *   | choice | flags, length high, length low | that many bytes, or those that are left | flags, … |
 */
export const PACKETS_MAX = 8;
const HEAD_BYTES = 3;

export interface ListedPacket {
  readonly flags: number;
  /** Inside the input. */
  readonly bytes: Uint8Array;
}

export interface PacketList {
  readonly choice: number;
  readonly packets: readonly ListedPacket[];
}

export function readPacketList(input: Uint8Array): PacketList {
  const packets: ListedPacket[] = [];
  for (let at = 1; at + HEAD_BYTES < input.length && packets.length < PACKETS_MAX; ) {
    const length = input[at + 1]! * 256 + input[at + 2]!;
    const bytes = input.subarray(at + HEAD_BYTES, at + HEAD_BYTES + length);
    if (length > 0) packets.push({ flags: input[at]!, bytes });
    at += HEAD_BYTES + length;
  }
  return { choice: input[0] ?? 0, packets };
}

export function packetList(choice: number, packets: readonly ListedPacket[]): Uint8Array {
  const parts = packets.map(({ flags, bytes }) =>
    joined(Uint8Array.of(flags, bytes.length >> 8, bytes.length & 255), bytes),
  );
  return joined(Uint8Array.of(choice), ...parts);
}

/**
 * Writes the header checksum of the packet that begins at `bytes`; for a header that is cut short, the one that zeros behind it would make
 * right. Returns the bytes behind the header.
 */
export function resealed(bytes: Uint8Array): Uint8Array {
  if (bytes.length < 20) return bytes.subarray(bytes.length);
  const header = new Uint8Array(60);
  header.set(bytes.subarray(0, Math.min(60, headerLength(bytes))));
  if (headerLength(bytes) >= 20) sealHeader(header);
  bytes.set(header.subarray(10, 12), 10);
  return bytes.subarray(Math.min(bytes.length, headerLength(bytes)));
}

/** Now and then also sets the total length to what is there, without which a changed size is all that is ever found. */
export function fitted(bytes: Uint8Array, prng: Prng): void {
  if (bytes.length >= 20 && prng.chance(0.5)) put16(bytes, 2, bytes.length);
}

/** Makes the checksum of TCP or UDP right, leaves it to the kernel (the sum of the pseudo-header), or leaves it as it is. */
export function transportSealed(bytes: Uint8Array, prng: Prng): void {
  const choice = prng.below(4);
  if (choice > 1 || bytes.length < 20) return;
  const header = headerLength(bytes);
  const transport = bytes.subarray(header, get16(bytes, 2));
  const at = bytes[9] === 6 ? 16 : 6;
  if ((bytes[9] !== 6 && bytes[9] !== 17) || header < 20 || transport.length < at + 2) return;
  const pseudo = Uint8Array.of(
    ...bytes.subarray(12, 20),
    0,
    bytes[9],
    transport.length >> 8,
    transport.length & 255,
  );
  put16(transport, at, onesSum(pseudo));
  if (choice === 0) put16(transport, at, checksumOf(joined(pseudo, unsummed(transport, at))));
}

function unsummed(transport: Uint8Array, at: number): Uint8Array {
  const copy = transport.slice();
  put16(copy, at, 0);
  return copy;
}
