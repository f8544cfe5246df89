/**
 * What became of a packet. FORWARD is 0; every other number is the one reason it was dropped, and each reason is a counter. The
 * numbers are shared with native/bpf and stay what they are: new reasons go to the end. docs/drop-reasons.md is made from this table.
 */
export const VERDICT = {
  FORWARD: 0,
  INNER_TRUNCATED: 1,
  INNER_VERSION: 2,
  INNER_MALFORMED: 3,
  INNER_CHECKSUM: 4,
  INNER_TTL: 5,
  NO_ROUTE: 6,
  NO_GATEWAY: 7,
  LOOP: 8,
  TOO_BIG: 9,
  OUTER_MALFORMED: 10,
  UNKNOWN_PEER: 11,
  SPOOFED_SOURCE: 12,
  NOT_LOCAL: 13,
  MARTIAN: 14,
  NESTED: 15,
  ECN_ILLEGAL: 16,
  SEND_FAILED: 17,
  DEVICE_FAILED: 18,
  NO_BUFFER: 19,
  MERGED_DATAGRAMS: 20,
  ENCAPSULATION_LIMIT: 21,
} as const;

export interface DropReason {
  readonly verdict: number;
  /** The word that metrics, status and documentation use. */
  readonly name: string;
  readonly direction: 'outbound' | 'inbound' | 'both';
  readonly meaning: string;
}

/** Indexed by verdict; entry 0 is FORWARD, which is no drop reason. */
export const DROP_REASONS: readonly DropReason[] = [
  { verdict: 0, name: 'forward', direction: 'both', meaning: 'forwarded' },
  {
    verdict: 1,
    name: 'inner-truncated',
    direction: 'both',
    meaning: 'fewer bytes than the inner header or its total length says',
  },
  {
    verdict: 2,
    name: 'inner-version',
    direction: 'both',
    meaning: 'the inner packet is neither IPv4 nor IPv6, or not what the outer one says',
  },
  {
    verdict: 3,
    name: 'inner-malformed',
    direction: 'both',
    meaning:
      'the inner header length is below 20, or the total length below the header length; or the device hands over a packet to cut whose offload header does not fit it',
  },
  {
    verdict: 4,
    name: 'inner-checksum',
    direction: 'both',
    meaning: 'the inner header checksum is wrong, or the TCP checksum of a packet that GRO has merged',
  },
  { verdict: 5, name: 'inner-ttl', direction: 'both', meaning: 'the inner TTL is 0 (RFC 2003 §3.1)' },
  {
    verdict: 6,
    name: 'no-route',
    direction: 'outbound',
    meaning: 'no remote cluster has a prefix for the inner destination',
  },
  {
    verdict: 7,
    name: 'no-gateway',
    direction: 'outbound',
    meaning: 'there is a route, but none of its gateways is alive',
  },
  {
    verdict: 8,
    name: 'loop',
    direction: 'outbound',
    meaning: 'the inner packet is from or to an end of the tunnel itself (RFC 2003 §3.2)',
  },
  {
    verdict: 9,
    name: 'too-big',
    direction: 'outbound',
    meaning: 'DF is set and the packet exceeds what the underlay link can carry (RFC 2003 §5.1)',
  },
  {
    verdict: 10,
    name: 'outer-malformed',
    direction: 'inbound',
    meaning:
      'the outer header is no valid IP header of protocol 4 or 41 (with fou: of UDP, with a length and a checksum that are right), or is a fragment',
  },
  {
    verdict: 11,
    name: 'unknown-peer',
    direction: 'inbound',
    meaning: 'the outer source is no known gateway and not in security.decapsulateFrom',
  },
  {
    verdict: 12,
    name: 'spoofed-source',
    direction: 'inbound',
    meaning: 'the inner source does not belong to a cluster of this peer (RFC 2827)',
  },
  {
    verdict: 13,
    name: 'not-local',
    direction: 'inbound',
    meaning: 'the inner destination is in none of our CIDRs',
  },
  {
    verdict: 14,
    name: 'martian',
    direction: 'inbound',
    meaning:
      'an inner address that must not be on the wire (RFC 1812 §5.3.7), or an end of the tunnel itself',
  },
  {
    verdict: 15,
    name: 'nested',
    direction: 'inbound',
    meaning: 'IPIP inside IPIP, addressed to this gateway',
  },
  {
    verdict: 16,
    name: 'ecn-illegal',
    direction: 'inbound',
    meaning: 'outer CE on an inner packet that is not ECN-capable (RFC 6040 §4.2)',
  },
  {
    verdict: 17,
    name: 'send-failed',
    direction: 'outbound',
    meaning: 'the kernel refused the packet on the underlay socket',
  },
  {
    verdict: 18,
    name: 'device-failed',
    direction: 'inbound',
    meaning: 'the kernel refused the packet on the TUN device',
  },
  {
    verdict: 19,
    name: 'no-buffer',
    direction: 'both',
    meaning: 'no free slot for a packet that had to be made or queued',
  },
  {
    verdict: 20,
    name: 'merged-datagrams',
    direction: 'inbound',
    meaning: 'UDP that the kernel merged on the underlay device, which lost where each datagram ends',
  },
  {
    verdict: 21,
    name: 'encapsulation-limit',
    direction: 'outbound',
    meaning: 'the packet says that it must not go into one tunnel more (RFC 2473 §4.1.1)',
  },
];

export const VERDICT_COUNT = 22;
