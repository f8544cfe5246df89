import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isIPv4, type Socket } from 'node:net';
import { GatewayError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { formatListen, type ListenAddress, parseListen } from '../config/listen.ts';
import { ClientGoneError, failure, type Patience, type Reply, send } from './reply.ts';
import { type AdminContext, answer } from './routes.ts';
import { removeStaleSocket } from './unix-socket.ts';

/** Limits on what one client, or many, can make the gateway hold. A scraper, a probe and a few people need two connections each. */
export const ADMIN_LIMITS = {
  CONNECTIONS: 64,
  HEADER_BYTES: 8192,
  /** No request has a body. */
  BODY_BYTES: 0,
  HEADERS_TIMEOUT_MS: 5000,
  REQUEST_TIMEOUT_MS: 10_000,
  /** A client that neither reads nor writes. */
  IDLE_TIMEOUT_MS: 30_000,
  KEEP_ALIVE_TIMEOUT_MS: 5000,
  /** Lists, and other answers beyond LARGE_BYTES, that are sent at the same time; each holds rows or text until its client has read. */
  LARGE_ANSWERS: 4,
  LARGE_BYTES: 1024 * 1024,
  RETRY_AFTER_SECONDS: 2,
  /** 50 KiB on a path of 100 kbit/s. */
  PART_TIMEOUT_MS: 5000,
  /** A million routes are 250 MB: what a path of 20 Mbit/s carries in this time. */
  ANSWER_TIMEOUT_MS: 120_000,
  /** For answers under way when the gateway stops; SIGTERM ends within 2 s. */
  CLOSE_GRACE_MS: 500,
} as const;

const PATIENCE: Patience = {
  partMs: ADMIN_LIMITS.PART_TIMEOUT_MS,
  answerMs: ADMIN_LIMITS.ANSWER_TIMEOUT_MS,
};

export interface AdminServerOptions extends AdminContext {
  /** As admin.listen, but not `none`. Port 0 is any free port. */
  readonly listen: string;
  readonly log: Logger;
  /** How long clients may take to read; for tests. */
  readonly patience?: Patience;
}

export interface AdminServer {
  /** Where it listens, with the port that was found. */
  readonly address: string;
  close(): Promise<void>;
}

/** Serves the admin API. Rejects with ISTHMUS_ERR_ADMIN when it cannot listen. */
export async function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const listen = parseListen(options.listen);
  if (typeof listen === 'string') {
    throw new GatewayError('ISTHMUS_ERR_CONFIG', `admin.listen: "${options.listen}": ${listen}`);
  }
  if (listen.kind === 'unix') await removeStaleSocket(listen.path);
  const large = { count: 0 };
  const server = createServer(
    {
      maxHeaderSize: ADMIN_LIMITS.HEADER_BYTES,
      headersTimeout: ADMIN_LIMITS.HEADERS_TIMEOUT_MS,
      requestTimeout: ADMIN_LIMITS.REQUEST_TIMEOUT_MS,
      keepAliveTimeout: ADMIN_LIMITS.KEEP_ALIVE_TIMEOUT_MS,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => {
      void respond(options, isLoopback(listen), large, request, response);
    },
  );
  server.maxConnections = ADMIN_LIMITS.CONNECTIONS;
  server.setTimeout(ADMIN_LIMITS.IDLE_TIMEOUT_MS);
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await bind(server, listen);
  server.on('error', (error) => options.log.error({ error }, 'admin server failed'));
  return { address: boundAddress(server, listen), close: () => close(server, sockets) };
}

async function respond(
  options: AdminServerOptions,
  loopback: boolean,
  large: { count: number },
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const isHead = request.method === 'HEAD';
  const patience = options.patience ?? PATIENCE;
  try {
    const reply = refuse(request, loopback) ?? (await answerSafely(options, request));
    if (isHead || !isLarge(reply)) await send(response, reply, isHead, patience);
    else if (large.count >= ADMIN_LIMITS.LARGE_ANSWERS) await send(response, busy(), isHead, patience);
    else {
      large.count++;
      try {
        await send(response, reply, isHead, patience);
      } finally {
        large.count--;
      }
    }
  } catch (error) {
    // The headers are out: whoever asked can only be told by the connection's end.
    const level = error instanceof ClientGoneError ? 'debug' : 'error';
    options.log[level]({ error, target: request.url }, 'admin request broke off');
    response.destroy();
  }
}

function isLarge({ body }: Reply): boolean {
  return typeof body !== 'string' || body.length > ADMIN_LIMITS.LARGE_BYTES;
}

function busy(): Reply {
  const message = `${ADMIN_LIMITS.LARGE_ANSWERS} other lists are being sent; ask again in a few seconds`;
  return failure(503, 'busy', message, { 'Retry-After': String(ADMIN_LIMITS.RETRY_AFTER_SECONDS) });
}

async function answerSafely(options: AdminServerOptions, request: IncomingMessage): Promise<Reply> {
  try {
    return await answer(options, request.method ?? 'GET', request.url ?? '/');
  } catch (error) {
    if (error instanceof GatewayError) {
      const status = error.exitCode === 2 ? 400 : 500;
      return failure(status, error.code, error.message);
    }
    options.log.error({ error, target: request.url }, 'admin request failed');
    return failure(500, 'internal', `the gateway failed to answer: ${messageOf(error)}`);
  }
}

/** What is refused before anyone looks at the path. */
function refuse(request: IncomingMessage, loopback: boolean): Reply | undefined {
  const { headers, method } = request;
  if (
    headers['transfer-encoding'] !== undefined ||
    Number(headers['content-length'] ?? 0) > ADMIN_LIMITS.BODY_BYTES
  ) {
    return failure(413, 'too-large', 'no request here has a body', { Connection: 'close' });
  }
  // DNS rebinding: a page whose name resolves to 127.0.0.1 for a moment reaches a loopback server from a browser, but keeps its name.
  if (loopback && !isLoopbackHost(headers.host ?? '')) {
    return failure(403, 'forbidden-host', `expected a loopback address as Host, got "${headers.host ?? ''}"`);
  }
  // A browser sends Origin with every POST, also with one that needs no permission of ours; command lines and scripts do not.
  if (method === 'POST' && headers.origin !== undefined) {
    return failure(
      403,
      'forbidden-origin',
      `requests from web pages are refused, got Origin "${headers.origin}"`,
    );
  }
  return undefined;
}

function isLoopback(listen: ListenAddress): boolean {
  return listen.kind === 'tcp' && isLoopbackName(listen.host);
}

function isLoopbackHost(host: string): boolean {
  const name = /^(?:\[([^\]]*)\]|([^:]*))(?::\d+)?$/.exec(host);
  return isLoopbackName(name?.[1] ?? name?.[2] ?? '');
}

function isLoopbackName(name: string): boolean {
  return name === '::1' || name.toLowerCase() === 'localhost' || (isIPv4(name) && name.startsWith('127.'));
}

function bind(server: Server, listen: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const where = formatListen(listen);
      reject(
        new GatewayError(
          'ISTHMUS_ERR_ADMIN',
          error.code === 'EADDRINUSE'
            ? `another process listens on ${where}: stop it, or choose another address with admin.listen`
            : `cannot listen on ${where} (${error.code ?? error.message}); choose another address with admin.listen`,
          { cause: error },
        ),
      );
    });
    server.once('listening', () => {
      server.removeAllListeners('error');
      resolve();
    });
    if (listen.kind === 'tcp') server.listen({ host: listen.host, port: listen.port });
    else listenPrivately(server, listen.path);
  });
}

/** Node makes the socket file within listen(); with the mask set around it there is no moment at which others could connect. */
function listenPrivately(server: Server, path: string): void {
  const before = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(before);
  }
}

function boundAddress(server: Server, listen: ListenAddress): string {
  const bound = server.address();
  if (listen.kind === 'unix' || bound === null || typeof bound === 'string') return formatListen(listen);
  return formatListen({ ...listen, port: bound.port });
}

/** Ends within the grace whatever clients do. */
function close(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  return new Promise((resolve) => {
    const grace = setTimeout(() => {
      for (const socket of sockets) socket.destroy();
      resolve();
    }, ADMIN_LIMITS.CLOSE_GRACE_MS);
    server.close(() => {
      clearTimeout(grace);
      resolve();
    });
    server.closeIdleConnections();
  });
}
