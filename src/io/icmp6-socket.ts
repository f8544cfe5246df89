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

/** An error quotes no more than makes it 1280 bytes long (RFC 4443 §2.4 (c)); longer ones are cut off. */
const BUFFER_BYTES = 1280;

/** All 256 types are blocked (RFC 3542 §3.2, where Linux has the bits the other way round): what comes back is the kernel's. */
const NO_TYPES = new Uint8Array(32).fill(0xff);

/** All but the errors: unreachable, packet too big, time exceeded, parameter problem. */
const ERRORS_ONLY = NO_TYPES.with(0, 0xff & ~0b1_1110);

/** Sends ICMPv6 errors to local hosts, as IcmpSocket does for IPv4, and on an IPv6 underlay hears its errors. Main thread only. */
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

  /** Calls `handler` for each ICMPv6 error that this host receives, from its type on. Once. */
  listen(handler: (message: Uint8Array, source: string) => void): void {
    this.#socket.setOption(SOCKET_LEVEL.ICMPV6, SOCKET_OPTION.ICMP6_FILTER, ERRORS_ONLY, ERRORS_ONLY.length);
    this.#socket.on('message', handler);
    this.#socket.wrap.pause(false, true);
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeRawSocket(this.#socket);
  }
}

function ignore(): void {}
