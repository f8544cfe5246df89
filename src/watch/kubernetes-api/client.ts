import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Clock } from '../../base/clock.ts';
import { GatewayError, messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { describeAccess, type KubernetesAccess } from './access.ts';
import { ApiError, readRetryAfter, readStatus } from './api-error.ts';
import { type Connection, Connector } from './connector.ts';
import { CredentialStore, type CredentialSurroundings, SERVICE_ACCOUNT_FOLDER } from './credentials.ts';

/** Between sending a request and the head of its answer, and between two pieces of an answer that ends. */
export const RESPONSE_TIMEOUT_MS = 30_000;
/** A page of 500 objects of 64 KiB; the reflector asks for fewer objects when a page is larger. */
export const BODY_BYTES_MAX = 32 << 20;
/** Of a refusal only the beginning is shown. */
const ERROR_BODY_BYTES_MAX = 64 << 10;

export interface KubernetesApiOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** For tests; the process's own otherwise. */
  readonly environment?: NodeJS.ProcessEnv;
  /** For tests; where the kubelet mounts it otherwise. */
  readonly serviceAccountFolder?: string;
  readonly responseTimeoutMs?: number;
}

export interface ApiRequest {
  readonly query?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** `application/merge-patch+json` and its like; `application/json` otherwise. */
  readonly contentType?: string;
  /** The RBAC verb where the method does not tell: `list`, `watch`. */
  readonly verb?: string;
}

export interface ApiAnswer {
  /** 200 to 299. */
  readonly status: number;
  /** Parsed JSON; undefined for an empty body. */
  readonly body: unknown;
  /** Of the body as it came, in UTF-16 units of its text: near enough to bytes for JSON. */
  readonly length: number;
}

const VERBS: Readonly<Record<string, string>> = {
  GET: 'get',
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

/**
 * One API server. Credentials are read when the first request needs them, again when their files change, and again when the server says
 * 401. Every failure is an ApiError, or a GatewayError with ISTHMUS_ERR_KUBERNETES when the credentials cannot be read; an aborted
 * request rejects with the reason of its signal.
 */
export class KubernetesApi {
  readonly #access: KubernetesAccess;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #credentials: CredentialStore;
  readonly #connector: Connector;
  readonly #responseTimeoutMs: number;

  constructor(access: KubernetesAccess, options: KubernetesApiOptions) {
    const { clock, logger, environment = process.env, responseTimeoutMs = RESPONSE_TIMEOUT_MS } = options;
    const surroundings: CredentialSurroundings = {
      environment,
      serviceAccountFolder: options.serviceAccountFolder ?? SERVICE_ACCOUNT_FOLDER,
    };
    this.#access = access;
    this.#clock = clock;
    this.#logger = logger;
    this.#responseTimeoutMs = responseTimeoutMs;
    this.#credentials = new CredentialStore(access, surroundings, clock);
    this.#connector = new Connector();
  }

  /** The server's URL; until it is known, where the credentials for it are. */
  get server(): string {
    return this.#credentials.current?.server ?? describeAccess(this.#access);
  }

  /** The parsed answer to a GET. */
  async get(path: string, signal?: AbortSignal): Promise<unknown> {
    return (await this.request('GET', path, { signal })).body;
  }

  /** One request and its whole answer. Throws ApiError for every status but 2xx (`status` has it), for a body that is too large or no JSON. */
  async request(method: string, path: string, options: ApiRequest = {}): Promise<ApiAnswer> {
    const response = await this.#respond(method, path, options);
    const status = response.statusCode ?? 0;
    const fail = (reason: string, cause: unknown) =>
      this.#failure({ method, path, options, status, reason, detail: messageOf(cause), cause });
    let text: string;
    try {
      text = await this.#readBody(response, BODY_BYTES_MAX);
    } catch (cause) {
      if (options.signal?.aborted) throw cause;
      throw fail(cause instanceof BodyTooLarge ? 'TooLarge' : reasonOf(cause), cause);
    }
    if (text === '') return { status, body: undefined, length: 0 };
    try {
      return { status, body: JSON.parse(text), length: text.length };
    } catch (cause) {
      throw fail('Malformed', cause);
    }
  }

  /** Opens a GET whose answer goes on: resolves with its stream once the server has accepted it. The caller reads or destroys it. */
  async open(path: string, options: ApiRequest = {}): Promise<IncomingMessage> {
    return await this.#respond('GET', path, options);
  }

  /** Closes all connections; what is under way fails. */
  close(): void {
    this.#connector.close();
  }

  async #respond(method: string, path: string, options: ApiRequest): Promise<IncomingMessage> {
    const answer = await this.#attempt(method, path, options);
    if (answer.statusCode !== 401) return await this.#accepted(answer, method, path, options);
    answer.destroy();
    try {
      await this.#credentials.reload();
    } catch (thrown) {
      this.#logger.warn(
        { server: this.server, reason: messageOf(thrown) },
        'credentials were refused and cannot be read again',
      );
    }
    return await this.#accepted(await this.#attempt(method, path, options), method, path, options);
  }

  async #accepted(answer: IncomingMessage, method: string, path: string, options: ApiRequest) {
    const status = answer.statusCode ?? 0;
    if (status >= 200 && status < 300) return answer;
    // A refusal whose text is cut off is still a refusal.
    const text = await this.#readBody(answer, ERROR_BODY_BYTES_MAX).catch(() => '');
    const { reason, detail } = readStatus(text);
    const retryAfterMs = readRetryAfter(answer.headers['retry-after']);
    throw this.#failure({
      method,
      path,
      options,
      status,
      reason: reason || (answer.statusMessage ?? ''),
      detail,
      retryAfterMs,
    });
  }

  /** Sends the request; once more when it met a kept connection that the server had just closed. */
  async #attempt(method: string, path: string, options: ApiRequest): Promise<IncomingMessage> {
    for (let attempt = 0; ; attempt++) {
      const connection = this.#connector.to(await this.#credentials.get());
      let request: ClientRequest | undefined;
      try {
        request = this.#send(connection, method, path, options);
        return await this.#head(request, options);
      } catch (cause) {
        options.signal?.throwIfAborted();
        const reason = reasonOf(cause);
        if (attempt === 0 && request?.reusedSocket && method === 'GET' && reason === 'ECONNRESET') continue;
        if (cause instanceof GatewayError) throw cause;
        throw this.#failure({ method, path, options, status: 0, reason, detail: messageOf(cause), cause });
      }
    }
  }

  #send(
    { url, agent, headers }: Connection,
    method: string,
    path: string,
    options: ApiRequest,
  ): ClientRequest {
    options.signal?.throwIfAborted();
    const query = new URLSearchParams(options.query ?? {}).toString();
    const body = options.body === undefined ? undefined : JSON.stringify(options.body);
    const settings: RequestOptions = {
      method,
      agent,
      path: `${url.pathname.replace(/\/$/, '')}${path}${query === '' ? '' : `?${query}`}`,
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port || (url.protocol === 'https:' ? 443 : 80),
      headers: {
        ...headers,
        Accept: 'application/json',
        'User-Agent': 'isthmus',
        ...(body === undefined
          ? {}
          : {
              'Content-Type': options.contentType ?? 'application/json',
              'Content-Length': Buffer.byteLength(body),
            }),
      },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    };
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(settings);
    request.on('socket', keepAlive);
    request.end(body);
    return request;
  }

  #head(request: ClientRequest, { signal }: ApiRequest): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const timeout = this.#clock.after(this.#responseTimeoutMs, () =>
        request.destroy(new Error(`no answer within ${this.#responseTimeoutMs} ms`)),
      );
      request.on('response', (response) => {
        timeout.cancel();
        resolve(response);
      });
      // Stays for as long as the request lives: an error after the head is one of the response as well.
      request.on('error', (error) => {
        timeout.cancel();
        reject(signal?.aborted ? signal.reason : error);
      });
    });
  }

  async #readBody(response: IncomingMessage, bytesMax: number): Promise<string> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const watchdog = () =>
      this.#clock.after(this.#responseTimeoutMs, () =>
        response.destroy(new Error(`the answer stopped for ${this.#responseTimeoutMs} ms`)),
      );
    let timeout = watchdog();
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        timeout.cancel();
        timeout = watchdog();
        bytes += chunk.length;
        if (bytes > bytesMax) throw new BodyTooLarge(`the answer has more than ${bytesMax} bytes`);
        chunks.push(chunk);
      }
    } finally {
      timeout.cancel();
    }
    return Buffer.concat(chunks, bytes).toString('utf8');
  }

  #failure(failure: FailedRequest): ApiError {
    const { options, method, ...rest } = failure;
    const verb = options.verb ?? VERBS[method] ?? method.toLowerCase();
    return new ApiError({ ...rest, method, verb, server: this.server });
  }
}

interface FailedRequest {
  readonly method: string;
  readonly path: string;
  readonly options: ApiRequest;
  readonly status: number;
  readonly reason: string;
  readonly detail: string;
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

class BodyTooLarge extends Error {}

/** libuv then probes each second and gives up after ten: a peer that vanished is noticed within 25 s instead of the kernel's 11 minutes. */
const KEEPALIVE_AFTER_MS = 15_000;

function keepAlive(socket: { setKeepAlive(enable: boolean, initialDelayMs: number): unknown }): void {
  socket.setKeepAlive(true, KEEPALIVE_AFTER_MS);
}

function reasonOf(thrown: unknown): string {
  const code = thrown instanceof Error ? (thrown as NodeJS.ErrnoException).code : undefined;
  return code ?? 'Error';
}
