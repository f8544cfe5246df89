import type { Prng } from '../../src/base/prng.ts';
import type { Batch } from '../../src/io/batch.ts';
import type { MemoryEnd } from '../../src/io/memory.ts';
import type { PacketIo } from '../../src/io/packet-io.ts';

/** One packet that an engine wanted to send. */
export interface Attempt {
  readonly bytes: Uint8Array;
  readonly address: number;
  /** 0: taken. Otherwise the errno with which it was refused. */
  readonly errno: number;
}

/** How often the kernel behind an end has no room, refuses a packet, or fails to read. Shares from 0 to 1. */
export interface Temper {
  full: number;
  refuse: number;
  unreadable: number;
}

export const CALM: Temper = { full: 0, refuse: 0, unreadable: 0 };

const EIO = 5;
export const EMSGSIZE = 90;
const ENOBUFS = 105;

/** A memory end that writes down what passes through it and misbehaves as kernels do: full queues, refused packets, failed reads. */
export class RecordingIo implements PacketIo {
  readonly calls = new Float64Array(1);
  readonly received: Uint8Array[] = [];
  readonly attempts: Attempt[] = [];
  receiveErrors = 0;
  temper: Temper = CALM;
  readonly #end: MemoryEnd;
  readonly #prng: Prng;

  constructor(end: MemoryEnd, prng: Prng) {
    this.#end = end;
    this.#prng = prng;
  }

  receive(batch: Batch): number {
    if (this.temper.unreadable > 0 && this.#prng.chance(this.temper.unreadable)) {
      this.receiveErrors += 1;
      return -EIO;
    }
    const count = this.#end.receive(batch);
    for (let i = 0; i < count; i++) {
      const at = batch.at[i] as number;
      this.received.push(batch.bytes.slice(at, at + (batch.length[i] as number)));
    }
    return count;
  }

  send(batch: Batch, from: number, to: number): number {
    for (let i = from; i < to; i++) {
      const bytes = new Uint8Array(batch.length[i] as number);
      batch.gather(i, batch.pairOf(i), bytes, 0);
      const address = batch.address[i] as number;
      if (this.temper.full > 0 && this.#prng.chance(this.temper.full)) return i - from;
      if (this.temper.refuse > 0 && this.#prng.chance(this.temper.refuse)) {
        // A refusal is only reported for the first packet of a call; one further on is met again by the next call.
        if (i > from) return i - from;
        const errno = this.#prng.pick([EMSGSIZE, ENOBUFS, EIO]);
        this.attempts.push({ bytes, address, errno });
        return -errno;
      }
      const taken = this.#end.send(batch, i, i + 1);
      if (taken !== 1)
        throw new Error(`the memory end answers ${taken} to a packet of ${bytes.length} bytes`);
      this.attempts.push({ bytes, address, errno: 0 });
    }
    return to - from;
  }

  close(): void {
    this.#end.close();
  }
}
