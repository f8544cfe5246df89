import type { AdminContext } from '../../../src/admin/routes.ts';
import type {
  ClusterDetail,
  GatewayView,
  PeerRow,
  RefusedRow,
  RouteRow,
  Status,
  Trace,
} from '../../../src/admin/view.ts';

/** What a gateway of cluster east with one remote cluster says of itself. */
export const STATUS: Status = {
  version: '1.2.3',
  cluster: 'east',
  state: 'degraded',
  problems: ['source file:/etc/isthmus/west.yaml is stale: no such file'],
  startedAt: '2026-01-02T03:04:05.000Z',
  uptimeSeconds: 100_000,
  underlay: {
    address: '172.31.0.1',
    device: 'eth0',
    mtuBytes: 1500,
    socket: 'batch',
    transmit: 'packet',
    peersByPacket: 1,
  },
  tunnel: {
    device: 'isthmus0',
    mtuBytes: 1480,
    address: null,
    encapsulation: 'ipip',
    udpPort: null,
    engine: 'userspace',
    workers: 2,
    workerRestarts: 1,
  },
  configuration: {
    file: '/etc/isthmus/isthmus.yaml',
    loadedAt: '2026-01-02T03:04:05.000Z',
    lastReload: { at: '2026-01-02T04:04:05.000Z', ok: false, error: 'isthmus.yaml:3:1: bad' },
  },
  local: ['10.1.0.0/16', '10.96.0.0/16'],
  clusters: [{ name: 'west', routes: 12, gateways: 2, gatewaysAlive: 1, stale: true }],
  sources: [
    {
      name: 'file:/etc/isthmus/west.yaml',
      state: 'stale',
      reason: 'no such file',
      claims: 12,
      refused: 1,
      lastUpdateAt: '2026-01-02T03:05:00.000Z',
      held: { claims: 7, until: '2026-01-02T05:00:00.000Z' },
    },
  ],
  streams: [
    {
      source: 'kubernetes:west',
      resource: 'nodes',
      phase: 'waiting',
      objects: 5,
      lastEventAt: '2026-01-02T03:05:00.000Z',
      lists: { start: 1, expired: 2, 'closed-early': 0, silent: 0, error: 3 },
      events: 70,
      errors: 4,
      problem: 'connection refused',
    },
  ],
  counts: { routes: 12, peers: 2, refused: 1, conflicts: 1, shadows: 1 },
  conflicts: [{ cidr: '10.2.0.0/16', cluster: 'west', claimedBy: 'north', detail: 'west was there first' }],
  shadows: [{ cidr: '10.2.3.0/24', cluster: 'north', within: '10.2.0.0/16', withinCluster: 'west' }],
  traffic: {
    outbound: { packets: 1_234_567, bytes: 1_500_000_000, drops: { 'no-route': 4, 'too-big': 0 } },
    inbound: { packets: 999, bytes: 1023, drops: { 'spoofed-source': 2 } },
    fragmented: 0,
    mssClamped: 3,
    icmpSent: 1,
    icmpSuppressed: 0,
  },
  fib: { prefixes: 12, bytesUsed: 266_240, bytesCapacity: 67_108_864, epoch: 5, lastPublishMs: 0.25 },
};

export const ROUTES: RouteRow[] = [
  {
    cidr: '10.2.0.0/16',
    cluster: 'west',
    gateways: [
      { address: '172.31.0.2', weight: 1, alive: true },
      { address: '172.31.0.3', weight: 3, alive: false },
    ],
    origins: ['file:/etc/isthmus/west.yaml/west'],
    stale: true,
    since: '2026-01-02T03:05:00.000Z',
    shadows: null,
  },
  {
    cidr: '10.2.3.0/24',
    cluster: 'north',
    gateways: [{ address: '172.31.0.9', weight: 1, alive: true }],
    origins: ['static/north'],
    stale: false,
    since: '2026-01-02T03:04:06.000Z',
    shadows: '10.2.0.0/16',
  },
];

export const REFUSED: RefusedRow[] = [
  {
    cidr: '10.1.7.0/24',
    cluster: 'west',
    source: 'static',
    id: 'west',
    reason: 'inside-local',
    detail: '10.1.7.0/24 lies in 10.1.0.0/16, which is ours',
  },
];

export const PEERS: PeerRow[] = [
  {
    address: '172.31.0.2',
    clusters: ['west'],
    alive: true,
    pathMtuBytes: 1400,
    pathMtuSource: 'icmp',
    health: {
      isProbed: true,
      state: 'alive',
      answers: 'isthmus',
      roundTripMs: 1.25,
      jitterMs: 0.5,
      loss: 0.0625,
      answersPlainOnly: false,
    },
    transmit: 'packet',
    lastError: null,
    outbound: { packets: 1_234_567, bytes: 5_368_709_120, drops: 0 },
    inbound: { packets: 12, bytes: 900, drops: 1 },
  },
];

export const CLUSTERS: ClusterDetail[] = [
  {
    name: 'north',
    state: 'no-routes',
    routes: 0,
    gateways: 0,
    gatewaysAlive: 0,
    stale: false,
    sources: [],
    lastUpdateAt: null,
    origin: 'RemoteCluster/north',
    server: 'https://10.9.0.1:6443',
    dns: null,
    problems: ['GET /api/v1/nodes at https://10.9.0.1:6443: 403 Forbidden'],
  },
  {
    name: 'west',
    state: 'stale',
    routes: 12,
    gateways: 2,
    gatewaysAlive: 1,
    stale: true,
    sources: ['file:/etc/isthmus/west.yaml'],
    lastUpdateAt: '2026-01-02T03:05:00.000Z',
    origin: 'configuration',
    server: null,
    dns: { address: '10.112.0.10', domain: 'cluster.local' },
    problems: ['source file:/etc/isthmus/west.yaml is stale: no such file'],
  },
];

export const TRACE: Trace = {
  destination: '10.2.3.4',
  verdict: 'remote',
  reason: 'the longest prefix that holds it is 10.2.0.0/16 of west',
  cidr: '10.2.0.0/16',
  cluster: 'west',
  gateway: null,
  gateways: [
    { address: '172.31.0.2', weight: 1, alive: true, pathMtuBytes: 1400, share: 0.25 },
    { address: '172.31.0.3', weight: 3, alive: true, pathMtuBytes: 1500, share: 0.75 },
  ],
  innerMtuBytes: 1380,
  candidates: [{ cidr: '10.2.0.0/16', cluster: 'west', used: true, why: 'longest prefix' }],
  refused: REFUSED,
};

/** A view that answers with the constants above; every part can be replaced. */
function fakeView(replaced: Partial<GatewayView> = {}): GatewayView {
  return {
    status: () => STATUS,
    routes: () => ROUTES,
    refused: () => REFUSED,
    peers: () => PEERS,
    clusters: () => CLUSTERS,
    trace: () => TRACE,
    reload: async () => ({ ok: true, changed: ['log.level'], restartNeeded: [], error: null }),
    configuration: () => 'cluster:\n  name: east\n',
    readiness: () => ({ ready: true, reasons: [] }),
    ...replaced,
  };
}

export function fakeContext(replaced: Partial<GatewayView> = {}): AdminContext {
  return {
    view: fakeView(replaced),
    metrics: {
      contentType: 'text/plain; version=0.0.4; charset=utf-8',
      text: async () => 'isthmus_ready 1\n',
    },
  };
}
