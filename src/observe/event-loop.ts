import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';

/** Stalls shorter than this are not seen; each sample wakes the main thread, so an idle gateway wakes 50 times a second for it. */
const RESOLUTION_MS = 20;

/** How late the main thread is: it publishes routes and answers the admin API, so a stall there delays both, but never a packet. */
export class EventLoopMonitor {
  readonly #histogram: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  constructor() {
    this.#histogram.enable();
  }

  /** Seconds of lag at each percentile since the last call. */
  take(percentiles: readonly number[]): number[] {
    // The histogram records the time between two samples, of which the resolution itself is no lag.
    const lags = percentiles.map((percentile) =>
      Math.max(0, this.#histogram.percentile(percentile) / 1e9 - RESOLUTION_MS / 1000),
    );
    this.#histogram.reset();
    return lags;
  }

  close(): void {
    this.#histogram.disable();
  }
}
