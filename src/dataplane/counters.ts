import { VERDICT_COUNT } from '../packet/verdict.ts';

/**
 * One block of counters for each engine (worker), in shared memory: the engine adds, everyone else reads. Float64 cells, because sums
 * are exact to 2^53 and adding to a BigUint64Array allocates.
 *
 *   cell 0                          TOTAL.*, one cell each
 *   cell TOTAL_CELLS                drops outbound, by verdict
 *   cell TOTAL_CELLS + V            drops inbound, by verdict
 *   cell GLOBAL_CELLS               peer 0: PEER_CELL.* , peer 1: …
 */
export const TOTAL = {
  OUTBOUND_PACKETS: 0,
  OUTBOUND_BYTES: 1,
  INBOUND_PACKETS: 2,
  INBOUND_BYTES: 3,
  /** Packets read from the device or the underlay, whatever became of them. */
  OUTBOUND_RECEIVED: 4,
  INBOUND_RECEIVED: 5,
  FRAGMENTED: 6,
  /** Fragments made from them. */
  FRAGMENTS: 7,
  MSS_CLAMPED: 8,
  ICMP_QUEUED: 9,
  ICMP_SUPPRESSED: 10,
  /** Packets over a peer's learned path MTU that went out all the same, with an ICMP error (RFC 2003 §5.1). */
  SOFT_STATE_EXCEEDED: 11,
  /** Turns of the loop, and turns that found nothing. */
  TURNS: 12,
  RECEIVE_ERRORS: 13,
  /** Packets the kernel dropped because a receive buffer was full. */
  OVERFLOWED: 14,
  /** System calls of the packet loop: waiting, receiving, sending. */
  SYSTEM_CALLS: 15,
  /** With `tunnel.transmit: packet`: packets that left by the packet socket, then those that left by the raw one. In a row, as SENT of packet-sender.ts. */
  SENT_BY_PACKET_SOCKET: 16,
  SENT_BY_RAW_SOCKET: 17,
  /** Packets from the underlay that were probes of peers, or answers to ours: neither forwarded nor dropped. */
  INBOUND_PROBES: 18,
  /** Pairs of inner and outer ECN field that no sender should make (RFC 6040 §4.2), the one that is dropped among them. */
  ECN_UNUSED: 19,
} as const;

export const TOTAL_CELLS = 24;
export const DROPS_OUTBOUND = TOTAL_CELLS;
export const DROPS_INBOUND = TOTAL_CELLS + VERDICT_COUNT;
export const GLOBAL_CELLS = TOTAL_CELLS + 2 * VERDICT_COUNT;

export const PEER_CELL = {
  OUTBOUND_PACKETS: 0,
  OUTBOUND_BYTES: 1,
  INBOUND_PACKETS: 2,
  INBOUND_BYTES: 3,
  OUTBOUND_DROPS: 4,
  INBOUND_DROPS: 5,
} as const;

export const PEER_CELLS = 6;

/** Bytes of the counter block of one engine for `peers` peers. Pages that no peer touches cost no memory. */
export function counterBytes(peers: number): number {
  return (GLOBAL_CELLS + peers * PEER_CELLS) * Float64Array.BYTES_PER_ELEMENT;
}

/** First cell of a peer. */
export function peerCell(peer: number): number {
  return GLOBAL_CELLS + peer * PEER_CELLS;
}

/** Adds one cell up over all engines. */
export function sumCell(blocks: readonly Float64Array[], cell: number): number {
  let sum = 0;
  for (const block of blocks) sum += block[cell] ?? 0;
  return sum;
}
