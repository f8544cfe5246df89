import { GatewayError } from '../base/errors.ts';
import type { MetricsText } from '../observe/metrics.ts';
import { failure, json, jsonList, type Reply, text } from './reply.ts';
import type { GatewayView, TraceQuery } from './view.ts';

export interface AdminContext {
  readonly view: GatewayView;
  readonly metrics: MetricsText;
}

export interface AdminRoute {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly summary: string;
  /** Names of the query parameters it understands; any other is an error, because a misspelt filter would return everything. */
  readonly query: readonly string[];
  handle(context: AdminContext, query: ReadonlyMap<string, string>): Reply | Promise<Reply>;
}

const TRACE_QUERY = ['destination', 'source', 'protocol', 'sourcePort', 'destinationPort'] as const;

/** docs/admin-api.md lists them; a test compares the two. */
export const ADMIN_ROUTES: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/',
    summary: 'this list',
    query: [],
    handle: () => text(indexText()),
  },
  {
    method: 'GET',
    path: '/healthz',
    summary: '200 while the process answers',
    query: [],
    handle: () => text('ok\n'),
  },
  {
    method: 'GET',
    path: '/readyz',
    summary: '200 when the gateway forwards, else 503, with the reasons',
    query: [],
    handle({ view }) {
      const readiness = view.readiness();
      return json(readiness, readiness.ready ? 200 : 503);
    },
  },
  {
    method: 'GET',
    path: '/metrics',
    summary: 'metrics for Prometheus',
    query: [],
    handle: async ({ metrics }) => ({ status: 200, type: metrics.contentType, body: await metrics.text() }),
  },
  {
    method: 'GET',
    path: '/api/v1/status',
    summary: 'the state of the gateway',
    query: [],
    handle: ({ view }) => json(view.status()),
  },
  {
    method: 'GET',
    path: '/api/v1/routes',
    summary: 'the routes; ?cluster=NAME for those of one cluster',
    query: ['cluster'],
    handle: ({ view }, query) => jsonList(ofCluster(view.routes(), query.get('cluster'))),
  },
  {
    method: 'GET',
    path: '/api/v1/routes/refused',
    summary: 'the claims that made no route, and why; ?cluster=NAME',
    query: ['cluster'],
    handle: ({ view }, query) => jsonList(ofCluster(view.refused(), query.get('cluster'))),
  },
  {
    method: 'GET',
    path: '/api/v1/peers',
    summary: 'the gateways that packets are exchanged with',
    query: [],
    handle: ({ view }) => jsonList(view.peers()),
  },
  {
    method: 'GET',
    path: '/api/v1/clusters',
    summary: 'the remote clusters: how fresh, from where, how many gateways, what is wrong',
    query: [],
    handle: ({ view }) => jsonList(view.clusters()),
  },
  {
    method: 'GET',
    path: '/api/v1/trace',
    summary: 'what becomes of a packet; ?destination=A[&source=A&protocol=P&sourcePort=N&destinationPort=N]',
    query: TRACE_QUERY,
    handle: ({ view }, query) => json(view.trace(traceQuery(query))),
  },
  {
    method: 'GET',
    path: '/api/v1/configuration',
    summary: 'the configuration in force, with defaults, as YAML',
    query: [],
    handle: ({ view }) => ({
      status: 200,
      type: 'application/yaml; charset=utf-8',
      body: view.configuration(),
    }),
  },
  {
    method: 'POST',
    path: '/api/v1/reload',
    summary: 'read the configuration file again; 422 when it is bad and the old one stays',
    query: [],
    async handle({ view }) {
      const result = await view.reload();
      return json(result, result.ok ? 200 : 422);
    },
  },
];

function indexText(): string {
  const width = Math.max(...ADMIN_ROUTES.map(({ path }) => path.length));
  const lines = ADMIN_ROUTES.map(
    ({ method, path, summary }) => `${method.padEnd(4)} ${path.padEnd(width)}  ${summary}\n`,
  );
  return `isthmus admin API\n\n${lines.join('')}`;
}

function* ofCluster<T extends { cluster: string }>(
  rows: Iterable<T>,
  cluster: string | undefined,
): Iterable<T> {
  for (const row of rows) if (cluster === undefined || row.cluster === cluster) yield row;
}

function traceQuery(query: ReadonlyMap<string, string>): TraceQuery {
  const destination = query.get('destination');
  if (destination === undefined) {
    throw new GatewayError('ISTHMUS_ERR_USAGE', 'the query parameter destination is missing');
  }
  const source = query.get('source');
  const protocol = query.get('protocol');
  const sourcePort = portOf(query, 'sourcePort');
  const destinationPort = portOf(query, 'destinationPort');
  return {
    destination,
    ...(source === undefined ? {} : { source }),
    ...(protocol === undefined ? {} : { protocol }),
    ...(sourcePort === undefined ? {} : { sourcePort }),
    ...(destinationPort === undefined ? {} : { destinationPort }),
  };
}

function portOf(query: ReadonlyMap<string, string>, name: string): number | undefined {
  const digits = query.get(name);
  if (digits === undefined) return undefined;
  if (!/^\d{1,5}$/.test(digits) || Number(digits) > 65_535) {
    throw new GatewayError('ISTHMUS_ERR_USAGE', `${name}: expected a port from 0 to 65535, got "${digits}"`);
  }
  return Number(digits);
}

/** The reply to a target such as `/api/v1/trace?destination=10.2.0.1`. */
export async function answer(context: AdminContext, method: string, target: string): Promise<Reply> {
  const [path = '', search = ''] = target.split('?', 2);
  const candidates = ADMIN_ROUTES.filter((route) => route.path === path);
  if (candidates.length === 0)
    return failure(404, 'not-found', `there is no ${path.slice(0, 200)}; GET / lists what there is`);
  // RFC 9110 §9.3.2: HEAD is GET without the content, which send() leaves out.
  const wanted = method === 'HEAD' ? 'GET' : method;
  const route = candidates.find((candidate) => candidate.method === wanted);
  if (route === undefined) {
    const methods = candidates.map((candidate) =>
      candidate.method === 'GET' ? 'GET, HEAD' : candidate.method,
    );
    const allow = methods.join(', ');
    return failure(405, 'method-not-allowed', `${path} takes ${allow}`, { Allow: allow });
  }
  const query = parseQuery(search, route.query);
  return typeof query === 'string' ? failure(400, 'bad-request', query) : route.handle(context, query);
}

/** A string says what is wrong. */
function parseQuery(search: string, known: readonly string[]): ReadonlyMap<string, string> | string {
  const query = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(search)) {
    if (!known.includes(name)) {
      return `unknown query parameter "${name}"; known here: ${known.length === 0 ? 'none' : known.join(', ')}`;
    }
    if (query.has(name)) return `the query parameter ${name} stands there twice`;
    query.set(name, value);
  }
  return query;
}
