import { type IncomingMessage, Agent as PlainAgent, request as plain } from 'node:http';
import { Agent as SecureAgent, request as secure } from 'node:https';
import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import { type EtcdAccess, secretText } from './access.ts';
import { EtcdError } from './error.ts';
import { parseJson } from './json-lines.ts';

/** A range of a thousand keys from the far side of a slow line takes two seconds; a leader election five. */
export const REQUEST_MS_MAX = 10_000;
/** An answer to one request: a page of a thousand large records. */
export const ANSWER_BYTES_MAX = 128 * 1024 * 1024;
/** Error answers are one line; an error page of a proxy is not worth more. */
const REFUSAL_BYTES_MAX = 64 * 1024;
/** A connection that lost its peer without a word is found after about two of these. */
const TCP_KEEPALIVE_MS = 15_000;
const SOCKETS_MAX = 8;

/** An answer whose status is not 200. */
export class Refusal {
  readonly status: number;
  /** What etcd says, `etcdserver: permission denied`; the beginning of the body where it is not of etcd. */
  readonly message: string;
  /** It came from etcd, not from a proxy or another server. */
  readonly isOfEtcd: boolean;

  constructor(status: number, message: string, isOfEtcd: boolean) {
    this.status = status;
    this.message = message;
    this.isOfEtcd = isOfEtcd;
  }
}

export interface Call {
  readonly endpoint: string;
  /** `/v3/kv/range` */
  readonly path: string;
  readonly body: string;
  readonly token: string | undefined;
  readonly signal: AbortSignal | undefined;
}

/** HTTP to one endpoint at a time; knows nothing of what etcd means. Every failure to get an answer is an EtcdError that is passing. */
export class Transport {
  readonly #access: EtcdAccess;
  readonly #clock: Clock;
  readonly #plain = new PlainAgent({
    keepAlive: true,
    keepAliveMsecs: TCP_KEEPALIVE_MS,
    maxSockets: SOCKETS_MAX,
  });
  readonly #secure = new SecureAgent({
    keepAlive: true,
    keepAliveMsecs: TCP_KEEPALIVE_MS,
    maxSockets: SOCKETS_MAX,
  });

  constructor(access: EtcdAccess, clock: Clock) {
    this.#access = access;
    this.#clock = clock;
  }

  /** The parsed body of a 200, or what stood in the place of it. */
  async unary(call: Call): Promise<unknown> {
    const abort = linked(call.signal);
    try {
      return await this.#inTime(abort.controller, async () => {
        const response = await this.#send(call, abort.controller.signal, false);
        const isGood = response.statusCode === 200;
        const text = await readText(response, isGood ? ANSWER_BYTES_MAX : REFUSAL_BYTES_MAX);
        return isGood ? parseJson(text) : refusalOf(response, text);
      });
    } finally {
      abort.unlink();
    }
  }

  /** The body of a 200 as it comes, until `call.signal` aborts, on a connection of its own. The time to its first byte is limited. */
  async stream(call: Call): Promise<IncomingMessage | Refusal> {
    const { controller, unlink } = linked(call.signal);
    return this.#inTime(controller, async () => {
      const response = await this.#send(call, controller.signal, true);
      response.once('close', unlink);
      if (response.statusCode === 200) return response;
      return refusalOf(response, await readText(response, REFUSAL_BYTES_MAX));
    });
  }

  close(): void {
    this.#plain.destroy();
    this.#secure.destroy();
  }

  /** Gives a request that is not answered up. */
  async #inTime<T>(controller: AbortController, ask: () => Promise<T>): Promise<T> {
    let late = false;
    const timer = this.#clock.after(REQUEST_MS_MAX, () => {
      late = true;
      controller.abort();
    });
    try {
      return await ask();
    } catch (thrown) {
      if (!late) throw thrown;
      throw new EtcdError(`no answer within ${REQUEST_MS_MAX / 1000} s`, { passing: true, cause: thrown });
    } finally {
      timer.cancel();
    }
  }

  #send(call: Call, signal: AbortSignal, ownConnection: boolean): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const url = urlOf(call.endpoint, call.path);
      const isSecure = url.protocol === 'https:';
      const options = {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(call.body),
          ...(call.token === undefined ? {} : { authorization: call.token }),
        },
        signal,
        // A watch holds its connection for days; out of the pool it would take the place of requests.
        agent: ownConnection ? false : isSecure ? this.#secure : this.#plain,
        ...(isSecure ? this.#tls() : {}),
      };
      const request = (isSecure ? secure : plain)(url, options, resolve);
      if (ownConnection) request.setSocketKeepAlive(true, TCP_KEEPALIVE_MS);
      request.on('error', (error) => {
        // The server closed an idle connection at the moment in which we took it up: nobody has seen the request.
        if (request.reusedSocket && isReset(error) && !signal.aborted)
          this.#send(call, signal, true).then(resolve, reject);
        else reject(new EtcdError(reasonOf(error), { passing: true, cause: error }));
      });
      request.end(call.body);
    });
  }

  #tls(): Record<'ca' | 'cert' | 'key', string | undefined> {
    const { ca, cert, key } = this.#access;
    return {
      ca: ca === undefined ? undefined : secretText(ca),
      cert: cert === undefined ? undefined : secretText(cert),
      key: key === undefined ? undefined : secretText(key),
    };
  }
}

function urlOf(endpoint: string, path: string): URL {
  let base: URL;
  try {
    base = new URL(endpoint);
  } catch (cause) {
    throw new EtcdError(`"${endpoint}" is not an endpoint such as https://etcd-1:2379`, { cause });
  }
  if (base.protocol !== 'http:' && base.protocol !== 'https:')
    throw new EtcdError(`"${endpoint}" does not begin with http:// or https://`);
  return new URL(path, base);
}

function isReset(error: Error): boolean {
  return 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
}

/** Node says ECONNREFUSED of a name with two addresses in an error without a message. */
function reasonOf(error: Error): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join(', ');
  return error.message === '' ? error.name : error.message;
}

/** Aborts with the caller's signal, which lives longer than a request and must not keep a listener for each. */
function linked(signal: AbortSignal | undefined): { controller: AbortController; unlink: () => void } {
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop, { once: true });
  return { controller, unlink: () => signal?.removeEventListener('abort', stop) };
}

async function readText(response: IncomingMessage, bytesMax: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Uint8Array>) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > bytesMax) throw new EtcdError(`the answer has more than ${bytesMax} bytes`);
    }
  } catch (thrown) {
    if (thrown instanceof EtcdError) throw thrown;
    throw new EtcdError(messageOf(thrown), { passing: true, cause: thrown });
  }
  return Buffer.concat(chunks, bytes).toString('utf8');
}

function refusalOf(response: IncomingMessage, text: string): Refusal {
  const status = response.statusCode ?? 0;
  try {
    const { error, message } = JSON.parse(text) as { error?: unknown; message?: unknown };
    // etcd 3.4 says it under both names, 3.5 under `message` as well, with `error` as a synonym.
    const said = typeof error === 'string' ? error : message;
    if (typeof said === 'string') return new Refusal(status, said, true);
  } catch {
    // Not of etcd: shown as it is.
  }
  return new Refusal(status, text.trim().slice(0, 200), false);
}
