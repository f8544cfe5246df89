import { GatewayError, IoError } from '../base/errors.ts';
import type { Batch } from './batch.ts';
import { errnoName, NEGATED } from './errno.ts';
import { CALL_PACKETS_MAX, type Native } from './native.ts';
import { hasNextHop } from './next-hop-table.ts';
import type { PacketIo } from './packet-io.ts';
import { HOW_TO_GRANT } from './tun.ts';

/** Cells of `PacketSenderParts.sent`: packets that left by the packet socket, and by the raw one. */
export const SENT = { PACKET: 0, RAW: 1, CELLS: 2 } as const;

export interface PacketSenderParts {
  readonly native: Native;
  /** Of `openPacketSocket`; the caller keeps owning it. */
  readonly fd: number;
  /** Receives everything, and sends what has no known next hop. */
  readonly raw: PacketIo;
  /** The words of a NextHopTable. */
  readonly hops: Uint32Array;
  /** SENT.CELLS cells to count in. */
  readonly sent: Float64Array;
}

/** A descriptor that only sends; for PacketSender. Throws ISTHMUS_ERR_PRIVILEGE or an IoError. */
export function openPacketSocket(native: Native, sendBufferBytes: number): number {
  const fd = native.linkOpen(sendBufferBytes);
  if (fd >= 0) return fd;
  const errno = errnoName(fd);
  if (fd === NEGATED.EPERM || fd === NEGATED.EACCES) {
    throw new GatewayError(
      'ISTHMUS_ERR_PRIVILEGE',
      `the packet socket of tunnel.transmit cannot be opened (${errno}): CAP_NET_RAW is missing. ${HOW_TO_GRANT} (CAP_NET_RAW)`,
    );
  }
  throw new IoError('socket', errno, 'packet socket', 'tunnel.transmit: raw does without it');
}

/**
 * An underlay whose packets leave straight by the device, with the neighbour's link address, where the table knows both; the host's
 * routing, netfilter OUTPUT and POSTROUTING and conntrack do not see them. All others leave by the raw socket, and so does what the
 * device refuses: the kernel's own way has the last word on what can be sent.
 */
export class PacketSender implements PacketIo {
  /** The raw socket's own, with those of the packet socket added: one underlay, one number. */
  readonly calls: Float64Array;
  readonly #native: Native;
  readonly #fd: number;
  readonly #raw: PacketIo;
  readonly #hops: Uint32Array;
  readonly #sent: Float64Array;

  constructor(parts: PacketSenderParts) {
    this.calls = parts.raw.calls;
    this.#native = parts.native;
    this.#fd = parts.fd;
    this.#raw = parts.raw;
    this.#hops = parts.hops;
    this.#sent = parts.sent;
  }

  receive(batch: Batch): number {
    return this.#raw.receive(batch);
  }

  /** As RawIp's, and the outer header is complete already: total length, ID and checksum leave as they are. */
  send(batch: Batch, from: number, to: number): number {
    const end = Math.min(to, from + CALL_PACKETS_MAX);
    const { bytes, at, length, pieces, address, peer } = batch;
    const taken = this.#native.linkSend(
      this.#fd,
      bytes,
      at,
      length,
      pieces,
      address,
      peer,
      this.#hops,
      from,
      end,
    );
    if (taken !== NEGATED.EDESTADDRREQ) this.calls[0]! += 1;
    if (taken >= 0) {
      this.#sent[SENT.PACKET]! += taken;
      return taken;
    }
    const rawEnd = taken === NEGATED.EDESTADDRREQ ? this.#endOfUnknown(batch, from, end) : from + 1;
    const raw = this.#raw.send(batch, from, rawEnd);
    if (raw > 0) this.#sent[SENT.RAW]! += raw;
    return raw;
  }

  /** Closes nothing: both descriptors belong to the caller. */
  close(): void {}

  /** The first packet behind `from` whose next hop is known; `from` itself is beyond question. */
  #endOfUnknown(batch: Batch, from: number, to: number): number {
    let end = from + 1;
    while (end < to && !hasNextHop(this.#hops, batch.peer[end]!, batch.address[end]!)) end += 1;
    return end;
  }
}
