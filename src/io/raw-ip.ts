import { formatAddress, type IpAddress } from '../base/address.ts';
import { wordsOf } from '../base/address6.ts';
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
  /** Our underlay address: what is addressed to another one of this host is not received, see `setAddresses`. 0: every one. Its family is that of the sockets. */
  readonly address: IpAddress;
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
  const family = typeof address === 'bigint' ? 6 : 4;
  const open = (of: number, receiveBytes: number, sendBytes: number): number =>
    family === 6 ? native.rawOpen6(of, receiveBytes, sendBytes) : native.rawOpen(of, receiveBytes, sendBytes);
  const fd = open(number, options.receiveBufferBytes ?? 8 << 20, 0);
  if (fd < 0) throw rawOpenError(fd, number, family);
  const sendFd = open(PROTOCOL_NONE, 0, options.sendBufferBytes ?? 4 << 20);
  if (sendFd < 0) {
    native.close(fd);
    throw rawOpenError(sendFd, PROTOCOL_NONE, family);
  }
  const socket = new RawIp(native, { fd, sendFd, worker, protocol, family });
  try {
    dropEarly(native, fd);
    socket.setAddresses(address, isNone(address) ? [] : [address]);
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

function isNone(address: IpAddress): boolean {
  return address === 0 || address === 0n;
}

function rawOpenError(result: number, protocol: number, family: 4 | 6): GatewayError {
  const errno = errnoName(result);
  if (errno === 'EPERM' || errno === 'EACCES') {
    return new GatewayError(
      'ISTHMUS_ERR_PRIVILEGE',
      `the underlay's raw socket cannot be opened (${errno}): CAP_NET_RAW is missing. ${HOW_TO_GRANT} (CAP_NET_RAW)`,
    );
  }
  return new IoError('socket', errno, `raw IPv${family}, protocol ${protocol}`);
}

/** What a RawIp is made of; the descriptors may be such as another thread of the process opened. */
export interface RawIpSockets {
  readonly fd: number;
  readonly sendFd?: number;
  readonly worker?: Place;
  readonly protocol?: UnderlayProtocol;
  readonly family?: 4 | 6;
}

/**
 * The batch socket: protocol 4, 41 or UDP, headers included, many packets a system call. It has two descriptors, because a bound raw socket takes
 * packets to one address only: the receiving one is not bound, its filter holds all of our addresses; the sending one is bound to the
 * present address, so that the kernel looks routes up by it, and receives nothing.
 */
export class RawIp implements PacketIo, UnderlaySocket {
  readonly calls = new Float64Array(1);
  readonly #native: Native;
  readonly #worker: Place;
  readonly #protocol: UnderlayProtocol;
  readonly #protocolNumber: number;
  readonly #family: 4 | 6;
  #fd: number;
  #sendFd: number;
  #overflowSeen: number;

  /** Takes the descriptors over. */
  constructor(native: Native, sockets: RawIpSockets) {
    const { fd, sendFd = fd, worker = ALONE, protocol = 'ipip', family = 4 } = sockets;
    this.#native = native;
    this.#worker = worker;
    this.#protocol = protocol;
    this.#protocolNumber = protocolNumber(protocol);
    this.#family = family;
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

  setAddresses(source: IpAddress, accepted: readonly IpAddress[]): boolean {
    const { index, count } = this.#worker;
    const share = { index, count, own: accepted, protocol: this.#protocol, family: this.#family };
    attach(this.#native, this.#fd, shareProgram(share) ?? ACCEPT_ALL);
    const bound = this.#bind(source);
    if (bound === 0) return true;
    if (bound !== NEGATED.EADDRNOTAVAIL) {
      throw new IoError('bind', errnoName(bound), formatAddress(source));
    }
    // The address that it was bound to may be gone too, and the kernel would look for a way from there.
    this.#bind(this.#family === 4 ? 0 : 0n);
    return false;
  }

  #bind(address: IpAddress): number {
    return typeof address === 'number'
      ? this.#native.rawBind(this.#sendFd, address)
      : this.#native.rawBind6(this.#sendFd, Uint32Array.from(wordsOf(address)));
  }

  /** Packets begin with the outer header; one of IPv6 has no extension headers. */
  receive(batch: Batch): number {
    this.calls[0]! += 1;
    const { bytes, at, length, layout } = batch;
    const capacity = Math.min(batch.capacity, CALL_PACKETS_MAX);
    return this.#family === 4
      ? this.#native.rawReceive(this.#fd, bytes, at, length, layout, capacity)
      : this.#native.rawReceive6(this.#fd, bytes, at, length, layout, capacity, this.#protocolNumber);
  }

  /**
   * The kernel writes an outer IPv4 total length and checksum anew (raw(7)); DF, ID other than 0, TOS and addresses stay. A packet
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
