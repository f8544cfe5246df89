import { type Address, formatAddress } from '../base/address.ts';
import { GatewayError, IoError } from '../base/errors.ts';
import type { Batch } from './batch.ts';
import { errnoName, NEGATED } from './errno.ts';
import { CALL_PACKETS_MAX, type Native } from './native.ts';
import type { PacketIo, UnderlaySocket } from './packet-io.ts';
import { HOW_TO_GRANT } from './tun.ts';
import { protocolNumber, type UnderlayProtocol } from './underlay-protocol.ts';
import { shareProgram } from './worker-share.ts';

/** IPPROTO_RAW: receives nothing. */
const PROTOCOL_NONE = 255;

interface Place {
  readonly index: number;
  readonly count: number;
}

const ALONE: Place = { index: 0, count: 1 };

export interface RawIpOptions {
  /** Our underlay address: what is addressed to another one of this host is not received, see `setAddresses`. 0: every address. */
  readonly address: Address;
  readonly protocol?: UnderlayProtocol;
  /** 8 MiB hold about 10,000 small packets: 40 ms at 250,000 packets a second. */
  readonly receiveBufferBytes?: number;
  readonly sendBufferBytes?: number;
  /** This worker's place among the sockets that share the traffic. */
  readonly worker?: Place;
}

/**
 * Opens the underlay socket of one worker. Throws ISTHMUS_ERR_PRIVILEGE or an IoError. An address that this host does not have is no
 * failure: `setAddresses` may find it later.
 */
export function openRawIp(native: Native, options: RawIpOptions): RawIp {
  const { address, worker = ALONE, protocol = 'ipip' } = options;
  const number = protocolNumber(protocol);
  const fd = native.rawOpen(number, options.receiveBufferBytes ?? 8 << 20, 0);
  if (fd < 0) throw rawOpenError(fd, number);
  const sendFd = native.rawOpen(PROTOCOL_NONE, 0, options.sendBufferBytes ?? 4 << 20);
  if (sendFd < 0) {
    native.close(fd);
    throw rawOpenError(sendFd, PROTOCOL_NONE);
  }
  const socket = new RawIp(native, fd, sendFd, worker, protocol);
  try {
    dropEarly(native, fd);
    socket.setAddresses(address, address === 0 ? [] : [address]);
  } catch (error) {
    socket.close();
    throw error;
  }
  return socket;
}

/** return 0: accepts nothing. */
const REJECT_ALL = Uint32Array.of(0x06, 0);

/** return -1: accepts everything, whole. */
const ACCEPT_ALL = Uint32Array.of(0x06, 0xffff_ffff);

/**
 * A raw socket receives from the moment it exists. What came in before its filter belongs, for the most part, to the other workers,
 * who have it too, or to other addresses; so it is thrown away behind a filter that lets nothing else in.
 */
function dropEarly(native: Native, fd: number): void {
  const scratch = new Uint8Array(64);
  const at = new Int32Array(CALL_PACKETS_MAX);
  const length = new Int32Array(CALL_PACKETS_MAX);
  const layout = Int32Array.of(0, 0, scratch.length, 0, 0, 0);
  attach(native, fd, REJECT_ALL);
  while (native.rawReceive(fd, scratch, at, length, layout, CALL_PACKETS_MAX) > 0);
}

function attach(native: Native, fd: number, program: Uint32Array): void {
  const result = native.rawFilter(fd, program);
  if (result < 0) throw new IoError('SO_ATTACH_FILTER', errnoName(result), 'underlay socket');
}

function rawOpenError(result: number, protocol: number): GatewayError {
  const errno = errnoName(result);
  if (errno === 'EPERM' || errno === 'EACCES') {
    return new GatewayError(
      'ISTHMUS_ERR_PRIVILEGE',
      `the underlay's raw socket cannot be opened (${errno}): CAP_NET_RAW is missing. ${HOW_TO_GRANT} (CAP_NET_RAW)`,
    );
  }
  return new IoError('socket', errno, `raw IPv4, protocol ${protocol}`);
}

/**
 * The batch socket: protocol 4 or UDP, headers included, many packets a system call. It has two descriptors, because a bound raw socket takes
 * packets to one address only: the receiving one is not bound, its filter holds all of our addresses; the sending one is bound to the
 * present address, so that the kernel looks routes up by it, and receives nothing.
 */
export class RawIp implements PacketIo, UnderlaySocket {
  readonly calls = new Float64Array(1);
  readonly #native: Native;
  readonly #worker: Place;
  readonly #protocol: UnderlayProtocol;
  #fd: number;
  #sendFd: number;
  #overflowSeen: number;

  /** Takes over descriptors, also such as another thread of the process opened. */
  constructor(
    native: Native,
    fd: number,
    sendFd = fd,
    worker: Place = ALONE,
    protocol: UnderlayProtocol = 'ipip',
  ) {
    this.#native = native;
    this.#worker = worker;
    this.#protocol = protocol;
    this.#fd = fd;
    this.#sendFd = sendFd;
    // The kernel counts for the socket's life; what an earlier owner was told is not counted again.
    this.#overflowSeen = Math.max(0, native.rawOverflow(fd));
  }

  /** The receiving one, for `Native.poll` and `Native.watch`; -1 when closed. */
  get fd(): number {
    return this.#fd;
  }

  /** -1 when closed. */
  get sendFd(): number {
    return this.#sendFd;
  }

  setAddresses(source: Address, accepted: readonly Address[]): boolean {
    const { index, count } = this.#worker;
    attach(this.#native, this.#fd, shareProgram(index, count, accepted, this.#protocol) ?? ACCEPT_ALL);
    const bound = this.#native.rawBind(this.#sendFd, source);
    if (bound === 0) return true;
    if (bound !== NEGATED.EADDRNOTAVAIL) {
      throw new IoError('bind', errnoName(bound), formatAddress(source));
    }
    // The address that it was bound to may be gone too, and the kernel would look for a way from there.
    this.#native.rawBind(this.#sendFd, 0);
    return false;
  }

  /** Packets begin with the outer header. */
  receive(batch: Batch): number {
    this.calls[0]! += 1;
    return this.#native.rawReceive(
      this.#fd,
      batch.bytes,
      batch.at,
      batch.length,
      batch.layout,
      Math.min(batch.capacity, CALL_PACKETS_MAX),
    );
  }

  /**
   * The kernel writes the outer total length and checksum anew (raw(7)); DF, ID other than 0, TOS and addresses stay. A packet
   * larger than the device's MTU is refused with EMSGSIZE.
   */
  send(batch: Batch, from: number, to: number): number {
    const end = Math.min(to, from + CALL_PACKETS_MAX);
    this.calls[0]! += 1;
    const { bytes, at, length, pieces, address } = batch;
    return this.#native.rawSend(this.#sendFd, bytes, at, length, pieces, address, from, end);
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
    if (this.#sendFd !== this.#fd) this.#native.close(this.#sendFd);
    this.#fd = -1;
    this.#sendFd = -1;
  }
}
