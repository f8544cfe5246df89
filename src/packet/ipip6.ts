import { IPV6 } from './ipv6.ts';

/** What encapsulation on an IPv6 underlay adds to a packet of either family: RFC 2473 §3.1, without extension headers. */
export const IPIP6_ENCAPSULATION_BYTES = 40;

// Constants of this module are compiled into the code; an imported one is loaded at each use (fib/lookup.ts).
const { HEADER_BYTES, PAYLOAD_LENGTH, SOURCE, DESTINATION } = IPV6;

/**
 * Writes an outer IPv6 header into the 40 bytes before `at`: nothing else is read or written. RFC 2473 §3.1, §6. `source` and
 * `destination` hold four words of an address in host order from `sourceAt` and `destinationAt` on; `trafficClass` comes from outerTos,
 * `flowLabel` has 20 bits, `nextHeader` is what begins at `at`: PROTOCOL.IPIP, PROTOCOL.IPV6, or a fragment header.
 *
 * Requires 40 bytes of headroom, and that the caller has checked `innerLength <= 65535`.
 */
export function encapsulate6(
  view: DataView,
  at: number,
  innerLength: number,
  source: Uint32Array | Int32Array,
  sourceAt: number,
  destination: Uint32Array | Int32Array,
  destinationAt: number,
  trafficClass: number,
  flowLabel: number,
  hopLimit: number,
  nextHeader: number,
): void {
  const outer = at - HEADER_BYTES;
  view.setInt32(outer, 0x6000_0000 | (trafficClass << 20) | flowLabel);
  view.setInt32((outer + PAYLOAD_LENGTH) | 0, (innerLength << 16) | (nextHeader << 8) | hopLimit);
  for (let i = 0; i < 4; i++) {
    view.setInt32((outer + SOURCE + 4 * i) | 0, source[sourceAt + i]!);
    view.setInt32((outer + DESTINATION + 4 * i) | 0, destination[destinationAt + i]!);
  }
}
