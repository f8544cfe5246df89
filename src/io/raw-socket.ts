import { type Address, formatAddress } from '../base/address.ts';
import { type Batch, PACKET_BYTES_MAX } from './batch.ts';
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

/** IP in IP, RFC 2003. */
const PROTOCOL_IPIP = 4;

/** Addresses whose text is remembered; a gateway has as many peers. */
const TEXTS_MAX = 4096;

export interface RawSocketIoOptions {
  /** Our underlay address: what is addressed to another one of this host is not taken. 0: every address. */
  readonly address: Address;
  readonly receiveBufferBytes?: number;
  readonly sendBufferBytes?: number;
  /** Received packets that wait to be fetched; the next ones are dropped and counted. */
  readonly slots?: number;
}

/**
 * The portable underlay: protocol 4 over the npm package raw-socket, headers included, on the main thread only. The package reads one
 * packet per turn of the event loop; it is copied into a ring of slots that `receive` empties.
 *
 *   slots:  | free | head ... waiting ... | free |     head = oldest, count = how many wait
 *
 * Sending does not use the package's queue (`Socket.send`). That queue moves one packet per turn of the loop, and only in turns in which
 * nothing can be read, so a steady stream of received packets stops it altogether. The call under it, `wrap.send`, is one sendto(2),
 * which is also what lets `send` tell what the kernel refused; nothing is ever in flight.
 */
export class RawSocketIo implements PacketIo, UnderlaySocket {
  readonly calls = new Float64Array(1);
  readonly #socket: RawSocket;
  #accepted: readonly Address[];
  readonly #slots: number;
  readonly #bytes: Uint8Array;
  readonly #length: Int32Array;
  readonly #gathered = new Uint8Array(PACKET_BYTES_MAX);
  readonly #texts = new Map<Address, string>();
  #head = 0;
  #count = 0;
  #dropped = 0;
  #refused = 0;
  #closed = false;
  #ready: () => void = () => {};

  /** Throws ISTHMUS_ERR_ADDON or ISTHMUS_ERR_PRIVILEGE. */
  static open(options: RawSocketIoOptions): RawSocketIo {
    return new RawSocketIo(openRawSocket(PROTOCOL_IPIP, PACKET_BYTES_MAX), options);
  }

  private constructor(socket: RawSocket, options: RawSocketIoOptions) {
    this.#accepted = options.address === 0 ? [] : [options.address];
    this.#slots = options.slots ?? 256;
    this.#bytes = new Uint8Array(this.#slots * PACKET_BYTES_MAX);
    this.#length = new Int32Array(this.#slots);
    this.#socket = socket;
    socket.on('message', (packet: Uint8Array) => this.#take(packet));
    // EAGAIN after a spurious wake-up comes this way. The package closes the socket itself on an error of its watcher, which needs an error
    // queued on the socket, and without IP_RECVERR the kernel queues none on a raw socket.
    socket.on('error', () => {});
    socket.setOption(SOCKET_LEVEL.IP, SOCKET_OPTION.IP_HDRINCL, 1);
    socket.setOption(SOCKET_LEVEL.IP, SOCKET_OPTION.IP_MTU_DISCOVER, PMTU_DISCOVER_PROBE);
    socket.setOption(SOCKET_LEVEL.SOCKET, SOCKET_OPTION.SO_RCVBUF, options.receiveBufferBytes ?? 8 << 20);
    socket.setOption(SOCKET_LEVEL.SOCKET, SOCKET_OPTION.SO_SNDBUF, options.sendBufferBytes ?? 4 << 20);
  }

  /** The package cannot bind(2): the kernel picks the way by the destination alone, whatever `source` is. */
  setAddresses(_source: Address, accepted: readonly Address[]): boolean {
    this.#accepted = accepted;
    return true;
  }

  /** Calls `ready` whenever packets have come in. One listener; the last one counts. */
  onReady(ready: () => void): void {
    this.#ready = ready;
  }

  receive(batch: Batch): number {
    if (this.#closed) return NEGATED.EBADF;
    let count = 0;
    while (count < batch.capacity && this.#count > 0) {
      const length = this.#length[this.#head] as number;
      const start = this.#head * PACKET_BYTES_MAX;
      const at = batch.roomFor(count, length);
      batch.bytes.set(this.#bytes.subarray(start, start + length), at);
      batch.at[count] = at;
      batch.length[count] = length;
      this.#head = (this.#head + 1) % this.#slots;
      this.#count--;
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

  /** Packets dropped because nobody fetched them in time. */
  get dropped(): number {
    return this.#dropped;
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

  #take(packet: Uint8Array): void {
    if (this.#closed || !this.#isForUs(packet)) return;
    if (this.#count === this.#slots) {
      this.#dropped++;
    } else {
      const slot = (this.#head + this.#count) % this.#slots;
      this.#bytes.set(packet, slot * PACKET_BYTES_MAX);
      this.#length[slot] = packet.length;
      this.#count++;
    }
    this.#ready();
  }

  /** The package cannot attach a filter, so this does what the filter of the batch socket does. */
  #isForUs(packet: Uint8Array): boolean {
    if (packet.length < 20) return false;
    if (this.#accepted.length === 0) return true;
    const [a, b, c, d] = [packet[16], packet[17], packet[18], packet[19]] as [number, number, number, number];
    return this.#accepted.includes(((a << 24) | (b << 16) | (c << 8) | d) >>> 0);
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

function ignore(): void {}
