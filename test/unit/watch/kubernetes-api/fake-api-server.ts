import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { KubernetesAccess } from '../../../../src/watch/kubernetes-api/access.ts';
import { errorEvent, send, sendJson, sendStatus } from './fake-answers.ts';
import { type FakeObject, FakeStore, type StoredEvent } from './fake-store.ts';

export interface FakeApiServerOptions {
  /** Certificate, key and, to ask for client certificates, the CA that they must come from. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa?: string };
  /** What a watch with `sendInitialEvents` meets: a server that has it, one that refuses it (422), one that never heard of it. */
  readonly watchList?: 'served' | 'refused' | 'ignored';
  /** Collections that are there from the start: `/api/v1/nodes`. Others come with their first object; a list of any else is a 404. */
  readonly serves?: readonly string[];
}

export interface FakeRequest {
  readonly method: string;
  /** Without query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  /** get, list, watch, create, update, patch, delete. */
  readonly verb: string;
}

export interface Fault {
  /** Only requests with this verb; all otherwise. */
  readonly verb?: string;
  /** Only requests whose path starts so; all otherwise. */
  readonly path?: string;
  /** How many requests it meets; all of them until it is lifted otherwise. */
  readonly times?: number;
  readonly respond: (response: ServerResponse, request: FakeRequest) => void;
}

interface OpenWatch {
  readonly response: ServerResponse;
  readonly path: string;
  readonly select: (object: FakeObject) => boolean;
  readonly bookmarks: boolean;
}

/**
 * A Kubernetes API server of a test: collections that the test writes, paged lists, watches with history, and every fault that the real
 * one or something before it shows. Plain HTTP on loopback unless it is given a certificate.
 */
export class FakeApiServer {
  readonly requests: FakeRequest[] = [];
  readonly store = new FakeStore();
  /** Common names of the client certificates of the TLS connections so far. */
  readonly clientNames: string[] = [];
  /** Requests must have one of these as bearer token; undefined: all are let in. */
  tokens: Set<string> | undefined;
  /** How a watch from before the compaction is refused. */
  goneAs: 'status' | 'event' = 'event';
  watchList: 'served' | 'refused' | 'ignored';
  readonly #server: Server;
  readonly #scheme: string;
  readonly #sockets = new Set<Socket>();
  readonly #watches = new Set<OpenWatch>();
  readonly #faults = new Set<Fault & { left: number }>();
  #port = 0;

  private constructor(options: FakeApiServerOptions) {
    const { tls, watchList = 'refused', serves = [] } = options;
    this.watchList = watchList;
    for (const path of serves) this.store.serve(path);
    const answer = (request: IncomingMessage, response: ServerResponse) =>
      void this.#answer(request, response);
    this.#scheme = tls === undefined ? 'http' : 'https';
    this.#server =
      tls === undefined
        ? createServer(answer)
        : createSecureServer(
            {
              cert: tls.cert,
              key: tls.key,
              ...(tls.clientCa === undefined
                ? {}
                : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
            },
            answer,
          );
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => this.#sockets.delete(socket));
    });
    this.#server.on('secureConnection', (socket: TLSSocket) => {
      const { CN } = socket.getPeerCertificate().subject ?? {};
      if (typeof CN === 'string') this.clientNames.push(CN);
    });
    this.store.onEvent = (event) => this.#push(event);
  }

  static async start(options: FakeApiServerOptions = {}): Promise<FakeApiServer> {
    const server = new FakeApiServer(options);
    await server.listen();
    return server;
  }

  /** Starts again after `stop`, on the same port; what is stored is still there. */
  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#port, '127.0.0.1', resolve);
    });
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Breaks all connections and refuses new ones. */
  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.#port}`;
  }

  /** Open watches. */
  get watching(): number {
    return this.#watches.size;
  }

  /** A kubeconfig for this server. */
  kubeconfig({
    token,
    cluster = {},
    user = {},
  }: {
    token?: string;
    cluster?: object;
    user?: object;
  } = {}): string {
    return JSON.stringify({
      'current-context': 'test',
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
      clusters: [{ name: 'test', cluster: { server: this.url, ...cluster } }],
      users: [{ name: 'test', user: { ...(token === undefined ? {} : { token }), ...user } }],
    });
  }

  access(token?: string): KubernetesAccess {
    return {
      kind: 'kubeconfig-text',
      text: this.kubeconfig(token === undefined ? {} : { token }),
      describe: 'a test',
    };
  }

  /** Creates or changes an object of a collection and tells its watches. `path` has no namespace in it: `/api/v1/secrets`. */
  put(path: string, object: FakeObject): void {
    this.store.put(path, object);
  }

  /** `key`: name, or namespace/name. */
  remove(path: string, key: string): void {
    this.store.remove(path, key);
  }

  /** Forgets history: watches from before, and pages of lists begun before, meet 410. Open watches go on. */
  compact(): void {
    this.store.compact();
  }

  /** Answers requests otherwise. Returns what lifts it. Later faults go before earlier ones. */
  fault(fault: Fault): () => void {
    const entry = { ...fault, left: fault.times ?? Number.POSITIVE_INFINITY };
    this.#faults.add(entry);
    return () => this.#faults.delete(entry);
  }

  /** A fault that refuses with a Status object, as the API server does. */
  refuse(
    status: number,
    fault: Omit<Fault, 'respond'> = {},
    headers: Record<string, string> = {},
  ): () => void {
    const respond = (response: ServerResponse, { verb, path }: FakeRequest) =>
      sendStatus(response, status, `"test" cannot ${verb} ${path}`, headers);
    return this.fault({ ...fault, respond });
  }

  /** A fault that accepts the connection and never answers. */
  hang(fault: Omit<Fault, 'respond'> = {}): () => void {
    return this.fault({ ...fault, respond: () => undefined });
  }

  /** A fault that resets the connection instead of answering. */
  reset(fault: Omit<Fault, 'respond'> = {}): () => void {
    return this.fault({ ...fault, respond: (response) => response.socket?.resetAndDestroy() });
  }

  /** A fault that accepts watches and ends them at once, cleanly. */
  closeEarly(fault: Omit<Fault, 'respond' | 'verb'> = {}): () => void {
    const respond = (response: ServerResponse) => {
      response.writeHead(200, { 'Content-Type': 'application/json' });
      response.end();
    };
    return this.fault({ ...fault, verb: 'watch', respond });
  }

  /** Ends all open watches cleanly, as the server does after timeoutSeconds. */
  endWatches(): void {
    for (const { response } of this.#takeWatches()) response.end();
  }

  resetWatches(): void {
    for (const { response } of this.#takeWatches()) response.socket?.resetAndDestroy();
  }

  /** Leaves all open watches open and never writes to them again. */
  freezeWatches(): void {
    this.#takeWatches();
  }

  /** Writes to all open watches what the test wants to have there; a newline is the test's business. */
  sendRaw(bytes: string | Uint8Array): void {
    for (const { response } of this.#watches) response.write(bytes);
  }

  sendBookmarks(): void {
    for (const watch of this.#watches) this.#bookmark(watch);
  }

  /** An ERROR event in all open watches; each ends after it. */
  sendErrors(code: number, reason: string): void {
    for (const { response } of this.#takeWatches()) response.end(errorEvent(code, reason));
  }

  /** Requests so far with a verb. */
  count(verb: string, path = ''): number {
    return this.requests.filter((request) => request.verb === verb && request.path.startsWith(path)).length;
  }

  async #answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? '/', this.url);
    const method = incoming.method ?? 'GET';
    const { pathname: path, searchParams: query } = url;
    const place = this.store.locate(path);
    const request = {
      method,
      path,
      query,
      headers: incoming.headers,
      verb: verbOf(method, query, place.name),
    };
    this.requests.push(request);
    const body = await readBody(incoming);
    for (const fault of [...this.#faults].reverse()) {
      if (fault.verb !== undefined && fault.verb !== request.verb) continue;
      if (fault.path !== undefined && !path.startsWith(fault.path)) continue;
      if (--fault.left <= 0) this.#faults.delete(fault);
      return fault.respond(response, request);
    }
    const token = /^Bearer (.*)$/.exec(incoming.headers.authorization ?? '')?.[1] ?? '';
    if (this.tokens !== undefined && !this.tokens.has(token))
      return sendStatus(response, 401, 'Unauthorized');
    if (!this.store.served(place.collection))
      return sendStatus(response, 404, 'the server could not find the requested resource');
    if (request.verb === 'watch') return this.#watch(request, response);
    if (request.verb === 'list') return this.#list(request, response);
    const { status, object } = this.store.single(request.verb, place, body);
    if (status >= 300) return sendStatus(response, status, `${request.verb} of ${path}`);
    sendJson(response, status, object);
  }

  #list({ path, query }: FakeRequest, response: ServerResponse): void {
    const list = this.store.list(path, query);
    if (list === undefined) sendStatus(response, 410, 'The provided continue parameter is too old');
    else sendJson(response, 200, list);
  }

  #watch({ path, query }: FakeRequest, response: ServerResponse): void {
    const initial = query.get('sendInitialEvents') === 'true';
    if (initial && this.watchList === 'refused') {
      sendStatus(response, 422, 'sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch');
      return;
    }
    const from = query.get('resourceVersion') ?? '';
    const place = this.store.locate(path);
    const select = this.store.selector(path, query);
    const missed = from === '' ? [] : this.store.since(from, place.collection);
    if (missed === undefined && this.goneAs === 'status') {
      sendStatus(response, 410, 'too old resource version');
      return;
    }
    response.writeHead(200, { 'Content-Type': 'application/json' });
    response.flushHeaders();
    if (missed === undefined) {
      response.end(errorEvent(410, 'Expired'));
      return;
    }
    const bookmarks = query.get('allowWatchBookmarks') === 'true';
    const watch: OpenWatch = { response, path: place.collection, select, bookmarks };
    if (from === '')
      for (const object of this.store.all(place.collection))
        if (select(object)) send(response, 'ADDED', object);
    if (initial && this.watchList === 'served')
      this.#bookmark(watch, { 'k8s.io/initial-events-end': 'true' });
    for (const event of missed) this.#tell(watch, event);
    this.#watches.add(watch);
    const timeoutMs = Number(query.get('timeoutSeconds') ?? 3600) * 1000;
    const timer = setTimeout(() => response.end(), timeoutMs);
    response.on('close', () => {
      clearTimeout(timer);
      this.#watches.delete(watch);
    });
  }

  #push(event: StoredEvent): void {
    for (const watch of this.#watches) if (watch.path === event.collection) this.#tell(watch, event);
  }

  /** An object that leaves a selector is deleted, and one that enters it is added, for the watch that has the selector. */
  #tell({ response, select }: OpenWatch, { object, previous }: StoredEvent): void {
    const was = previous !== undefined && select(previous);
    const is = object !== undefined && select(object);
    if (is) send(response, was ? 'MODIFIED' : 'ADDED', object);
    else if (was)
      send(response, 'DELETED', {
        ...previous,
        metadata: { ...previous.metadata, resourceVersion: this.store.version },
      });
  }

  /** Nothing is written to them any more. */
  #takeWatches(): OpenWatch[] {
    const watches = [...this.#watches];
    this.#watches.clear();
    return watches;
  }

  #bookmark({ response, bookmarks }: OpenWatch, annotations?: Record<string, string>): void {
    if (!bookmarks) return;
    const metadata = {
      resourceVersion: this.store.version,
      ...(annotations === undefined ? {} : { annotations }),
    };
    send(response, 'BOOKMARK', { metadata });
  }
}

function verbOf(method: string, query: URLSearchParams, name: string | undefined): string {
  if (method === 'GET') {
    if (query.get('watch') === '1' || query.get('watch') === 'true') return 'watch';
    return name === undefined ? 'list' : 'get';
  }
  return { POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }[method] ?? method.toLowerCase();
}

async function readBody(incoming: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  return text === '' ? undefined : JSON.parse(text);
}
