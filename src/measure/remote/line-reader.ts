import type { Buffer } from 'node:buffer';
import { StringDecoder } from 'node:string_decoder';
import { ProtocolError } from './protocol.ts';

/** Cuts a stream into lines, none longer than a limit: what sends more without an end of line speaks something else. */
export class LineReader {
  readonly #decoder = new StringDecoder('utf8');
  readonly #bytesMax: number;
  #rest = '';

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** The lines that are complete now. Throws ProtocolError at one that is too long. */
  take(chunk: Buffer): string[] {
    const lines = (this.#rest + this.#decoder.write(chunk)).split('\n');
    this.#rest = lines.pop()!;
    // UTF-16 units are never more than bytes of UTF-8, so a line of that many bytes always passes.
    if ([this.#rest, ...lines].some((line) => line.length > this.#bytesMax)) {
      this.#rest = '';
      throw new ProtocolError(`a line of more than ${this.#bytesMax} bytes`);
    }
    return lines.filter((line) => line.trim() !== '');
  }
}
