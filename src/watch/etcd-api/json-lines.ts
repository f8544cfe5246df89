import { EtcdError } from './error.ts';

const NEWLINE = 0x0a;

/** etcd refuses requests beyond 1.5 MiB and cuts what a watch tells into fragments of that size; base64 and JSON make it half as much again. */
export const LINE_BYTES_MAX = 16 * 1024 * 1024;

/** Cuts a stream of bytes into the JSON texts that stand in it one a line, wherever the chunks happen to end. */
export class JsonLines {
  #begun: Uint8Array[] = [];
  #begunBytes = 0;
  readonly #bytesMax: number;

  constructor(bytesMax = LINE_BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  /** The lines that end in this chunk, parsed; empty ones are left out. Throws EtcdError for what is no JSON or does not end. */
  push(chunk: Uint8Array): unknown[] {
    const values: unknown[] = [];
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, from);
      const part = chunk.subarray(from, end === -1 ? chunk.length : end);
      // Kept in pieces: joining at each chunk would copy a long line once for every chunk of it.
      if (part.length > 0) this.#begun.push(part);
      this.#begunBytes += part.length;
      if (this.#begunBytes > this.#bytesMax)
        throw new EtcdError(`etcd sent a line of more than ${this.#bytesMax} bytes`);
      if (end === -1) return values;
      const line = Buffer.concat(this.#begun, this.#begunBytes).toString('utf8').trim();
      this.#begun = [];
      this.#begunBytes = 0;
      if (line !== '') values.push(parseJson(line));
      from = end + 1;
    }
  }
}

/** Throws EtcdError with the beginning of what is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new EtcdError(`expected JSON from etcd, got ${JSON.stringify(text.slice(0, EXCERPT))}`, { cause });
  }
}

/** Enough to recognise the error page of a proxy. */
const EXCERPT = 120;
