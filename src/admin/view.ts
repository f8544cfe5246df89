import type { LivenessState } from '../health/liveness.ts';
import type { ProbeAnswer } from '../health/peer-probes.ts';
import type { RefusalReason, SourceState } from '../table/route.ts';
import type { StreamState } from '../watch/stream-state.ts';

/**
 * The shapes of the admin API, /api/v1/…, and the view of the running gateway that it serves. Addresses and CIDRs are text here;
 * times are ISO 8601; sizes end in their unit.
 */
export interface GatewayView {
  status(): Status;
  /** Made row by row while they are read: what changes meanwhile may or may not be in them. */
  routes(): Iterable<RouteRow>;
  refused(): Iterable<RefusedRow>;
  peers(): Iterable<PeerRow>;
  /** Remote clusters by name. */
  clusters(): Iterable<ClusterDetail>;
  /** `address` is text; throws ISTHMUS_ERR_ADDRESS. */
  trace(query: TraceQuery): Trace;
  /** Reads the configuration file again; resolves with what came of it, also when the file is bad. */
  reload(): Promise<ReloadResult>;
  /** The configuration in force, with defaults, as YAML. */
  configuration(): string;
  readiness(): { ready: boolean; reasons: string[] };
}

/** Conflicts and shadows in a status: it is asked for every few seconds, and there may be one for each route. */
export const STATUS_ROWS_MAX = 1000;

/** As `tunnel.transmit`. */
export type Transmit = 'raw' | 'packet';

export interface Status {
  version: string;
  cluster: string;
  /** `ok`: forwarding and everything fresh. `degraded`: forwarding, but see `problems`. */
  state: 'starting' | 'ok' | 'degraded' | 'stopping';
  problems: string[];
  startedAt: string;
  uptimeSeconds: number;
  underlay: {
    address: string;
    device: string;
    mtuBytes: number;
    socket: 'batch' | 'raw-socket';
    transmit: Transmit;
    /** With `packet`: peers whose next hop is known; packets to the others leave by the raw socket. */
    peersByPacket: number;
  };
  tunnel: {
    device: string;
    mtuBytes: number;
    address: string | null;
    encapsulation: 'ipip' | 'fou';
    /** UDP port to which packets come; null with ipip. */
    udpPort: number | null;
    engine: 'userspace';
    workers: number;
    workerRestarts: number;
  };
  configuration: {
    file: string;
    loadedAt: string;
    lastReload: { at: string; ok: boolean; error: string | null } | null;
  };
  local: string[];
  clusters: ClusterRow[];
  sources: SourceRow[];
  /** The list-watches behind the sources that have some. */
  streams: StreamRow[];
  counts: { routes: number; peers: number; refused: number; conflicts: number; shadows: number };
  /** At most STATUS_ROWS_MAX of each; `counts` has how many there are. */
  conflicts: { cidr: string; cluster: string; claimedBy: string; detail: string }[];
  shadows: { cidr: string; cluster: string; within: string; withinCluster: string }[];
  traffic: Traffic;
  fib: { prefixes: number; bytesUsed: number; bytesCapacity: number; epoch: number; lastPublishMs: number };
}

export interface ClusterRow {
  name: string;
  routes: number;
  gateways: number;
  gatewaysAlive: number;
  stale: boolean;
}

/** One remote cluster with all that is known of it: also one that has no route yet. */
export interface ClusterDetail extends ClusterRow {
  /** `stale`: every source of some route of it is away. `unreachable`: it has routes, but no gateway is in use. `no-routes`: it is only known by name. */
  state: 'fresh' | 'stale' | 'unreachable' | 'no-routes';
  /** Names of the sources that its routes are from. */
  sources: string[];
  /** The last word of any of them. */
  lastUpdateAt: string | null;
  /** Where we learned of it: `RemoteCluster/west`, `configuration`. */
  origin: string | null;
  /** The API server or etcd that it is read from; null where its CIDRs are static. */
  server: string | null;
  /** Its resolver, a service address there, and the domain that it answers for; null where nobody told. */
  dns: { address: string; domain: string } | null;
  problems: string[];
}

export interface SourceRow extends Omit<SourceState, 'lastUpdateMs' | 'held' | 'reason'> {
  reason: string | null;
  lastUpdateAt: string | null;
  held: { claims: number; until: string } | null;
}

export interface StreamRow extends Omit<StreamState, 'lastEventMs'> {
  lastEventAt: string | null;
}

export interface Traffic {
  outbound: { packets: number; bytes: number; drops: Record<string, number> };
  inbound: { packets: number; bytes: number; drops: Record<string, number> };
  fragmented: number;
  mssClamped: number;
  icmpSent: number;
  icmpSuppressed: number;
}

export interface RouteRow {
  cidr: string;
  cluster: string;
  gateways: { address: string; weight: number; alive: boolean }[];
  origins: string[];
  stale: boolean;
  since: string;
  /** The shorter prefix of another cluster that this one lies in. */
  shadows: string | null;
}

export interface RefusedRow {
  cidr: string;
  cluster: string;
  source: string;
  id: string;
  reason: RefusalReason;
  detail: string;
}

export interface PeerRow {
  address: string;
  clusters: string[];
  alive: boolean;
  pathMtuBytes: number;
  /** Where the path MTU comes from: the underlay device, a router that said so, or probes. */
  pathMtuSource: 'link' | 'icmp' | 'probe';
  health: HealthRow;
  /** By which socket packets to it leave now. */
  transmit: Transmit;
  lastError: string | null;
  outbound: { packets: number; bytes: number; drops: number };
  inbound: { packets: number; bytes: number; drops: number };
}

/** What probes say of a peer. */
export interface HealthRow {
  /** False with `health.probes: off`. */
  isProbed: boolean;
  state: LivenessState;
  /** `isthmus`: it answers probes itself. `reflected`: it forwards them back to us. null: it has answered none. */
  answers: ProbeAnswer | null;
  /** Smoothed, and its mean deviation. */
  roundTripMs: number | null;
  jitterMs: number | null;
  /** Share of the last 128 probes that were lost, 0 to 1. */
  loss: number | null;
  /** It answers plain UDP and nothing that is in the tunnel: protocol 4 does not get through. */
  answersPlainOnly: boolean;
}

export interface TraceQuery {
  /** Inner destination. */
  destination: string;
  /** Inner source, protocol (`tcp`, `udp`, `icmp` or a number) and ports: with them the gateway of exactly this flow. */
  source?: string;
  protocol?: string;
  sourcePort?: number;
  destinationPort?: number;
}

export interface Trace {
  destination: string;
  /** `remote`: goes through the tunnel. `local`: ours. `unreachable`: no route, or no gateway alive. */
  verdict: 'remote' | 'local' | 'unreachable';
  /** A sentence. */
  reason: string;
  cidr: string | null;
  cluster: string | null;
  /** Chosen for the flow asked about; null when no source was given and there is more than one. */
  gateway: string | null;
  gateways: { address: string; weight: number; alive: boolean; pathMtuBytes: number; share: number }[];
  /** Largest inner packet that goes through unfragmented. */
  innerMtuBytes: number | null;
  /** Every route that holds the address, longest first, and why it is used or not. */
  candidates: { cidr: string; cluster: string; used: boolean; why: string }[];
  /** Refused claims that would hold the address. */
  refused: RefusedRow[];
}

export interface ReloadResult {
  ok: boolean;
  changed: string[];
  /** Fields that take effect only after a restart. */
  restartNeeded: string[];
  error: string | null;
}
