import { writeU16, writeU32 } from './bytes.ts';
import { foldSum } from './checksum.ts';
import { IPV4, PROTOCOL } from './ipv4.ts';

/** What encapsulation adds to a packet; tunnel MTU = underlay MTU - ENCAPSULATION_BYTES. */
export const ENCAPSULATION_BYTES = 20;

/**
 * Writes the outer header into the 20 bytes before `at`, so that the outer packet starts at `at - 20` and is `innerLength + 20` bytes
 * long. Nothing else is read or written: the inner packet stays where it is, and its options are not copied. RFC 2003 §3.1.
 *
 * Requires 20 bytes of headroom, and that the caller has checked `innerLength + 20 <= 65535`. `source` and `destination` are host
 * order, u32 or i32 (an i32 is never boxed, see readI32), `tos` comes from outerTos, `flags` is IPV4.DF or 0. With DF set any `id`
 * will do; otherwise it must be unique for (source, destination, protocol 4) within a packet's lifetime: RFC 6864 §4.
 */
export function encapsulate(
  bytes: Uint8Array,
  at: number,
  innerLength: number,
  source: number,
  destination: number,
  tos: number,
  ttl: number,
  id: number,
  flags: number,
): void {
  const outer = at - ENCAPSULATION_BYTES;
  const total = innerLength + ENCAPSULATION_BYTES;
  const versionTos = 0x4500 | tos;
  const ttlProtocol = (ttl << 8) | PROTOCOL.IPIP;
  // The sum is made of the values in hand: at most nine u16, so two folds suffice and nothing is loaded.
  const sum =
    versionTos +
    total +
    (id & 0xffff) +
    flags +
    ttlProtocol +
    (source >>> 16) +
    (source & 0xffff) +
    (destination >>> 16) +
    (destination & 0xffff);
  writeU16(bytes, outer + IPV4.VERSION_IHL, versionTos);
  writeU16(bytes, outer + IPV4.TOTAL_LENGTH, total);
  writeU16(bytes, outer + IPV4.ID, id);
  writeU16(bytes, outer + IPV4.FRAGMENT, flags);
  writeU16(bytes, outer + IPV4.TTL, ttlProtocol);
  writeU16(bytes, outer + IPV4.CHECKSUM, ~foldSum(sum));
  writeU32(bytes, outer + IPV4.SOURCE, source);
  writeU32(bytes, outer + IPV4.DESTINATION, destination);
}
