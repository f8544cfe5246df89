import { type IncomingMessage, request } from 'node:http';
import { ERROR_CODES, type ErrorCode, GatewayError, messageOf } from '../base/errors.ts';
import { LISTEN_EXPECTED, type ListenAddress, parseListen } from '../config/listen.ts';
import type { ReloadResult } from './view.ts';

export const DEFAULT_ADMIN_ADDRESS = '127.0.0.1:9461';

const TIMEOUT_MS = 10_000;
/** A million routes are 250 MB; more is not an answer of a gateway. */
const ANSWER_BYTES_MAX = 512 * 1024 * 1024;

type Query = Readonly<Record<string, string | number | undefined>>;

/** Asks a running gateway. Every failure is a GatewayError that names the address and what to do. */
export class AdminClient {
  readonly #address: string;
  readonly #listen: ListenAddress;

  /** `host:port` or `unix:/path`. Throws ISTHMUS_ERR_USAGE. */
  constructor(address: string) {
    const listen = parseListen(address);
    if (typeof listen === 'string') {
      throw new GatewayError(
        'ISTHMUS_ERR_USAGE',
        `--admin: expected ${LISTEN_EXPECTED}, got "${address}" (${listen})`,
      );
    }
    this.#address = address;
    this.#listen = listen;
  }

  async get<T>(path: string, query: Query = {}): Promise<T> {
    const { status, value } = await this.#ask('GET', path, query);
    if (status === 200) return value as T;
    throw this.#refusal(status, value);
  }

  /** Resolves also when the file is bad; then `ok` is false. */
  async reload(): Promise<ReloadResult> {
    const { status, value } = await this.#ask('POST', '/api/v1/reload', {});
    if (status === 200 || status === 422) return value as ReloadResult;
    throw this.#refusal(status, value);
  }

  async #ask(method: string, path: string, query: Query): Promise<{ status: number; value: unknown }> {
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) search.set(name, String(value));
    }
    const target = search.size === 0 ? path : `${path}?${search}`;
    const { status, text } = await this.#exchange(method, target);
    try {
      return { status, value: JSON.parse(text) };
    } catch (cause) {
      throw new GatewayError(
        'ISTHMUS_ERR_ADMIN',
        `what listens on ${this.#address} is not isthmus: its answer to ${path} is not JSON`,
        { cause },
      );
    }
  }

  #exchange(method: string, path: string): Promise<{ status: number; text: string }> {
    const where =
      this.#listen.kind === 'unix'
        ? { socketPath: this.#listen.path, headers: { Host: 'localhost' } }
        : { host: this.#listen.host, port: this.#listen.port };
    return new Promise((resolve, reject) => {
      const asked = request({ ...where, method, path, timeout: TIMEOUT_MS, agent: false }, (response) => {
        readText(response).then(
          (text) => resolve({ status: response.statusCode ?? 0, text }),
          (error) => reject(this.#unreachable(error)),
        );
      });
      asked.once('timeout', () => asked.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
      asked.once('error', (error) => reject(this.#unreachable(error)));
      asked.end();
    });
  }

  #unreachable(error: NodeJS.ErrnoException): GatewayError {
    const code = error.code ?? '';
    const elsewhere = 'or name another address with --admin or ISTHMUS_ADMIN';
    const messages: Record<string, string> = {
      ECONNREFUSED: `no gateway listens on ${this.#address}; start one with "isthmus run -c FILE", ${elsewhere}`,
      ENOENT: `no gateway listens on ${this.#address}: there is no such socket; start one with "isthmus run -c FILE", ${elsewhere}`,
      EACCES: `no permission to open ${this.#address}: the socket belongs to the user that runs the gateway; use that user`,
    };
    const message =
      messages[code] ??
      `cannot reach a gateway on ${this.#address}: ${messageOf(error)}; check --admin and ISTHMUS_ADMIN`;
    return new GatewayError('ISTHMUS_ERR_ADMIN', message, { cause: error });
  }

  #refusal(status: number, value: unknown): GatewayError {
    const { error } = (value ?? {}) as { error?: { code?: string; message?: string } };
    const code = error?.code ?? '';
    const known = Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : 'ISTHMUS_ERR_ADMIN';
    return new GatewayError(known, error?.message ?? `the gateway on ${this.#address} answered ${status}`);
  }
}

async function readText(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > ANSWER_BYTES_MAX) throw new Error(`the answer is longer than ${ANSWER_BYTES_MAX} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}
