import { Buffer } from 'node:buffer';
import { loadNative } from '../../../../src/io/load.ts';
import type { Native } from '../../../../src/io/native.ts';
import { IP_HEADER_BYTES } from '../packet-builder.ts';

const ROOM_BYTES = 65_536;
const BATCH = 32;
const BUFFER_BYTES = 8 << 20;

/** A raw socket of one protocol: sends whole IPv4 packets, receives what is addressed to this machine. Owned by one user. */
export class RawPort {
  readonly #native: Native = loadNative();
  readonly #fd: number;
  readonly #in = Buffer.alloc(BATCH * ROOM_BYTES);
  readonly #out = Buffer.alloc(ROOM_BYTES);
  readonly #at = new Int32Array(BATCH);
  readonly #layout = Int32Array.of(0, ROOM_BYTES, ROOM_BYTES, 0, 0, 0);
  readonly #length = new Int32Array(BATCH);
  readonly #outAt = new Int32Array(1);
  readonly #outLength = new Int32Array(1);
  readonly #pieces = new Int32Array(1);
  readonly #address = new Uint32Array(1);

  constructor(protocol: number) {
    this.#fd = this.#native.rawOpen(protocol, BUFFER_BYTES, BUFFER_BYTES);
    if (this.#fd < 0) throw new Error(`raw socket of protocol ${protocol}: errno ${-this.#fd}`);
  }

  /** Sends a packet to the destination in its header. Returns 0, or the errno. */
  send(packet: Buffer): number {
    packet.copy(this.#out);
    this.#outLength[0] = packet.length;
    this.#address[0] = packet.readUInt32BE(16);
    const [at, length, pieces] = [this.#outAt, this.#outLength, this.#pieces];
    const sent = this.#native.rawSend(this.#fd, this.#out, at, length, pieces, this.#address, 0, 1);
    if (sent < 0) return -sent;
    // 0 taken: the send buffer is full.
    return sent === 1 ? 0 : 11;
  }

  /** Hands over every packet that waits; the bytes are valid only during the call. */
  drain(take: (packet: Buffer) => void): void {
    for (;;) {
      const count = this.#native.rawReceive(this.#fd, this.#in, this.#at, this.#length, this.#layout, BATCH);
      if (count <= 0) return;
      for (let i = 0; i < count; i++) {
        const at = this.#at[i]!;
        if (this.#length[i]! >= IP_HEADER_BYTES) take(this.#in.subarray(at, at + this.#length[i]!));
      }
    }
  }

  close(): void {
    this.#native.close(this.#fd);
  }
}
