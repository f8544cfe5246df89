import type { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import { GatewayError, messageOf } from '../base/errors.ts';
import { NEGATED } from './errno.ts';
import { HOW_TO_GRANT } from './tun.ts';

/**
 * The npm package raw-socket 1.8, as far as we use it. It has no types of its own. It binds to the main thread's event loop and is not
 * context-aware: in a worker it opens and then never calls back.
 */
export interface RawSocket extends EventEmitter {
  /** The object around the descriptor; its calls are synchronous and throw an Error with strerror(3) text. */
  readonly wrap: Pick<EventEmitter, 'on' | 'removeAllListeners'> & {
    /** One recvfrom(2) into `bytes`, cut off at its end; calls `received` before it returns. */
    recv(bytes: Uint8Array, received: (bytes: Uint8Array, length: number, source: string) => void): void;
    /** Stops watching the socket for reading or writing. */
    pause(receive: boolean, send: boolean): void;
    /** Fills `value`; returns how many bytes. */
    getOption(level: number, option: number, value: Uint8Array, length: number): number;
    send(bytes: Uint8Array, at: number, length: number, address: string, sent: (bytes: number) => void): void;
  };
  setOption(level: number, option: number, value: number): void;
  setOption(level: number, option: number, value: Uint8Array, length: number): void;
  close(): void;
}

interface RawSocketPackage {
  createSocket(options: { protocol: number; bufferSize: number; addressFamily: number }): RawSocket;
}

/** Socket levels and options by number: the package names only some. linux/in.h, asm-generic/socket.h. */
export const SOCKET_LEVEL = { IP: 0, SOCKET: 1, ICMPV6: 58, RAW: 255 } as const;
export const SOCKET_OPTION = {
  IP_TOS: 1,
  IP_HDRINCL: 3,
  IP_MTU_DISCOVER: 10,
  SO_SNDBUF: 7,
  SO_RCVBUF: 8,
  SO_SNDBUFFORCE: 32,
  SO_RCVBUFFORCE: 33,
  SO_MEMINFO: 55,
  ICMP_FILTER: 1,
  ICMP6_FILTER: 1,
} as const;
export const PMTU_DISCOVER_PROBE = 3;

/**
 * Sockets that are open. The package's native object holds no reference to its JavaScript object, so a socket that nobody else refers
 * to is garbage-collected, and packets silently stop (measured: 988 received before a collection, 0 after).
 */
const OPEN = new Set<RawSocket>();

/** The numbers of the package, not the system's. */
export const ADDRESS_FAMILY = { IPV4: 1, IPV6: 2 } as const;

/** Opens a raw socket by the package. Throws ISTHMUS_ERR_ADDON when it is missing, ISTHMUS_ERR_PRIVILEGE without CAP_NET_RAW. */
export function openRawSocket(
  protocol: number,
  bufferBytes: number,
  addressFamily: number = ADDRESS_FAMILY.IPV4,
): RawSocket {
  const socket = createSocket(loadPackage(), protocol, bufferBytes, addressFamily);
  OPEN.add(socket);
  return socket;
}

/** Closes a socket; its last events are ignored. */
export function closeRawSocket(socket: RawSocket): void {
  if (!OPEN.delete(socket)) return;
  socket.removeAllListeners('message');
  socket.close();
}

/** Why the package cannot be used, in one line; undefined when it can. */
export function rawSocketLacks(): string | undefined {
  try {
    loadPackage();
    return undefined;
  } catch (error) {
    return messageOf(error).split('\n')[0];
  }
}

function loadPackage(): RawSocketPackage {
  if (!isMainThread) {
    throw new GatewayError('ISTHMUS_ERR_ADDON', 'the package raw-socket works on the main thread only');
  }
  try {
    return createRequire(import.meta.url)('raw-socket') as RawSocketPackage;
  } catch (cause) {
    // Node tells in the second line that the binary is for another of its versions.
    const why = messageOf(cause).split('\n').slice(0, 2).join(' ');
    throw new GatewayError(
      'ISTHMUS_ERR_ADDON',
      `the optional package raw-socket cannot be loaded (${why}); it is compiled by "npm rebuild raw-socket", which needs python3, make and g++`,
      { cause },
    );
  }
}

function createSocket(
  loaded: RawSocketPackage,
  protocol: number,
  bufferBytes: number,
  addressFamily: number,
): RawSocket {
  try {
    return loaded.createSocket({ protocol, bufferSize: bufferBytes, addressFamily });
  } catch (cause) {
    const why = messageOf(cause);
    if (why === 'Operation not permitted' || why === 'Permission denied') {
      throw new GatewayError(
        'ISTHMUS_ERR_PRIVILEGE',
        `a raw socket of protocol ${protocol} cannot be opened: CAP_NET_RAW is missing. ${HOW_TO_GRANT} (CAP_NET_RAW)`,
        { cause },
      );
    }
    throw new GatewayError(
      'ISTHMUS_ERR_IO',
      `a raw socket of protocol ${protocol} cannot be opened: ${why}`,
      { cause },
    );
  }
}

/** The package reports a failed call by strerror(3) text only. Node never sets a locale, so glibc's and musl's texts are the English ones. */
const BY_TEXT: ReadonlyMap<string, number> = new Map([
  ['Resource temporarily unavailable', 0],
  ['No buffer space available', 0],
  ['Operation not permitted', NEGATED.EPERM],
  ['Permission denied', NEGATED.EACCES],
  ['Invalid argument', NEGATED.EINVAL],
  ['Message too long', NEGATED.EMSGSIZE],
  ['Message too large', NEGATED.EMSGSIZE],
  ['Network is unreachable', NEGATED.ENETUNREACH],
  ['Network unreachable', NEGATED.ENETUNREACH],
  ['No route to host', NEGATED.EHOSTUNREACH],
  ['Host is unreachable', NEGATED.EHOSTUNREACH],
  ['Network is down', NEGATED.ENETDOWN],
]);

/** 0 where the kernel is only full, else the negated errno; EIO for a text that is not known. */
export function errnoOfText(text: string): number {
  return BY_TEXT.get(text) ?? NEGATED.EIO;
}
