import type { Trial } from './search.ts';

/** What one TCP measurement found. */
export interface TcpFigure {
  /** Of payload. */
  readonly gigabitsPerSecond: number;
  /** Processor time while it ran, over all of it in Gbit; null where it cannot be known. */
  readonly cpuSecondsPerGigabit: number | null;
}

/** What one trial with datagrams found. */
export interface DatagramTrial extends Trial {
  /** Of what arrived while the load ran. */
  readonly deliveredPerSecond: number;
  readonly duplicates: number;
  /** Behind a later one of their flow. */
  readonly reordered: number;
}

/**
 * The two ends of a path, wherever they are: what a round of measurements asks of them. Sizes as in load/sizes.ts. Whatever cannot be
 * measured rejects with the reason.
 */
export interface Ends {
  tcp(connections: number, seconds: number): Promise<TcpFigure>;
  /** Over one connection, with packets of that size. Gbit/s of payload. */
  tcpOfSize(mss: number, seconds: number): Promise<number>;
  /** Null: all that the sender can. */
  datagrams(size: string, packetsPerSecond: number | null, durationMs: number): Promise<DatagramTrial>;
  /** Microseconds of the probes that were answered, of 64-byte packets at a fixed pace. */
  roundTrips(count: number, intervalMs: number): Promise<readonly number[]>;
}
