import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

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

/** A list as JSON in parts: 100,000 routes are 20 MB of text, which must not stand in memory at once beside their rows. */
export function jsonList(rows: readonly unknown[]): Reply {
  return { status: 200, type: JSON_TYPE, body: listParts(rows) };
}

function* listParts(rows: readonly unknown[]): Iterable<string> {
  yield '[';
  for (let from = 0; from < rows.length; from += ROWS_IN_PART) {
    const part = rows.slice(from, from + ROWS_IN_PART).map((row) => JSON.stringify(row));
    yield `${from === 0 ? '' : ','}${part.join(',')}`;
  }
  yield ']\n';
}

/** Sends a reply; a HEAD request gets its headers only. Resolves when it is sent or the peer has gone. */
export async function send(response: ServerResponse, reply: Reply, isHead: boolean): Promise<void> {
  response.writeHead(reply.status, {
    'Content-Type': reply.type,
    // Every answer is about this very moment, and a browser must not guess at what it is.
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    ...(typeof reply.body === 'string' ? { 'Content-Length': Buffer.byteLength(reply.body) } : {}),
    ...reply.headers,
  });
  if (isHead) response.end();
  else if (typeof reply.body === 'string') response.end(reply.body);
  else await pipeline(Readable.from(reply.body), response);
}
