import { Agent as HttpAgent } from 'node:http';
import { type AgentOptions, Agent as HttpsAgent } from 'node:https';
import { createSecureContext, type SecureContext } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { GatewayError, messageOf } from '../../base/errors.ts';
import type { Credentials } from './credentials.ts';
import { ProxiedHttpAgent, ProxiedHttpsAgent, parseProxy } from './proxy.ts';

/** What a request is sent with. */
export interface Connection {
  readonly url: URL;
  readonly agent: HttpAgent;
  readonly headers: Credentials['headers'];
}

/** Idle connections to one server that are kept: a list has one request at a time, and few are listed at once. */
const FREE_SOCKETS_MAX = 4;

/** Keeps the connections that belong to one set of credentials. */
export class Connector {
  #agent: HttpAgent | undefined;
  #made: Credentials | undefined;

  /** Connections made with another certificate, CA or proxy are closed: they are what a rotation wants to end. Another token closes none. */
  to(credentials: Credentials): Connection {
    if (this.#agent === undefined || this.#made === undefined || !sameConnection(this.#made, credentials)) {
      this.#agent?.destroy();
      this.#agent = agentFor(credentials);
    }
    this.#made = credentials;
    return { url: new URL(credentials.server), agent: this.#agent, headers: credentials.headers };
  }

  close(): void {
    this.#agent?.destroy();
    this.#agent = undefined;
  }
}

function sameConnection(one: Credentials, other: Credentials): boolean {
  return one === other || isDeepStrictEqual({ ...one, headers: {} }, { ...other, headers: {} });
}

function agentFor(credentials: Credentials): HttpAgent {
  const { server, tlsServerName, insecureSkipTlsVerify, proxyUrl } = credentials;
  const proxy = proxyUrl === undefined ? undefined : parseProxy(proxyUrl);
  const options: AgentOptions = { keepAlive: true, maxFreeSockets: FREE_SOCKETS_MAX };
  if (server.startsWith('http:'))
    return proxy === undefined ? new HttpAgent(options) : new ProxiedHttpAgent(proxy, options);
  const secure: AgentOptions = {
    ...options,
    ...(tlsServerName === undefined ? {} : { servername: tlsServerName }),
    secureContext: contextFor(credentials),
    rejectUnauthorized: !insecureSkipTlsVerify,
  };
  return proxy === undefined ? new HttpsAgent(secure) : new ProxiedHttpsAgent(proxy, secure);
}

/** Made once for all connections: reading a bundle of CAs costs more than a handshake. */
function contextFor({ server, ca, certificate, key }: Credentials): SecureContext {
  try {
    return createSecureContext({
      ...(ca === undefined ? {} : { ca }),
      ...(certificate === undefined || key === undefined ? {} : { cert: certificate, key }),
    });
  } catch (cause) {
    const what = 'the CA, client certificate or key cannot be used';
    throw new GatewayError('ISTHMUS_ERR_KUBERNETES', `${server}: ${what}: ${messageOf(cause)}`, { cause });
  }
}
