import type { ServerResponse } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** An answer to a request. `body` is the whole text, or parts of it that are made while they are sent. */
export interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string | Iterable<string>;
  readonly headers?: Readonly<Record<string, string>>;
}

const JSON_TYPE = 'application/json; charset=utf-8';
const TEXT_TYPE = 'text/plain; charset=utf-8';

export function json(value: unknown, status = 200): Reply {
  return { status, type: JSON_TYPE, body: `${JSON.stringify(value)}\n` };
}

export function text(body: string, status = 200): Reply {
  return { status, type: TEXT_TYPE, body };
}

/** `code` is stable: an ISTHMUS_ERR_ code, or a word of docs/admin-api.md. */
export function failure(status: number, code: string, message: string, headers = {}): Reply {
  return { ...json({ error: { code, message } }, status), headers };
}

const ROWS_IN_PART = 256;
/** About as much as ROWS_IN_PART routes are. */
const PIECE_BYTES = 65_536;

/** A list as JSON in parts, made as the client reads them: 100,000 routes are 20 MB of text, and their rows three times that. */
export function jsonList(rows: Iterable<unknown>): Reply {
  return { status: 200, type: JSON_TYPE, body: listParts(rows) };
}

function* listParts(rows: Iterable<unknown>): Iterable<string> {
  let part: string[] = [];
  let before = '[';
  for (const row of rows) {
    part.push(JSON.stringify(row));
    if (part.length < ROWS_IN_PART) continue;
    yield `${before}${part.join(',')}`;
    before = ',';
    part = [];
  }
  yield part.length === 0 && before === ',' ? ']\n' : `${before}${part.join(',')}]\n`;
}

/** Nobody is left to answer. */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError';
}

/** How long a client may take. What it does not read stays in our memory. */
export interface Patience {
  /** For one part, of some 50 KiB, or a whole text. */
  readonly partMs: number;
  readonly answerMs: number;
}

/**
 * Sends a reply; a HEAD request gets its headers only. Resolves when all of it is with the kernel. Rejects with ClientGoneError when the
 * client has gone or takes longer than `patience`, and with whatever making the body throws; the caller then destroys the response.
 */
export async function send(
  response: ServerResponse,
  reply: Reply,
  isHead: boolean,
  patience: Patience,
): Promise<void> {
  response.writeHead(reply.status, {
    'Content-Type': reply.type,
    // Every answer is about this very moment, and a browser must not guess at what it is.
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    ...(typeof reply.body === 'string' ? { 'Content-Length': Buffer.byteLength(reply.body) } : {}),
    ...reply.headers,
  });
  if (isHead) return finish(response, patience);
  const started = performance.now();
  for (const part of typeof reply.body === 'string' ? pieces(reply.body) : reply.body) {
    if (!response.write(part)) await happens(response, 'drain', patience.partMs);
    // A client that reads as fast as we write would otherwise keep the event loop to itself until the end of the list.
    await nextTurn();
    if (response.destroyed) throw new ClientGoneError('the client has gone');
    if (performance.now() - started > patience.answerMs)
      throw new ClientGoneError(`the client took longer than ${patience.answerMs} ms`);
  }
  await finish(response, patience);
}

/** A text in parts; as bytes, since a cut through a string may go through a character. */
function* pieces(text: string): Iterable<Buffer> {
  const bytes = Buffer.from(text);
  for (let from = 0; from < bytes.length; from += PIECE_BYTES) yield bytes.subarray(from, from + PIECE_BYTES);
}

function finish(response: ServerResponse, { partMs }: Patience): Promise<void> {
  const finished = happens(response, 'finish', partMs);
  response.end();
  return finished;
}

function happens(response: ServerResponse, event: 'drain' | 'finish', withinMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error) => {
      clearTimeout(timer);
      response.off(event, happened).off('close', gone);
      if (error === undefined) resolve();
      else reject(error);
    };
    const happened = () => settle();
    const gone = () => settle(new ClientGoneError('the client has gone'));
    const stalled = () => settle(new ClientGoneError(`the client read nothing for ${withinMs} ms`));
    const timer = setTimeout(stalled, withinMs);
    response.once(event, happened).once('close', gone);
    if (response.destroyed) gone();
  });
}
