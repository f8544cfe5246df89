import { Agent as HttpAgent } from 'node:http';
import { type AgentOptions, Agent as HttpsAgent } from 'node:https';
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
  const { server, ca, certificate, key, tlsServerName, insecureSkipTlsVerify, proxyUrl } = credentials;
  const proxy = proxyUrl === undefined ? undefined : parseProxy(proxyUrl);
  const options: AgentOptions = { keepAlive: true, maxFreeSockets: FREE_SOCKETS_MAX };
  if (server.startsWith('http:'))
    return proxy === undefined ? new HttpAgent(options) : new ProxiedHttpAgent(proxy, options);
  const secure: AgentOptions = {
    ...options,
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined || key === undefined ? {} : { cert: certificate, key }),
    ...(tlsServerName === undefined ? {} : { servername: tlsServerName }),
    rejectUnauthorized: !insecureSkipTlsVerify,
  };
  try {
    return proxy === undefined ? new HttpsAgent(secure) : new ProxiedHttpsAgent(proxy, secure);
  } catch (cause) {
    throw new GatewayError('ISTHMUS_ERR_KUBERNETES', `certificate for ${server}: ${messageOf(cause)}`, {
      cause,
    });
  }
}
