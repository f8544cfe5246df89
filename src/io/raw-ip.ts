import { type Address, formatAddress } from '../base/address.ts';
import { GatewayError, IoError } from '../base/errors.ts';
import { type Batch, PACKET_BYTES_MAX } from './batch.ts';
import { errnoName } from './errno.ts';
import { CALL_PACKETS_MAX, type Native } from './native.ts';
import type { PacketIo } from './packet-io.ts';
import { HOW_TO_GRANT } from './tun.ts';
import { shareProgram } from './worker-share.ts';

/** IP in IP, RFC 2003. */
const PROTOCOL_IPIP = 4;

export interface RawIpOptions {
  /** Our underlay address: what is addressed to another one of this host is not received. 0: every address. */
  readonly address: Address;
  /** 8 MiB hold about 10,000 small packets: 40 ms at 250,000 packets a second. */
  readonly receiveBufferBytes?: number;
  readonly sendBufferBytes?: number;
  /** This worker's place among the sockets that share the traffic. */
  readonly worker?: { readonly index: number; readonly count: number };
}

/** Opens the underlay socket of one worker. Throws ISTHMUS_ERR_PRIVILEGE or an IoError. */
export function openRawIp(native: Native, options: RawIpOptions): RawIp {
  const { address, worker = { index: 0, count: 1 } } = options;
  const fd = native.rawOpen(
    PROTOCOL_IPIP,
    options.receiveBufferBytes ?? 8 << 20,
    options.sendBufferBytes ?? 4 << 20,
  );
  if (fd < 0) throw rawOpenError(fd);
  try {
    const program = shareProgram(worker.index, worker.count);
    if (program !== undefined) attachShare(native, fd, program);
    const bound = native.rawBind(fd, address);
    if (bound < 0) {
      throw new IoError(
        'bind',
        errnoName(bound),
        formatAddress(address),
        'underlay.address must be an address of this host',
      );
    }
  } catch (error) {
    native.close(fd);
    throw error;
  }
  return new RawIp(native, fd);
}

/** return 0: accepts nothing. */
const REJECT_ALL = Uint32Array.of(0x06, 0);

/**
 * A raw socket receives from the moment it exists. What came in before its filter belongs, for the most part, to the other workers,
 * who have it too; so it is thrown away behind a filter that lets nothing else in, and only then the share is attached.
 */
function attachShare(native: Native, fd: number, program: Uint32Array): void {
  const scratch = new Uint8Array(64);
  const at = new Int32Array(CALL_PACKETS_MAX);
  const length = new Int32Array(CALL_PACKETS_MAX);
  check(native.rawFilter(fd, REJECT_ALL));
  while (native.rawReceive(fd, scratch, at, length, CALL_PACKETS_MAX, scratch.length) > 0);
  check(native.rawFilter(fd, program));

  function check(result: number): void {
    if (result < 0) throw new IoError('SO_ATTACH_FILTER', errnoName(result), 'underlay socket');
  }
}

function rawOpenError(result: number): GatewayError {
  const errno = errnoName(result);
  if (errno === 'EPERM' || errno === 'EACCES') {
    return new GatewayError(
      'ISTHMUS_ERR_PRIVILEGE',
      `the underlay's raw socket cannot be opened (${errno}): CAP_NET_RAW is missing. ${HOW_TO_GRANT} (CAP_NET_RAW)`,
    );
  }
  return new IoError('socket', errno, 'raw IPv4, protocol 4');
}

/** The batch socket: protocol 4, headers included, many packets a system call. */
export class RawIp implements PacketIo {
  readonly #native: Native;
  #fd: number;
  #overflowSeen: number;

  /** Takes over descriptor `fd`, also one that another thread of the process opened. */
  constructor(native: Native, fd: number) {
    this.#native = native;
    this.#fd = fd;
    // The kernel counts for the socket's life; what an earlier owner was told is not counted again.
    this.#overflowSeen = Math.max(0, native.rawOverflow(fd));
  }

  /** For `Native.poll` and `Native.watch`; -1 when closed. */
  get fd(): number {
    return this.#fd;
  }

  /** Packets begin with the outer header. */
  receive(batch: Batch): number {
    return this.#native.rawReceive(
      this.#fd,
      batch.bytes,
      batch.at,
      batch.length,
      Math.min(batch.capacity, CALL_PACKETS_MAX),
      PACKET_BYTES_MAX,
    );
  }

  /**
   * The kernel writes the outer total length and checksum anew (raw(7)); DF, ID other than 0, TOS and addresses stay. A packet
   * larger than the device's MTU is refused with EMSGSIZE.
   */
  send(batch: Batch, from: number, to: number): number {
    const end = Math.min(to, from + CALL_PACKETS_MAX);
    return this.#native.rawSend(this.#fd, batch.bytes, batch.at, batch.length, batch.address, from, end);
  }

  /** Packets that the kernel dropped since the last call because the receive buffer was full; 0 where it cannot tell. */
  takeOverflow(): number {
    const total = this.#native.rawOverflow(this.#fd);
    if (total < 0) return 0;
    const fresh = (total - this.#overflowSeen) >>> 0;
    this.#overflowSeen = total;
    return fresh;
  }

  close(): void {
    if (this.#fd < 0) return;
    this.#native.close(this.#fd);
    this.#fd = -1;
  }
}
