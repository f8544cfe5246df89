import { type Address, formatAddress } from '../base/address.ts';
import { IoError, messageOf } from '../base/errors.ts';
import { PACKET_BYTES_MAX } from './batch.ts';
import { errnoName } from './errno.ts';
import {
  closeRawSocket,
  errnoOfText,
  openRawSocket,
  type RawSocket,
  SOCKET_LEVEL,
  SOCKET_OPTION,
} from './raw-socket-package.ts';

const PROTOCOL_ICMP = 1;

/** Received types: destination unreachable (3), time exceeded (11), parameter problem (12). Echo and the like are the kernel's. */
const TYPES_RECEIVED = (1 << 3) | (1 << 11) | (1 << 12);

/** Internetwork control, as RFC 1812 §4.3.2.5 wants it for errors, and as the kernel's own have it (icmp_send in net/ipv4/icmp.c). */
const PRECEDENCE_6 = 6 << 5;

/** Of an incoming packet: `packet` begins with its IP header and is only valid during the call. */
export type IcmpHandler = (packet: Uint8Array, source: string) => void;

/**
 * ICMP for the slow path, over the npm package raw-socket; main thread only. Errors that we send and errors that come back are few, so
 * an object and a system call for each is no matter.
 */
export class IcmpSocket {
  readonly #socket: RawSocket;
  #closed = false;

  /** Throws ISTHMUS_ERR_ADDON or ISTHMUS_ERR_PRIVILEGE. */
  static open(): IcmpSocket {
    return new IcmpSocket(openRawSocket(PROTOCOL_ICMP, PACKET_BYTES_MAX));
  }

  private constructor(socket: RawSocket) {
    this.#socket = socket;
    this.#socket.on('error', () => {});
    this.#socket.setOption(SOCKET_LEVEL.IP, SOCKET_OPTION.IP_TOS, PRECEDENCE_6);
    // ICMP_FILTER blocks the types whose bit is set (raw(7)).
    this.#socket.setOption(SOCKET_LEVEL.RAW, SOCKET_OPTION.ICMP_FILTER, ~TYPES_RECEIVED >>> 0);
  }

  /**
   * Sends an ICMP message (from its type on, checksum included). The kernel writes the IP header and chooses the source address by its
   * route to `destination`. Returns undefined, or the IoError that says why the kernel did not take it; never throws.
   */
  send(destination: Address, icmp: Uint8Array): IoError | undefined {
    const text = formatAddress(destination);
    if (this.#closed) return new IoError('sendto', 'EBADF', text);
    try {
      this.#socket.wrap.send(icmp, 0, icmp.length, text, ignore);
      return undefined;
    } catch (error) {
      const errno = errnoOfText(messageOf(error));
      return new IoError('sendto', errno === 0 ? 'EAGAIN' : errnoName(errno), text, messageOf(error));
    }
  }

  /** Calls `handler` for each ICMP error that this host receives. One handler; the last one counts. */
  onReceive(handler: IcmpHandler): void {
    this.#socket.removeAllListeners('message');
    this.#socket.on('message', handler);
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeRawSocket(this.#socket);
  }
}

function ignore(): void {}
