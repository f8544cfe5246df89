const NEWLINE = 0x0a;

/** A line that is longer than its reader can have meant. */
export class LineTooLong extends Error {}

/**
 * Cuts a stream of bytes into lines, wherever its chunks begin and end. It looks for the newline before it decodes: in UTF-8 that byte is
 * never part of another character, so a chunk may end inside one.
 */
export class LineSplitter {
  readonly #bytesMax: number;
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** The lines that `chunk` completes, without their ends; empty ones are left out. Throws LineTooLong. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.#keep(chunk.subarray(start, end));
      const line = this.#take();
      if (line !== '') lines.push(line);
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
    return lines;
  }

  #keep(piece: Buffer): void {
    if (piece.length === 0) return;
    this.#pendingBytes += piece.length;
    if (this.#pendingBytes > this.#bytesMax)
      throw new LineTooLong(`a line has more than ${this.#bytesMax} bytes`);
    this.#pending.push(piece);
  }

  #take(): string {
    const line = this.#pending.length === 1 ? this.#pending[0]! : Buffer.concat(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    return line.toString('utf8').trim();
  }
}
