import { assert } from '../base/assert.ts';
import { VNET } from '../packet/vnet.ts';
import { type Batch, PACKET_BYTES_MAX } from './batch.ts';
import { NEGATED } from './errno.ts';
import type { PacketIo } from './packet-io.ts';

/**
 * What a link does to a packet on its way: calls `deliver` never (loss), once, or several times (duplication), now or later
 * (reordering), with these bytes or changed ones (corruption). `bytes` is only valid during the call; who delivers later copies.
 * The simulator brings its own; without one, each packet is delivered at once as it is.
 */
export interface LinkFault {
  pass(packet: Uint8Array, address: number, deliver: (packet: Uint8Array, address: number) => void): void;
}

export interface MemoryLinkOptions {
  /** Packets that may wait in each direction; what comes then is dropped, as a device's full queue does. */
  readonly capacity?: number;
  /** Largest packet that is taken; larger ones are refused with EMSGSIZE, as a device's MTU does. */
  readonly mtuBytes?: number;
  readonly fault?: LinkFault;
}

/**
 * Two ends joined in memory: what one sends, the other receives, in order. Deterministic, no clock, no thread. Either end may stand for
 * a TUN device (its far side is the host's stack) or an underlay socket (its far side is the network).
 */
export class MemoryLink {
  readonly left: MemoryEnd;
  readonly right: MemoryEnd;

  constructor(options: MemoryLinkOptions = {}) {
    const { capacity = 256, mtuBytes = PACKET_BYTES_MAX, fault } = options;
    assert(mtuBytes >= 1 && mtuBytes <= PACKET_BYTES_MAX, `1 <= mtuBytes <= ${PACKET_BYTES_MAX}`);
    const toRight = new PacketQueue(capacity, mtuBytes);
    const toLeft = new PacketQueue(capacity, mtuBytes);
    this.left = new MemoryEnd(toLeft, toRight, mtuBytes, fault);
    this.right = new MemoryEnd(toRight, toLeft, mtuBytes, fault);
  }
}

export class MemoryEnd implements PacketIo {
  readonly calls = new Float64Array(1);
  readonly #incoming: PacketQueue;
  readonly #outgoing: PacketQueue;
  readonly #mtuBytes: number;
  readonly #fault: LinkFault | undefined;
  readonly #deliver: (packet: Uint8Array, address: number) => void;
  #closed = false;

  constructor(incoming: PacketQueue, outgoing: PacketQueue, mtuBytes: number, fault: LinkFault | undefined) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#mtuBytes = mtuBytes;
    this.#fault = fault;
    this.#deliver = (packet, address) => outgoing.push(packet, 0, packet.length, address);
  }

  /** Also writes `address[i]`: what the sender gave as the outer destination; and, as a device does, a vnet header. */
  receive(batch: Batch): number {
    if (this.#closed) return NEGATED.EBADF;
    let count = 0;
    while (count < batch.capacity && this.#incoming.count > 0) {
      const at = batch.roomFor(count, this.#incoming.headLength());
      batch.bytes.set(this.#incoming.headVnet(), at - VNET.BYTES);
      batch.at[count] = at;
      batch.address[count] = this.#incoming.headAddress();
      batch.length[count] = this.#incoming.shiftInto(batch.bytes, at);
      count++;
    }
    return count;
  }

  /** Takes everything: a full queue drops, as the wire does, and counts in `dropped` of the other end. */
  send(batch: Batch, from: number, to: number): number {
    if (this.#closed) return NEGATED.EBADF;
    let pair = batch.pairOf(from);
    for (let i = from; i < to; i++) {
      const length = batch.length[i] as number;
      const address = batch.address[i] as number;
      if (length > this.#mtuBytes) return i > from ? i - from : NEGATED.EMSGSIZE;
      let bytes = batch.bytes;
      let at = batch.at[i] as number;
      if (batch.pieces[i] !== 0) {
        bytes = new Uint8Array(length);
        at = 0;
        batch.gather(i, pair, bytes, 0);
        pair += 2 * (batch.pieces[i] as number);
      }
      if (this.#fault === undefined) this.#outgoing.push(bytes, at, length, address);
      else this.#fault.pass(bytes.subarray(at, at + length), address, this.#deliver);
    }
    return to - from;
  }

  /**
   * One packet in, past the link's fault: how a test plays the host or the network. False when the queue is full. A host may leave work
   * undone, as its `vnet` header says; without, the packet is whole.
   */
  write(packet: Uint8Array, address = 0, vnet: Uint8Array = NOTHING_LEFT): boolean {
    assert(packet.length <= this.#mtuBytes, 'a written packet fits the link');
    assert(vnet.length === VNET.BYTES, 'a vnet header has its length');
    return this.#outgoing.push(packet, 0, packet.length, address, vnet);
  }

  /** One packet out, in memory of its own; undefined when none waits. */
  read(): Uint8Array | undefined {
    if (this.#incoming.count === 0) return undefined;
    const packet = new Uint8Array(this.#incoming.headLength());
    this.#incoming.shiftInto(packet, 0);
    return packet;
  }

  /** Packets that wait for this end. */
  get waiting(): number {
    return this.#incoming.count;
  }

  /** Packets on their way to this end that its full queue dropped. */
  get dropped(): number {
    return this.#incoming.dropped;
  }

  close(): void {
    this.#closed = true;
  }
}

/** The vnet header of a packet that is whole as it is. */
const NOTHING_LEFT = new Uint8Array(VNET.BYTES);

/** A ring of slots: `head` is the oldest packet, `count` how many wait. Pages of slots that no large packet reached are never touched. */
class PacketQueue {
  readonly #bytes: Uint8Array;
  readonly #length: Int32Array;
  readonly #address: Uint32Array;
  readonly #vnet: Uint8Array;
  readonly #slotBytes: number;
  readonly #capacity: number;
  #head = 0;
  count = 0;
  dropped = 0;

  constructor(capacity: number, slotBytes: number) {
    assert(Number.isInteger(capacity) && capacity >= 1 && capacity <= 1 << 14, '1 <= capacity <= 16384');
    this.#capacity = capacity;
    this.#slotBytes = slotBytes;
    this.#bytes = new Uint8Array(capacity * slotBytes);
    this.#length = new Int32Array(capacity);
    this.#address = new Uint32Array(capacity);
    this.#vnet = new Uint8Array(capacity * VNET.BYTES);
  }

  push(
    bytes: Uint8Array,
    at: number,
    length: number,
    address: number,
    vnet: Uint8Array = NOTHING_LEFT,
  ): boolean {
    if (this.count === this.#capacity || length > this.#slotBytes) {
      this.dropped++;
      return false;
    }
    const slot = (this.#head + this.count) % this.#capacity;
    this.#bytes.set(bytes.subarray(at, at + length), slot * this.#slotBytes);
    this.#length[slot] = length;
    this.#address[slot] = address;
    this.#vnet.set(vnet, slot * VNET.BYTES);
    this.count++;
    return true;
  }

  headLength(): number {
    return this.#length[this.#head] as number;
  }

  headVnet(): Uint8Array {
    return this.#vnet.subarray(this.#head * VNET.BYTES, (this.#head + 1) * VNET.BYTES);
  }

  headAddress(): number {
    return this.#address[this.#head] as number;
  }

  shiftInto(bytes: Uint8Array, at: number): number {
    assert(this.count > 0, 'a packet waits');
    const length = this.headLength();
    const start = this.#head * this.#slotBytes;
    bytes.set(this.#bytes.subarray(start, start + length), at);
    this.#head = (this.#head + 1) % this.#capacity;
    this.count--;
    return length;
  }
}
