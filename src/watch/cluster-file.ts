import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { messageOf } from '../base/errors.ts';
import type { Parsed } from '../config/document.ts';
import { parseClusterFile } from '../config/load.ts';
import { formatProblem } from '../config/problem.ts';
import type { ClusterConfig } from '../config/schema.ts';
import type { Claim } from '../table/claim.ts';
import { claimsOfClusters } from './cluster-claims.ts';
import { LARGE_FILE_BYTES, parseLargeClusterFile } from './large-file.ts';

/** One watched file: its last good claims, and what is wrong with it now. */
export class ClusterFile {
  /** The last that could be understood; undefined when nothing ever could. */
  claims: readonly Claim[] | undefined = undefined;
  /** With file, line and column; undefined while all is well. */
  trouble: string | undefined = undefined;
  readonly #name: string;
  readonly #path: string;
  readonly #bytesMax: number;
  #hash = '';

  constructor(name: string, path: string, bytesMax: number) {
    this.#name = name;
    this.#path = path;
    this.#bytesMax = bytesMax;
  }

  /** Reads the file again; true when the claims changed. Never rejects. */
  async look(): Promise<boolean> {
    let bytes: Uint8Array;
    try {
      bytes = await readBounded(this.#path, this.#bytesMax);
    } catch (thrown) {
      this.trouble = messageOf(thrown);
      // What is read next is news, also when it is what it was before.
      this.#hash = '';
      return false;
    }
    // By content, not by time stamp: two writes in one tick of the kernel's clock (4 ms) leave equal ones.
    const hash = createHash('sha256').update(bytes).digest('base64');
    if (hash === this.#hash) return false;
    this.#hash = hash;
    return this.#understand(bytes);
  }

  async #understand(bytes: Uint8Array): Promise<boolean> {
    let text: string;
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      this.trouble = `${this.#path}: expected UTF-8 text`;
      return false;
    }
    let parsed: Parsed<readonly ClusterConfig[]>;
    try {
      const isLarge = bytes.length > LARGE_FILE_BYTES;
      parsed = isLarge ? await parseLargeClusterFile(text, this.#path) : parseClusterFile(text, this.#path);
    } catch (thrown) {
      this.trouble = messageOf(thrown);
      return false;
    }
    if (parsed.problems !== undefined) {
      const [first] = parsed.problems;
      const more = parsed.problems.length - 1;
      const rest = more > 0 ? ` (and ${more} more problems)` : '';
      this.trouble = `${first === undefined ? this.#path : formatProblem(first)}${rest}`;
      return false;
    }
    this.trouble = undefined;
    this.claims = claimsOfClusters(parsed.value, `${this.#name}:`);
    return true;
  }
}

/** Reads a regular file of at most `bytesMax` bytes. A named pipe would block for ever, hence O_NONBLOCK and the look at what was opened. */
async function readBounded(path: string, bytesMax: number): Promise<Uint8Array> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const what = await file.stat();
    if (!what.isFile()) throw new Error(`${path}: expected a regular file`);
    if (what.size > bytesMax)
      throw new Error(`${path}: expected at most ${bytesMax} bytes, got ${what.size}`);
    const bytes = await file.readFile();
    if (bytes.length > bytesMax)
      throw new Error(`${path}: expected at most ${bytesMax} bytes, got ${bytes.length}`);
    return bytes;
  } finally {
    await file.close();
  }
}
