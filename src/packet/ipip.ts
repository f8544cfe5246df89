import { IPV4 } from './ipv4.ts';

/** What IP in IP adds to a packet. */
export const IPIP_ENCAPSULATION_BYTES = 20;

// Constants of this module are compiled into the code; an imported one is loaded at each use (fib/lookup.ts).
const { HEADER_BYTES, ID, TTL, SOURCE, DESTINATION } = IPV4;

/**
 * Writes the outer header into the 20 bytes before `at`, so that the outer packet starts at `at - 20` and is `innerLength + 20` bytes
 * long. Nothing else is read or written: the inner packet stays where it is, and its options are not copied. RFC 2003 §3.1.
 *
 * Requires 20 bytes of headroom, and that the caller has checked `innerLength + 20 <= 65535`. `source` and `destination` are host
 * order, u32 or i32 (an i32 is never boxed, see readI32), `tos` comes from outerTos, `flags` is IPV4.DF or 0. With DF set any `id` of
 * 16 bits will do; otherwise it must be unique for (source, destination, protocol) within a packet's lifetime: RFC 6864 §4. `protocol` is
 * what begins at `at`: PROTOCOL.IPIP, or PROTOCOL.UDP where a UDP header was put before the inner packet (fou.ts).
 *
 * By whole words through a DataView, which V8 makes one byte swap and one store (bench/packet.bench.ts, "encapsulate": 2.6 ns a packet
 * against 9.1 byte by byte).
 */
export function encapsulate(
  view: DataView,
  at: number,
  innerLength: number,
  source: number,
  destination: number,
  tos: number,
  ttl: number,
  id: number,
  flags: number,
  protocol: number,
): void {
  const outer = at - HEADER_BYTES;
  const total = innerLength + HEADER_BYTES;
  const versionTos = 0x4500 | tos;
  const ttlProtocol = (ttl << 8) | protocol;
  // The sum is made of the values in hand: at most nine u16, so two folds suffice and nothing is loaded.
  const sum =
    (source >>> 16) +
    (source & 0xffff) +
    flags +
    versionTos +
    total +
    id +
    ttlProtocol +
    (destination >>> 16) +
    (destination & 0xffff);
  const once = (sum & 0xffff) + (sum >>> 16);
  const check = ~(once + (once >>> 16)) & 0xffff;
  view.setInt32(outer, (versionTos << 16) | total);
  view.setInt32((outer + ID) | 0, (id << 16) | flags);
  view.setInt32((outer + TTL) | 0, (ttlProtocol << 16) | check);
  view.setInt32((outer + SOURCE) | 0, source);
  view.setInt32((outer + DESTINATION) | 0, destination);
}
