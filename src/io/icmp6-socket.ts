import { type Address6, formatAddress6 } from '../base/address6.ts';
import { IoError, messageOf } from '../base/errors.ts';
import { errnoName } from './errno.ts';
import {
  ADDRESS_FAMILY,
  closeRawSocket,
  errnoOfText,
  openRawSocket,
  type RawSocket,
  SOCKET_LEVEL,
  SOCKET_OPTION,
} from './raw-socket-package.ts';

const PROTOCOL_ICMPV6 = 58;

/** Nothing is received, but the package wants a buffer. */
const BUFFER_BYTES = 64;

/** All 256 types are blocked (RFC 3542 §3.2, where Linux has the bits the other way round): what comes back is the kernel's. */
const NO_TYPES = new Uint8Array(32).fill(0xff);

/** Sends ICMPv6 errors to local hosts, as IcmpSocket does for IPv4. Main thread only. */
export class Icmp6Socket {
  readonly #socket: RawSocket;
  #closed = false;

  /** Throws ISTHMUS_ERR_ADDON, ISTHMUS_ERR_PRIVILEGE, or ISTHMUS_ERR_IO where the kernel has no IPv6. */
  static open(): Icmp6Socket {
    return new Icmp6Socket(openRawSocket(PROTOCOL_ICMPV6, BUFFER_BYTES, ADDRESS_FAMILY.IPV6));
  }

  private constructor(socket: RawSocket) {
    this.#socket = socket;
    socket.on('error', () => {});
    socket.setOption(SOCKET_LEVEL.ICMPV6, SOCKET_OPTION.ICMP6_FILTER, NO_TYPES, NO_TYPES.length);
    socket.wrap.pause(true, true);
  }

  /**
   * Sends a message, from its type on; the kernel chooses the source address by its route to `destination` and writes the checksum, which
   * covers both. Returns undefined, or why the kernel did not take it; never throws.
   */
  send(destination: Address6, message: Uint8Array): IoError | undefined {
    const text = formatAddress6(destination);
    if (this.#closed) return new IoError('sendto', 'EBADF', text);
    try {
      this.#socket.wrap.send(message, 0, message.length, text, ignore);
      return undefined;
    } catch (error) {
      const errno = errnoOfText(messageOf(error));
      return new IoError('sendto', errno === 0 ? 'EAGAIN' : errnoName(errno), text, messageOf(error));
    }
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeRawSocket(this.#socket);
  }
}

function ignore(): void {}
