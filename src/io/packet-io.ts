import type { IpAddress } from '../base/address.ts';
import type { Batch } from './batch.ts';

/**
 * One end of the gateway: the TUN device, the underlay socket, or a memory pair in tests. Called only from the thread that owns it.
 * Nothing here blocks, throws or allocates per packet.
 */
export interface PacketIo {
  /**
   * One cell: the system calls that `receive` and `send` have made so far. Counted from what each native call promises to do, so that it
   * costs an addition; memory backends leave it at 0. A Float64Array because a number field beyond 2^30 would be a heap object.
   */
  readonly calls: Float64Array;

  /**
   * Fills slots 0, 1, … of `batch` with the packets that wait, at most `batch.capacity`: writes `at[i]` and `length[i]`. The TUN device
   * writes the vnet header before each packet too. Returns their number (0: nothing waits) or the negated errno.
   */
  receive(batch: Batch): number;

  /**
   * Sends entries `from` … `to - 1` of `batch` in order, gathering their `pieces`; the underlay reads `address[i]`, the TUN device the vnet
   * header before each packet. Returns how many were taken, which may be fewer than asked when the kernel is full; the negated errno when
   * the first one was refused. The caller decides what to do with the rest.
   */
  send(batch: Batch, from: number, to: number): number;

  /** Idempotent. */
  close(): void;
}

/** What the main thread does to an underlay socket while packets flow: its addresses change without the socket being opened again. */
export interface UnderlaySocket {
  /**
   * From now on takes packets to one of `accepted` only (every address when empty), and sends as one who has `source`: the outer header
   * says so already, but a host with rules by source address (`ip rule from`) picks the way by it. False when this host does not have
   * `source` now: the way is then picked by the destination alone, until this is called again. Throws IoError.
   */
  setAddresses(source: IpAddress, accepted: readonly IpAddress[]): boolean;
  /** Idempotent. */
  close(): void;
}
