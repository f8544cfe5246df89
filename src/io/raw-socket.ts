import { type Address, formatAddress, type IpAddress } from '../base/address.ts';
import { readU16, readU32 } from '../packet/bytes.ts';
import { FOU } from '../packet/fou.ts';
import { headerBytes } from '../packet/ipv4.ts';
import { type Batch, LAYOUT, PACKET_BYTES_MAX } from './batch.ts';
import { NEGATED } from './errno.ts';
import type { PacketIo, UnderlaySocket } from './packet-io.ts';
import {
  closeRawSocket,
  errnoOfText,
  openRawSocket,
  PMTU_DISCOVER_PROBE,
  type RawSocket,
  SOCKET_LEVEL,
  SOCKET_OPTION,
} from './raw-socket-package.ts';
import { protocolNumber, type UnderlayProtocol } from './underlay-protocol.ts';

/** Offset of the destination in an IPv4 header. */
const DESTINATION = 16;

/** What the package would receive into, and is never used. */
const PACKAGE_BUFFER_BYTES = 64;

/** Addresses whose text is remembered; a gateway has as many peers. */
const TEXTS_MAX = 4096;

export interface RawSocketIoOptions {
  /** Our underlay address: what is addressed to another one of this host is not taken. 0: every address. */
  readonly address: Address;
  readonly protocol?: UnderlayProtocol;
  readonly receiveBufferBytes?: number;
  readonly sendBufferBytes?: number;
}

/** The package wants an object for the memory of each slot; they are made once for a batch. */
interface Rooms {
  readonly batch: Batch;
  readonly views: readonly Uint8Array[];
}

/** Index of SK_MEMINFO_DROPS, and how many u32 SO_MEMINFO gives (linux/sock_diag.h). */
const MEMINFO_DROPS = 8;
const MEMINFO_CELLS = 9;

/**
 * The portable underlay: protocol 4 or UDP over the npm package raw-socket, headers included, on the main thread only.
 *
 * Neither of the package's own ways to move packets is used. Its 'message' event brings one packet per turn of the event loop, in a
 * buffer of its own; its queue (`Socket.send`) moves one per turn, and only in turns in which nothing can be read, so a steady stream of
 * received packets stops it altogether. The calls under them, `wrap.recv` and `wrap.send`, are one recvfrom(2) and one sendto(2) each:
 * called in a row they empty the socket's queue into the slots of a batch and tell at once what the kernel refused. Nothing is in flight,
 * and what is not fetched waits in the kernel, which counts what it has to drop.
 */
export class RawSocketIo implements PacketIo, UnderlaySocket {
  readonly calls = new Float64Array(1);
  readonly #socket: RawSocket;
  /** 0: all packets of the protocol are taken. */
  readonly #udpPort: number;
  #accepted: readonly Address[];
  /** A sent packet whose pieces lie apart, put together. */
  readonly #gathered = new Uint8Array(PACKET_BYTES_MAX);
  readonly #texts = new Map<Address, string>();
  readonly #memory = new Uint32Array(MEMINFO_CELLS);
  #rooms: Rooms | undefined;
  #receivedBytes = 0;
  readonly #received = (_bytes: Uint8Array, length: number): void => {
    this.#receivedBytes = length;
  };
  /** The kernel said that packets wait, and has not said since that none do. */
  #isReadable = false;
  /** Its saying so again would only take turns of the event loop. */
  #isPaused = false;
  #refused = 0;
  #closed = false;
  #ready: () => void = () => {};

  /** Throws ISTHMUS_ERR_ADDON or ISTHMUS_ERR_PRIVILEGE. */
  static open(options: RawSocketIoOptions): RawSocketIo {
    return new RawSocketIo(
      openRawSocket(protocolNumber(options.protocol ?? 'ipip'), PACKAGE_BUFFER_BYTES),
      options,
    );
  }

  private constructor(socket: RawSocket, options: RawSocketIoOptions) {
    this.#accepted = options.address === 0 ? [] : [options.address];
    const { protocol = 'ipip' } = options;
    this.#udpPort = typeof protocol === 'string' ? 0 : protocol.udpPort;
    this.#socket = socket;
    socket.wrap.removeAllListeners('recvReady');
    socket.wrap.on('recvReady', () => this.#wake());
    // The package closes the socket itself on an error of its watcher, which needs an error queued on the socket, and without IP_RECVERR
    // the kernel queues none on a raw socket.
    socket.on('error', () => {});
    socket.setOption(SOCKET_LEVEL.IP, SOCKET_OPTION.IP_HDRINCL, 1);
    socket.setOption(SOCKET_LEVEL.IP, SOCKET_OPTION.IP_MTU_DISCOVER, PMTU_DISCOVER_PROBE);
    const { SO_RCVBUF, SO_RCVBUFFORCE, SO_SNDBUF, SO_SNDBUFFORCE } = SOCKET_OPTION;
    setBuffer(socket, SO_RCVBUFFORCE, SO_RCVBUF, options.receiveBufferBytes ?? 8 << 20);
    setBuffer(socket, SO_SNDBUFFORCE, SO_SNDBUF, options.sendBufferBytes ?? 4 << 20);
  }

  /** The package cannot bind(2): the kernel picks the way by the destination alone, whatever `source` is. */
  setAddresses(_source: IpAddress, accepted: readonly IpAddress[]): boolean {
    this.#accepted = accepted.filter((address) => typeof address === 'number');
    return true;
  }

  /** Calls `ready` whenever packets have come in. One listener; the last one counts. */
  onReady(ready: () => void): void {
    this.#ready = ready;
  }

  /**
   * Every packet goes to its large slot: recvfrom(2) takes one piece of memory, and how long the packet is shows only afterwards.
   * The package allocates for each (the sender's address as text), and throws when nothing is left; both are its price.
   */
  receive(batch: Batch): number {
    if (this.#closed) return NEGATED.EBADF;
    if (!this.#isReadable) return 0;
    const views = this.#viewsOf(batch);
    let count = 0;
    // Packets that are not ours count too: a flood of them must not hold the event loop.
    for (let looks = 0; looks < batch.capacity; looks++) {
      this.calls[0]! += 1;
      try {
        this.#socket.wrap.recv(views[count]!, this.#received);
      } catch (error) {
        this.#isReadable = false;
        if (this.#isPaused) this.#watch(true);
        // An error behind packets that came in waits for the next call, which meets it first.
        return count > 0 ? count : errnoOfText((error as Error).message);
      }
      const at = batch.layout[LAYOUT.LARGE_AT]! + count * batch.layout[LAYOUT.LARGE_STRIDE]!;
      if (!this.#isForUs(batch.bytes, at, this.#receivedBytes)) continue;
      batch.at[count] = at;
      batch.length[count] = this.#receivedBytes;
      count++;
    }
    return count;
  }

  send(batch: Batch, from: number, to: number): number {
    if (this.#closed) return NEGATED.EBADF;
    let pair = batch.pairOf(from);
    for (let i = from; i < to; i++) {
      const address = this.#text(batch.address[i] as number);
      const length = batch.length[i] as number;
      const pieces = batch.pieces[i] as number;
      // The package's call takes one piece of memory.
      if (pieces > 0) batch.gather(i, pair, this.#gathered, 0);
      pair += 2 * pieces;
      this.calls[0]! += 1;
      try {
        if (pieces > 0) this.#socket.wrap.send(this.#gathered, 0, length, address, ignore);
        else this.#socket.wrap.send(batch.bytes, batch.at[i] as number, length, address, ignore);
      } catch (error) {
        if (i > from) return i - from;
        const result = errnoOfText((error as Error).message);
        if (result < 0) this.#refused++;
        return result;
      }
    }
    return to - from;
  }

  /** Packets that the kernel dropped because the receive buffer was full, since the socket was opened. A system call. */
  get dropped(): number {
    if (this.#closed) return 0;
    const bytes = new Uint8Array(this.#memory.buffer);
    this.#socket.wrap.getOption(SOCKET_LEVEL.SOCKET, SOCKET_OPTION.SO_MEMINFO, bytes, bytes.length);
    return this.#memory[MEMINFO_DROPS]!;
  }

  /** Packets that the kernel refused to send for other reasons than being full. */
  get refused(): number {
    return this.#refused;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeRawSocket(this.#socket);
  }

  /** Whoever is woken takes what waits; if he leaves some, he comes back for it, and need not be told of it in each turn of the event loop. */
  #wake(): void {
    if (this.#closed) return;
    this.#isReadable = true;
    this.#ready();
    if (this.#isReadable && !this.#isPaused && !this.#closed) this.#watch(false);
  }

  #watch(on: boolean): void {
    this.#isPaused = !on;
    this.#socket.wrap.pause(!on, true);
  }

  #viewsOf(batch: Batch): readonly Uint8Array[] {
    if (this.#rooms?.batch !== batch) {
      const { bytes, layout, capacity } = batch;
      const first = layout[LAYOUT.LARGE_AT]!;
      const views = Array.from({ length: capacity }, (_, slot) => {
        const at = first + slot * layout[LAYOUT.LARGE_STRIDE]!;
        return bytes.subarray(at, at + layout[LAYOUT.LARGE_BYTES]!);
      });
      this.#rooms = { batch, views };
    }
    return this.#rooms.views;
  }

  /** The package cannot attach a filter, so this does what the filter of the batch socket does. */
  #isForUs(bytes: Uint8Array, at: number, length: number): boolean {
    if (length < 20) return false;
    // What is cut off here is not addressed to the port.
    if (
      this.#udpPort !== 0 &&
      readU16(bytes, at + headerBytes(bytes, at) + FOU.DESTINATION_PORT) !== this.#udpPort
    )
      return false;
    if (this.#accepted.length === 0) return true;
    return this.#accepted.includes(readU32(bytes, at + DESTINATION));
  }

  #text(address: Address): string {
    let text = this.#texts.get(address);
    if (text === undefined) {
      if (this.#texts.size >= TEXTS_MAX) this.#texts.clear();
      text = formatAddress(address);
      this.#texts.set(address, text);
    }
    return text;
  }
}

/** What CAP_NET_ADMIN allows beyond net.core.rmem_max and wmem_max, else what they allow. */
function setBuffer(socket: RawSocket, force: number, plain: number, bytes: number): void {
  try {
    socket.setOption(SOCKET_LEVEL.SOCKET, force, bytes);
  } catch {
    socket.setOption(SOCKET_LEVEL.SOCKET, plain, bytes);
  }
}

function ignore(): void {}
