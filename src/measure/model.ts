/** What one run of the benchmark gave: printed, plotted, written as JSON, and read again by nobody but these. */
export interface BenchResult {
  readonly schema: 1;
  /** Version of isthmus. */
  readonly program: string;
  readonly mode: 'local' | 'run';
  readonly machine: MachineFacts;
  /** On `run`: the other end. */
  readonly far?: { readonly address: string; readonly program: string; readonly machine: MachineFacts };
  readonly run: {
    /** ISO 8601, UTC. */
    readonly at: string;
    /** Of the order of the paths in each round. */
    readonly seed: number;
    readonly rounds: number;
    /** Of one TCP measurement. */
    readonly seconds: number;
    readonly command: string;
    /** Runnable processes in the minute before: other work on the machine is in every number. */
    readonly loadBefore: number;
    readonly tcpProgram: string;
    /** Connections of `tcpMany`. */
    readonly streams: number;
  };
  readonly paths: readonly PathResult[];
  /** What could not be measured, and why, with the name of the missing package; one line each. */
  readonly left: readonly string[];
}

export interface MachineFacts {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
}

export type PathKind = 'reference' | 'isthmus' | 'kernel' | 'peer';

/**
 * What one path gave, one value a round unless that measurement failed. `W` in a name: without segmentation offload on the gateways'
 * underlay devices, so that every packet is at most 1,500 bytes, as on a wire.
 */
export interface PathResult {
  /** `plain forwarding, W`, `Isthmus`, `OpenVPN without cipher, W`. */
  readonly name: string;
  readonly kind: PathKind;
  /** The name of the plain-forwarding path it is compared with; null where none was measured. */
  readonly reference: string | null;
  /** Gbit/s of payload over one connection. */
  readonly tcpSingle: readonly number[];
  /** Gbit/s of payload over `run.streams` connections together. */
  readonly tcpMany: readonly number[];
  /** Gbit/s of payload, one connection, with the MSS that makes packets of that size. */
  readonly tcpBySize: readonly SizeSeries[];
  /** UDP packets a second: the highest rate with at most 0.5 % loss. */
  readonly lossFree: readonly SizeSeries[];
  /** UDP packets a second that arrive when the sender sends all it can. */
  readonly flood: readonly SizeSeries[];
  /** Microseconds: percentiles of each round. */
  readonly roundTrip: {
    readonly p50: readonly number[];
    readonly p90: readonly number[];
    readonly p99: readonly number[];
    readonly p999: readonly number[];
  };
  /** Processor seconds for one Gbit of TCP payload: of the whole machine, hence of both ends, on `local`; of both machines on `run`. */
  readonly cpuPerGbit: readonly number[];
  /** `round 2: TCP: iperf3: …`. */
  readonly failures: readonly string[];
}

export interface SizeSeries {
  /** Bytes of the inner IPv4 packet, `64` to `1480`, or `imix`. */
  readonly size: string;
  readonly values: readonly number[];
}

/** Told before and after each measurement. `done` of `total` measurements of the whole run are over. */
export interface ProgressEvent {
  readonly round: number;
  readonly rounds: number;
  readonly path: string;
  /** What is or was measured: `TCP`, `round trips`, `loss-free 64`. */
  readonly what: string;
  readonly done: number;
  readonly total: number;
  /** What was found, `1.23 Gbit/s`; empty while it is measured. */
  readonly text: string;
}

export type Progress = (event: ProgressEvent) => void;
