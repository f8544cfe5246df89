import { Agent as HttpAgent, type AgentOptions as HttpAgentOptions, request as httpRequest } from 'node:http';
import {
  Agent as HttpsAgent,
  type AgentOptions as HttpsAgentOptions,
  request as httpsRequest,
} from 'node:https';
import { BlockList, isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { GatewayError, messageOf } from '../../base/errors.ts';

/** A proxy that takes longer has no connection to give. */
export const PROXY_TIMEOUT_MS = 10_000;

/** The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for a server, by the rules of Go's net/http; undefined for none. */
export function environmentProxy(server: URL, environment: NodeJS.ProcessEnv): string | undefined {
  const host = hostOf(server);
  // Go never sends loopback traffic to a proxy, and neither does kubectl.
  if (host === 'localhost' || host === '::1' || /^127\./.test(host)) return undefined;
  const name = server.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const proxy = environment[name] || environment[name.toLowerCase()];
  if (proxy === undefined || proxy === '') return undefined;
  const exceptions = environment.NO_PROXY || environment.no_proxy || '';
  const port = server.port || (server.protocol === 'https:' ? '443' : '80');
  const direct = exceptions.split(',').some((entry) => matches(entry.trim().toLowerCase(), host, port));
  if (direct) return undefined;
  return proxy.includes('://') ? proxy : `http://${proxy}`;
}

/** Host without the brackets of IPv6, in lower case. */
function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '').toLowerCase();
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === '') return false;
  if (entry === '*') return true;
  const range = /^(?<address>[^/]+)\/(?<length>\d{1,3})$/.exec(entry)?.groups;
  if (range !== undefined) return inRange(host, range.address!, Number(range.length));
  const parts = /^\[?(?<name>.*?)\]?(?::(?<port>\d+))?$/.exec(
    isIP(entry) === 6 ? `[${entry}]` : entry,
  )?.groups;
  if (parts?.name === undefined) return false;
  if (parts.port !== undefined && parts.port !== port) return false;
  if (isIP(parts.name) !== 0) return parts.name === host;
  const domain = parts.name.replace(/^\*?\./, '');
  if (domain !== parts.name) return host.endsWith(`.${domain}`);
  return host === domain || host.endsWith(`.${domain}`);
}

function inRange(host: string, address: string, length: number): boolean {
  const family = isIP(host);
  if (family === 0 || isIP(address) !== family || length > (family === 4 ? 32 : 128)) return false;
  const list = new BlockList();
  list.addSubnet(address, length, family === 4 ? 'ipv4' : 'ipv6');
  return list.check(host, family === 4 ? 'ipv4' : 'ipv6');
}

/** Checks a proxy's URL. Throws ISTHMUS_ERR_KUBERNETES. */
export function parseProxy(text: string): URL {
  const proxy = URL.canParse(text) ? new URL(text) : undefined;
  if (proxy?.protocol === 'http:' || proxy?.protocol === 'https:') return proxy;
  throw new GatewayError(
    'ISTHMUS_ERR_KUBERNETES',
    `proxy "${withoutSecrets(text)}": expected http://HOST:PORT or https://HOST:PORT; SOCKS proxies are not supported`,
  );
}

/** Asks an HTTP proxy for a connection to `target` (host:port) by CONNECT. Throws ISTHMUS_ERR_KUBERNETES naming the proxy. */
export function connectThrough(proxy: URL, target: string): Promise<Socket> {
  const place = withoutSecrets(proxy.href);
  const failed = (what: string, cause?: unknown) =>
    new GatewayError('ISTHMUS_ERR_KUBERNETES', `proxy ${place}: ${what}`, { cause });
  const user = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return new Promise((resolve, reject) => {
    const request = (proxy.protocol === 'https:' ? httpsRequest : httpRequest)({
      host: hostOf(proxy),
      port: proxy.port || (proxy.protocol === 'https:' ? 443 : 80),
      method: 'CONNECT',
      path: target,
      agent: false,
      timeout: PROXY_TIMEOUT_MS,
      headers: {
        Host: target,
        ...(user === ':' ? {} : { 'Proxy-Authorization': `Basic ${Buffer.from(user).toString('base64')}` }),
      },
    });
    request.on('connect', (response, socket: Socket) => {
      socket.setTimeout(0);
      if (response.statusCode === 200) return resolve(socket);
      socket.destroy();
      reject(
        failed(`it refused a connection to ${target}: ${response.statusCode} ${response.statusMessage}`),
      );
    });
    request.on('response', (response) => {
      response.destroy();
      reject(failed(`it does not know CONNECT: ${response.statusCode} ${response.statusMessage}`));
    });
    request.on('timeout', () => request.destroy(new Error(`no answer within ${PROXY_TIMEOUT_MS} ms`)));
    request.on('error', (cause) => reject(failed(messageOf(cause), cause)));
    request.end();
  });
}

function withoutSecrets(text: string): string {
  return text.replace(/\/\/[^/@]*@/, '//').replace(/\/$/, '');
}

type Done = (error: Error | null, socket?: Duplex) => void;
interface Target {
  readonly host?: string | null;
  readonly port?: number | string | null;
}

function targetOf({ host, port }: Target): string {
  const name = host ?? 'localhost';
  return `${isIP(name) === 6 ? `[${name}]` : name}:${port ?? 443}`;
}

/** Connections to an https server through a proxy: TLS runs end to end inside the tunnel. */
export class ProxiedHttpsAgent extends HttpsAgent {
  readonly #proxy: URL;

  constructor(proxy: URL, options: HttpsAgentOptions) {
    super(options);
    this.#proxy = proxy;
  }

  override createConnection(options: HttpsAgentOptions & Target, done: Done): undefined {
    connectThrough(this.#proxy, targetOf(options)).then(
      (socket) => {
        const secure = connectTls({ ...(options as object), socket });
        done(null, secure);
      },
      (thrown: Error) => done(thrown),
    );
  }
}

/** The same for a server without TLS, as only tests and bastions on loopback have. */
export class ProxiedHttpAgent extends HttpAgent {
  readonly #proxy: URL;

  constructor(proxy: URL, options: HttpAgentOptions) {
    super(options);
    this.#proxy = proxy;
  }

  override createConnection(options: Target, done: Done): undefined {
    connectThrough(this.#proxy, targetOf(options)).then(
      (socket) => done(null, socket),
      (thrown: Error) => done(thrown),
    );
  }
}
