import { formatAddress } from '../base/address.ts';
import type { MetricsSource } from '../observe/metrics-source.ts';
import { effectiveMtu, type GatewayParts, type RunningGatewayView } from './gateway-view.ts';

/** What a scrape reads from the parts of the running gateway. */
export function gatewayMetrics(parts: GatewayParts, view: RunningGatewayView): MetricsSource {
  const { state, table, fib } = parts;
  return {
    version: state.version,
    counterBlocks: () => state.plane?.counterBlocks ?? [],
    peers: () =>
      fib.peers().map((peer) => ({
        index: peer.index,
        address: formatAddress(peer.address),
        clusters: peer.clusters,
        alive: peer.alive,
        pathMtuBytes: effectiveMtu(peer, state.underlay?.mtuBytes ?? 0),
        health: parts.health.health(peer.address),
      })),
    clusters: () => view.clusterRows(),
    sources: () => table.sources(),
    streams: () => parts.streams.list(),
    wallMs: () => parts.clock.wallMs(),
    counts: () => table.counts(),
    fib: () => fib.stats(),
    icmp: () => parts.icmp.counts,
    probes: () => parts.health.counts,
    workers: () => ({
      configured: state.plane?.configured ?? 0,
      running: state.plane?.running ?? 0,
      restarts: state.plane?.restarts ?? 0,
    }),
    configuration: () => ({
      lastReloadOk: state.lastReload?.ok ?? true,
      lastReloadAtMs: state.lastReload?.atWallMs ?? state.startedWallMs,
      reloads: state.reloads,
      reloadFailures: state.reloadFailures,
    }),
    hostProblems: () => state.problems.host.length,
    ready: () => view.readiness().ready,
  };
}
