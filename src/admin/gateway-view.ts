import {
  cidrHolds,
  cidrKey,
  formatAddress,
  formatCidr,
  type IpAddress,
  parseIpAddress,
} from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import { printConfig } from '../config/print.ts';
import type { Config } from '../config/schema.ts';
import { DROPS_INBOUND, DROPS_OUTBOUND, PEER_CELL, peerCell, sumCell, TOTAL } from '../dataplane/counters.ts';
import type { Dataplane } from '../dataplane/plane.ts';
import type { Publisher } from '../dataplane/publisher.ts';
import type { Fib, PeerInfo } from '../fib/fib.ts';
import type { PathMtuTable } from '../health/path-mtu.ts';
import type { PeerHealth } from '../health/peer-health.ts';
import type { PeerHealthState } from '../health/peer-probes.ts';
import type { UnderlayIcmp } from '../health/underlay-icmp.ts';
import type { TunnelDevice } from '../host/device.ts';
import type { ProblemLog } from '../host/problem-log.ts';
import type { Underlay } from '../host/underlay.ts';
import { DROP_REASONS } from '../packet/verdict.ts';
import type { Refusal } from '../table/route.ts';
import type { Table } from '../table/table.ts';
import type { ClusterNotes } from '../watch/cluster-notes.ts';
import type { ClusterReport } from '../watch/kubernetes/cluster-status.ts';
import type { OwnGatewayFeed } from '../watch/own-gateway.ts';
import type { StreamRegistry } from '../watch/stream-state.ts';
import { clusterDetails } from './cluster-details.ts';
import { traceFlow } from './trace.ts';
import {
  type ClusterDetail,
  type ClusterRow,
  type GatewayView,
  type HealthRow,
  type PeerRow,
  type RefusedRow,
  type ReloadResult,
  type RouteRow,
  type SourceRow,
  STATUS_ROWS_MAX,
  type Status,
  type StreamRow,
  type Trace,
  type TraceQuery,
  type Traffic,
} from './view.ts';

/** What the running gateway is made of, as far as people may see it. The composition root fills it in as the parts come up. */
export interface GatewayState {
  readonly version: string;
  readonly configFile: string;
  config: Config;
  phase: 'starting' | 'running' | 'stopping';
  readonly startedWallMs: number;
  loadedWallMs: number;
  lastReload: { atWallMs: number; ok: boolean; error: string | null } | null;
  reloads: number;
  reloadFailures: number;
  /** What is wrong without stopping the gateway: settings of the host, routes that the kernel refused, a snapshot that cannot be written. */
  readonly problems: ProblemLog;
  /** What the last ICMP error about each peer said. */
  readonly peerErrors: Map<IpAddress, string>;
  underlay: Underlay | undefined;
  device: TunnelDevice | undefined;
  plane: Dataplane | undefined;
}

export interface GatewayParts {
  readonly state: GatewayState;
  readonly table: Table;
  readonly fib: Fib;
  readonly publisher: Publisher;
  readonly pathMtu: PathMtuTable;
  readonly icmp: Pick<UnderlayIcmp, 'counts' | 'unsent'>;
  readonly health: Pick<PeerHealth, 'health' | 'counts'>;
  readonly clock: Clock;
  readonly own: OwnGatewayFeed;
  readonly streams: StreamRegistry;
  readonly notes: ClusterNotes;
  readonly reload: () => Promise<ReloadResult>;
}

/** Dead gateways that are problems by name. */
const DEAD_SHOWN = 5;

/** Answers the admin API from the parts of the running gateway. Reads only. */
export class RunningGatewayView implements GatewayView {
  readonly #parts: GatewayParts;

  constructor(parts: GatewayParts) {
    this.#parts = parts;
  }

  status(): Status {
    const { state, table, fib, publisher, clock } = this.#parts;
    const { config, underlay, device, plane } = state;
    const problems = this.problems();
    const shadows = table.shadows();
    const conflicts = table.conflicts();
    const stats = fib.stats();
    return {
      version: state.version,
      cluster: config.cluster.name,
      state: state.phase === 'running' ? (problems.length === 0 ? 'ok' : 'degraded') : state.phase,
      problems,
      startedAt: iso(state.startedWallMs),
      uptimeSeconds: Math.floor((clock.wallMs() - state.startedWallMs) / 1000),
      underlay: {
        address: underlay === undefined ? 'not known yet' : formatAddress(underlay.address),
        device: underlay?.deviceName ?? 'not known yet',
        mtuBytes: underlay?.mtuBytes ?? 0,
        socket: config.tunnel.underlaySocket,
        transmit: config.tunnel.transmit,
        peersByPacket: plane?.nextHops?.countKnown(fib.peerAddresses()) ?? 0,
      },
      tunnel: {
        device: config.tunnel.device,
        mtuBytes: device?.mtuBytes ?? 0,
        address: config.tunnel.address === null ? null : formatAddress(config.tunnel.address),
        encapsulation: config.tunnel.encapsulation,
        udpPort: config.tunnel.encapsulation === 'fou' ? config.tunnel.fouPort : null,
        engine: 'userspace',
        workers: plane?.running ?? 0,
        workerRestarts: plane?.restarts ?? 0,
      },
      configuration: {
        file: state.configFile,
        loadedAt: iso(state.loadedWallMs),
        lastReload:
          state.lastReload === null
            ? null
            : { at: iso(state.lastReload.atWallMs), ok: state.lastReload.ok, error: state.lastReload.error },
      },
      local: this.#parts.own.current.cidrs.map(formatCidr),
      clusters: this.clusterRows(),
      sources: this.#sources(),
      streams: this.#streams(),
      counts: {
        ...table.counts(),
        peers: fib.peers().length,
      },
      conflicts: conflicts.slice(0, STATUS_ROWS_MAX).map((conflict) => ({
        cidr: formatCidr(conflict.cidr),
        cluster: conflict.cluster,
        claimedBy: conflict.claimedBy,
        detail: conflict.detail,
      })),
      shadows: shadows.slice(0, STATUS_ROWS_MAX).map((shadow) => ({
        cidr: formatCidr(shadow.cidr),
        cluster: shadow.cluster,
        within: formatCidr(shadow.within),
        withinCluster: shadow.withinCluster,
      })),
      traffic: this.#traffic(),
      fib: {
        prefixes: stats.prefixes,
        bytesUsed: stats.bytesUsed,
        bytesCapacity: stats.bytesCapacity,
        epoch: stats.epoch,
        lastPublishMs: publisher.lastPublishMs,
      },
    };
  }

  *routes(): Iterable<RouteRow> {
    const { table } = this.#parts;
    const alive = this.#aliveByAddress();
    const shadows = new Map(table.shadows().map(({ cidr, within }) => [cidrKey(cidr), within]));
    for (const route of table.routes()) {
      const within = shadows.get(cidrKey(route.cidr));
      yield {
        cidr: formatCidr(route.cidr),
        cluster: route.cluster,
        gateways: route.gateways.map(({ address, weight }) => ({
          address: formatAddress(address),
          weight,
          alive: alive.get(address) ?? false,
        })),
        origins: [...route.origins],
        stale: route.stale,
        since: iso(route.sinceMs),
        shadows: within === undefined ? null : formatCidr(within),
      };
    }
  }

  *refused(): Iterable<RefusedRow> {
    for (const refusal of this.#parts.table.refusals()) yield refusedRow(refusal);
  }

  *peers(): Iterable<PeerRow> {
    const { fib, state, pathMtu } = this.#parts;
    const blocks = state.plane?.counterBlocks ?? [];
    const linkMtu = state.underlay?.mtuBytes ?? 0;
    for (const peer of fib.peers()) {
      const cell = (which: number) => sumCell(blocks, peerCell(peer.index) + which);
      yield {
        address: formatAddress(peer.address),
        clusters: [...peer.clusters],
        alive: peer.alive,
        pathMtuBytes: effectiveMtu(peer, linkMtu),
        pathMtuSource: pathMtu.source(peer.address) ?? 'link',
        health: healthRow(this.#parts.health.health(peer.address), state.config.health.probes !== 'off'),
        transmit: state.plane?.nextHops?.has(peer.index, peer.address) === true ? 'packet' : 'raw',
        lastError: state.peerErrors.get(peer.address) ?? null,
        outbound: {
          packets: cell(PEER_CELL.OUTBOUND_PACKETS),
          bytes: cell(PEER_CELL.OUTBOUND_BYTES),
          drops: cell(PEER_CELL.OUTBOUND_DROPS),
        },
        inbound: {
          packets: cell(PEER_CELL.INBOUND_PACKETS),
          bytes: cell(PEER_CELL.INBOUND_BYTES),
          drops: cell(PEER_CELL.INBOUND_DROPS),
        },
      };
    }
  }

  clusters(): ClusterDetail[] {
    const { state, table, notes, streams } = this.#parts;
    return clusterDetails({
      configured: state.config.clusters.map(({ name }) => name),
      rows: this.clusterRows(),
      sourcesOf: new Map(table.clusters().map(({ name, sources }) => [name, sources])),
      sources: table.sources(),
      streams: streams.list(),
      notes,
    });
  }

  /** What this gateway writes into the RemoteCluster of that name; undefined while it does not know. */
  report(cluster: string): ClusterReport | undefined {
    const detail = this.clusters().find(({ name }) => name === cluster);
    if (detail === undefined || this.#parts.state.phase !== 'running') return undefined;
    const { routes, gateways, state, problems, lastUpdateAt } = detail;
    const withoutRoutes = state === 'no-routes' ? 'no route to it' : undefined;
    return {
      routes,
      gateways,
      stale: state === 'stale',
      reason: problems[0] ?? withoutRoutes,
      lastContactMs: lastUpdateAt === null ? null : Date.parse(lastUpdateAt),
    };
  }

  trace(query: TraceQuery): Trace {
    const { table, fib, state, own } = this.#parts;
    const destination = parseIpAddress(query.destination);
    const refused: RefusedRow[] = [];
    for (const refusal of table.refusals())
      if (cidrHolds(refusal.cidr, destination)) refused.push(refusedRow(refusal));
    return traceFlow({
      query,
      destination,
      local: own.current.cidrs,
      candidates: table.candidates(destination),
      refused,
      fib,
      linkMtuBytes: state.underlay?.mtuBytes ?? 0,
    });
  }

  reload(): Promise<ReloadResult> {
    return this.#parts.reload();
  }

  configuration(): string {
    return printConfig(this.#parts.state.config);
  }

  readiness(): { ready: boolean; reasons: string[] } {
    const { state, table } = this.#parts;
    const reasons: string[] = [];
    if (state.phase !== 'running') reasons.push(`the gateway is ${state.phase}`);
    if (state.plane !== undefined && state.plane.running === 0) reasons.push('no packet worker runs');
    for (const problem of state.problems.host) if (problem.isFatal) reasons.push(problem.message);
    for (const source of table.sources()) {
      // A stale source keeps its routes, so traffic flows and restarting this pod would only lose more: not a reason.
      if (source.state === 'waiting') reasons.push(`source ${source.name} has not been read yet`);
    }
    return { ready: reasons.length === 0, reasons };
  }

  problems(): string[] {
    const { state, table, publisher, fib } = this.#parts;
    const problems = state.problems.list();
    if (publisher.isBehind)
      problems.push('the FIB image is full: the packet path has older routes than the table');
    if (state.lastReload !== null && !state.lastReload.ok) {
      problems.push(
        `the configuration file is wrong, the previous one stays in force: ${state.lastReload.error ?? ''}`,
      );
    }
    for (const source of table.sources()) {
      if (source.state === 'stale')
        problems.push(`source ${source.name} is stale: ${source.reason ?? 'no reason given'}`);
      if (source.held !== undefined) {
        problems.push(
          `source ${source.name} withdrew ${source.held.claims} claims at once; they stay until ${iso(source.held.untilMs)}`,
        );
      }
    }
    for (const { address } of fib.peers()) {
      if (this.#parts.health.health(address)?.answersPlainOnly === true)
        problems.push(
          `gateway ${formatAddress(address)} answers plain UDP and nothing in the tunnel: IP protocol 4 is blocked on the way, see docs/troubleshooting.md`,
        );
    }
    const dead = fib.peers().filter(({ alive }) => !alive);
    for (const { address, clusters } of dead.slice(0, DEAD_SHOWN)) {
      problems.push(
        `gateway ${formatAddress(address)} of ${clusters.join(', ')} does not answer probes: its flows go to others, if there are any`,
      );
    }
    if (dead.length > DEAD_SHOWN) problems.push(`${dead.length - DEAD_SHOWN} more gateways do not answer`);
    const plane = state.plane;
    if (plane !== undefined && plane.running < plane.configured) {
      problems.push(
        `${plane.configured - plane.running} of ${plane.configured} packet workers are being restarted`,
      );
    }
    return problems;
  }

  clusterRows(): ClusterRow[] {
    const alive = this.#aliveByAddress();
    return this.#parts.table.clusters().map(({ name, routes, staleRoutes, gateways }) => ({
      name,
      routes,
      gateways: gateways.size,
      gatewaysAlive: [...gateways].filter((address) => alive.get(address) === true).length,
      stale: staleRoutes > 0,
    }));
  }

  #aliveByAddress(): Map<IpAddress, boolean> {
    return new Map(this.#parts.fib.peers().map((peer) => [peer.address, peer.alive]));
  }

  #sources(): SourceRow[] {
    return this.#parts.table.sources().map((source) => ({
      name: source.name,
      state: source.state,
      reason: source.reason ?? null,
      claims: source.claims,
      refused: source.refused,
      lastUpdateAt: source.lastUpdateMs === undefined ? null : iso(source.lastUpdateMs),
      held:
        source.held === undefined ? null : { claims: source.held.claims, until: iso(source.held.untilMs) },
    }));
  }

  #streams(): StreamRow[] {
    return this.#parts.streams.list().map((stream) => ({
      source: stream.source,
      resource: stream.resource,
      phase: stream.phase,
      objects: stream.objects,
      lastEventAt: stream.lastEventMs === null ? null : iso(stream.lastEventMs),
      lists: { ...stream.lists },
      events: stream.events,
      errors: stream.errors,
      problem: stream.problem,
    }));
  }

  #traffic(): Traffic {
    const blocks = this.#parts.state.plane?.counterBlocks ?? [];
    const total = (cell: number) => sumCell(blocks, cell);
    return {
      outbound: {
        packets: total(TOTAL.OUTBOUND_PACKETS),
        bytes: total(TOTAL.OUTBOUND_BYTES),
        drops: drops(blocks, 'outbound', DROPS_OUTBOUND),
      },
      inbound: {
        packets: total(TOTAL.INBOUND_PACKETS),
        bytes: total(TOTAL.INBOUND_BYTES),
        drops: drops(blocks, 'inbound', DROPS_INBOUND),
      },
      fragmented: total(TOTAL.FRAGMENTED),
      mssClamped: total(TOTAL.MSS_CLAMPED),
      icmpSent: total(TOTAL.ICMP_QUEUED) - this.#parts.icmp.unsent,
      icmpSuppressed: total(TOTAL.ICMP_SUPPRESSED) + this.#parts.icmp.unsent,
    };
  }
}

function healthRow(health: PeerHealthState | undefined, isProbed: boolean): HealthRow {
  return {
    isProbed,
    state: health?.state ?? 'unknown',
    answers: health?.answers ?? null,
    roundTripMs: health?.roundTripMs ?? null,
    jitterMs: health?.jitterMs ?? null,
    loss: health?.loss ?? null,
    answersPlainOnly: health?.answersPlainOnly ?? false,
  };
}

/** A path MTU of 0 in the image means that nothing was learned: the underlay device's holds. */
export function effectiveMtu(peer: PeerInfo, linkMtuBytes: number): number {
  return peer.pathMtuBytes === 0 ? linkMtuBytes : Math.min(peer.pathMtuBytes, linkMtuBytes);
}

/** Every reason of the direction that was counted at least once. */
function drops(blocks: readonly Float64Array[], direction: string, base: number): Record<string, number> {
  const result: Record<string, number> = {};
  for (const reason of DROP_REASONS) {
    if (reason.verdict === 0 || (reason.direction !== 'both' && reason.direction !== direction)) continue;
    const count = sumCell(blocks, base + reason.verdict);
    if (count > 0) result[reason.name] = count;
  }
  return result;
}

function refusedRow(refusal: Refusal): RefusedRow {
  const { cidr, cluster, source, id, reason, detail } = refusal;
  return { cidr: formatCidr(cidr), cluster, source, id, reason, detail };
}

function iso(wallMs: number): string {
  return new Date(wallMs).toISOString();
}
