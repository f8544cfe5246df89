import type { PeerHealthState } from '../health/peer-probes.ts';
import type { ProbeCounts } from '../health/prober.ts';
import type { SourceState } from '../table/route.ts';
import type { StreamState } from '../watch/stream-state.ts';

/** What the metrics read at scrape time. Nothing is set per packet. */
export interface MetricsSource {
  version: string;
  /** One block for each engine; layout in dataplane/counters.ts. */
  counterBlocks(): readonly Float64Array[];
  peers(): readonly {
    index: number;
    address: string;
    clusters: readonly string[];
    alive: boolean;
    pathMtuBytes: number;
    health: PeerHealthState | undefined;
  }[];
  clusters(): readonly { name: string; routes: number; gateways: number; gatewaysAlive: number }[];
  sources(): readonly SourceState[];
  streams(): readonly StreamState[];
  /** Wall clock, for ages. */
  wallMs(): number;
  counts(): { refused: number; conflicts: number; shadows: number };
  fib(): {
    prefixes: number;
    bytesUsed: number;
    bytesCapacity: number;
    epoch: number;
    groups: number;
    peers: number;
  };
  /** ICMP errors that the underlay sent. */
  icmp(): {
    accepted: number;
    ignored: number;
    relayed: number;
    notForSender: number;
    unknownSender: number;
    unanswerable: number;
    overLimit: number;
  };
  probes(): ProbeCounts & { unsent: number };
  workers(): { configured: number; running: number; restarts: number };
  configuration(): { lastReloadOk: boolean; lastReloadAtMs: number; reloads: number; reloadFailures: number };
  hostProblems(): number;
  ready(): boolean;
}
