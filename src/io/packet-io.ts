import type { Batch } from './batch.ts';

/**
 * One end of the gateway: the TUN device, the underlay socket, or a memory pair in tests. Called only from the thread that owns it.
 * Nothing here blocks, throws or allocates per packet.
 */
export interface PacketIo {
  /**
   * Fills slots 0, 1, … of `batch` with the packets that wait, at most `batch.capacity`: writes `length[i]`, leaves `at[i]` as the
   * caller set it (start of the room, PACKET_BYTES_MAX bytes). Returns their number (0: nothing waits) or the negated errno.
   */
  receive(batch: Batch): number;

  /**
   * Sends packets `from` … `to - 1` of `batch` in order; the underlay reads `address[i]`. Returns how many were taken, which may be
   * fewer than asked when the kernel is full; the negated errno when the first one was refused. The TUN device also reads the vnet header before each packet. The caller decides what to do with
   * the rest.
   */
  send(batch: Batch, from: number, to: number): number;

  /** Idempotent. */
  close(): void;
}
