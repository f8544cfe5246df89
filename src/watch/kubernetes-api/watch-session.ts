import type { IncomingMessage } from 'node:http';
import type { Clock, Timer } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { KubernetesApi } from './client.ts';
import { LineSplitter, LineTooLong } from './line-splitter.ts';
import { fieldOf } from './resource.ts';

/** Why a watch is over. */
export type WatchEnd =
  /** The server closed it cleanly, as it does after timeoutSeconds. */
  | { readonly kind: 'closed' }
  | { readonly kind: 'reset'; readonly detail: string }
  /** Nobody spoke for longer than a living server stays silent. */
  | { readonly kind: 'silent'; readonly detail: string }
  /** The server has forgotten what came after our resourceVersion. */
  | { readonly kind: 'expired' }
  /** The server said that it cannot go on. */
  | { readonly kind: 'failed'; readonly detail: string }
  /** Something was said that cannot be read, so our view may be wrong. */
  | { readonly kind: 'malformed'; readonly detail: string };

export interface WatchReader {
  opened(): void;
  changed(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: unknown): void;
  /** `initialEnd`: all objects of a watch-list have been told. */
  bookmark(version: string | undefined, initialEnd: boolean): void;
  /** An event of a type that does not exist. */
  odd(reason: string): void;
  /** How long the server may be silent from now on, in milliseconds; asked again after each word. 0: it has talked enough. */
  silenceMaxMs(): number;
}

export interface WatchSessionOptions {
  readonly api: KubernetesApi;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly lineBytesMax: number;
}

class Silent extends Error {}

/** Runs one watch to its end. Throws ApiError when the server does not begin it, and whatever `reader` throws. */
export async function runWatch(
  { api, path, query, clock, lineBytesMax }: WatchSessionOptions,
  reader: WatchReader,
  signal: AbortSignal,
): Promise<WatchEnd> {
  const response = await api.open(path, { query, signal, verb: 'watch' });
  const watchdog = new Watchdog(response, reader, clock);
  const splitter = new LineSplitter(lineBytesMax);
  const chunks = (response as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  try {
    reader.opened();
    for (;;) {
      const next = await nextChunk(chunks);
      if (!('chunk' in next)) return next;
      const end = readLines(splitter, next.chunk, reader) ?? watchdog.heard();
      if (end !== undefined) return end;
    }
  } finally {
    watchdog.stop();
    response.destroy();
  }
}

/** What the connection brings: bytes, or its end. Only errors of the connection are caught here, never those of the reader. */
async function nextChunk(chunks: AsyncIterator<Buffer>): Promise<{ readonly chunk: Buffer } | WatchEnd> {
  try {
    const next = await chunks.next();
    return next.done ? { kind: 'closed' } : { chunk: next.value };
  } catch (thrown) {
    const detail = messageOf(thrown);
    return { kind: thrown instanceof Silent ? 'silent' : 'reset', detail };
  }
}

function readLines(splitter: LineSplitter, chunk: Buffer, reader: WatchReader): WatchEnd | undefined {
  let lines: string[];
  try {
    lines = splitter.push(chunk);
  } catch (thrown) {
    if (!(thrown instanceof LineTooLong)) throw thrown;
    return { kind: 'malformed', detail: thrown.message };
  }
  for (const line of lines) {
    const end = readLine(line, reader);
    if (end !== undefined) return end;
  }
  return undefined;
}

const LINE_SHOWN_CHARACTERS = 80;

function readLine(line: string, reader: WatchReader): WatchEnd | undefined {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    return { kind: 'malformed', detail: `a watch event is no JSON: ${line.slice(0, LINE_SHOWN_CHARACTERS)}` };
  }
  const type = fieldOf(event, 'type');
  const object = fieldOf(event, 'object');
  if (type === 'ADDED' || type === 'MODIFIED' || type === 'DELETED') reader.changed(type, object);
  else if (type === 'BOOKMARK') readBookmark(object, reader);
  else if (type === 'ERROR') return readError(object);
  else reader.odd(`a watch event has the type ${JSON.stringify(type)}`);
  return undefined;
}

function readBookmark(object: unknown, reader: WatchReader): void {
  const metadata = fieldOf(object, 'metadata');
  const version = fieldOf(metadata, 'resourceVersion');
  const initialEnd = fieldOf(fieldOf(metadata, 'annotations'), 'k8s.io/initial-events-end') === 'true';
  reader.bookmark(typeof version === 'string' && version !== '' ? version : undefined, initialEnd);
}

function readError(status: unknown): WatchEnd {
  const code = fieldOf(status, 'code');
  const reason = fieldOf(status, 'reason');
  if (code === 410 || reason === 'Expired' || reason === 'Gone') return { kind: 'expired' };
  const words = [code, reason, fieldOf(status, 'message')].filter(
    (word) => word !== undefined && word !== '',
  );
  return { kind: 'failed', detail: `the server ended the watch: ${words.join(' ')}` };
}

/** Ends a response whose server has been silent for too long. One timer that looks when the time would be up, not one for each word. */
class Watchdog {
  readonly #response: IncomingMessage;
  readonly #reader: WatchReader;
  readonly #clock: Clock;
  #heardMs: number;
  #silenceMaxMs: number;
  #timer: Timer;

  constructor(response: IncomingMessage, reader: WatchReader, clock: Clock) {
    this.#response = response;
    this.#reader = reader;
    this.#clock = clock;
    this.#heardMs = clock.nowMs();
    this.#silenceMaxMs = reader.silenceMaxMs();
    this.#timer = this.#arm(this.#silenceMaxMs);
  }

  /** Notes a word. Returns the end of the watch when no more is wanted. */
  heard(): WatchEnd | undefined {
    this.#heardMs = this.#clock.nowMs();
    const silenceMaxMs = this.#reader.silenceMaxMs();
    if (silenceMaxMs <= 0)
      return { kind: 'silent', detail: 'the server did not come to the end of what there is' };
    if (silenceMaxMs < this.#silenceMaxMs) {
      this.#timer.cancel();
      this.#timer = this.#arm(silenceMaxMs);
    }
    this.#silenceMaxMs = silenceMaxMs;
    return undefined;
  }

  stop(): void {
    this.#timer.cancel();
  }

  #arm(delayMs: number): Timer {
    return this.#clock.after(delayMs, () => {
      const leftMs = this.#heardMs + this.#silenceMaxMs - this.#clock.nowMs();
      if (leftMs > 0) this.#timer = this.#arm(leftMs);
      else this.#response.destroy(new Silent(`no word from the server for ${this.#silenceMaxMs} ms`));
    });
  }
}
