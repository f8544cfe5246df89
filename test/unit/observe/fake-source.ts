import { counterBytes } from '../../../src/dataplane/counters.ts';
import type { MetricsSource } from '../../../src/observe/metrics-source.ts';

/** Two engines' counter blocks with room for `peers` peers, all at 0. */
export function emptyBlocks(peers: number): [Float64Array, Float64Array] {
  const block = () => new Float64Array(new SharedArrayBuffer(counterBytes(peers)));
  return [block(), block()];
}

/** A gateway with one peer, one cluster and one source; every part can be replaced. */
export function fakeSource(replaced: Partial<MetricsSource> = {}): MetricsSource {
  const blocks = emptyBlocks(4);
  return {
    version: '1.2.3',
    counterBlocks: () => blocks,
    peers: () => [
      {
        ...{ index: 0, address: '172.31.0.2', clusters: ['west'], alive: true, pathMtuBytes: 1500 },
        health: {
          ...{ state: 'alive', answers: 'isthmus', roundTripMs: 1.5, jitterMs: 0.25, loss: 0.125 },
          ...{ sent: 64, answered: 56, answersPlainOnly: false },
        },
      },
    ],
    clusters: () => [{ name: 'west', routes: 3, gateways: 2, gatewaysAlive: 1 }],
    sources: () => [
      { name: 'static', state: 'fresh', claims: 3, refused: 1, lastUpdateMs: 1_700_000_000_500 },
    ],
    streams: () => [
      {
        source: 'kubernetes:west',
        resource: 'nodes',
        phase: 'watching',
        objects: 5,
        lastEventMs: 1_700_000_000_000,
        lists: { start: 1, expired: 2, 'closed-early': 0, silent: 0, error: 3 },
        events: 70,
        errors: 4,
        problem: null,
      },
      {
        source: 'kubernetes:west',
        resource: 'servicecidrs.networking.k8s.io',
        phase: 'waiting',
        objects: 0,
        lastEventMs: null,
        lists: { start: 1, expired: 0, 'closed-early': 0, silent: 0, error: 0 },
        events: 0,
        errors: 1,
        problem: 'connection refused',
      },
    ],
    wallMs: () => 1_700_000_012_500,
    counts: () => ({ refused: 1, conflicts: 2, shadows: 3 }),
    fib: () => ({ prefixes: 3, bytesUsed: 4096, bytesCapacity: 65_536, epoch: 7, groups: 2, peers: 1 }),
    icmp: () => ({
      ...{ accepted: 9, ignored: 4, relayed: 3, notForSender: 2 },
      ...{ unknownSender: 1, unanswerable: 1, overLimit: 2 },
    }),
    probes: () => ({ answeredRequests: 60, refusedRequests: 2, unexpected: 3, unsent: 4 }),
    workers: () => ({ configured: 2, running: 1, restarts: 5 }),
    configuration: () => ({
      lastReloadOk: false,
      lastReloadAtMs: 1_700_000_001_000,
      reloads: 4,
      reloadFailures: 1,
    }),
    hostProblems: () => 1,
    ready: () => true,
    ...replaced,
  };
}
