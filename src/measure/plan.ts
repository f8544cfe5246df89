import { hasIperf } from './iperf.ts';
import { SIZES } from './load/sizes.ts';

/** What `isthmus bench local` is asked for. Plain data: it travels into the sandbox as JSON. */
export interface MeasureOptions {
  readonly rounds: number;
  readonly seed: number;
  /** Of each TCP measurement with packets of any size; whole, because older iperf3 knows no others. */
  readonly seconds: number;
  /** Everything short: to see that it works, not to quote. */
  readonly quick: boolean;
  /** Paths whose name is one of these, or has one in it where none is; all when empty. */
  readonly only: readonly string[];
  /** What people use instead is measured too (peers/recipes.ts). */
  readonly peers: boolean;
  readonly sizes: readonly string[];
  /** As the user wrote it: kept with the result. */
  readonly command: string;
}

/** How long each kind of measurement takes. */
export interface Plan {
  readonly tcpSeconds: number;
  /** Whole TCP measurements by iperf3, not by the generator of the addon. */
  readonly iperf: boolean;
  /** TCP connections of `tcpMany`. */
  readonly streams: number;
  readonly sizeSeconds: number;
  readonly floodMs: number;
  readonly trialMs: number;
  readonly trialsMax: number;
  readonly probes: number;
  readonly probeIntervalMs: number;
  readonly warmUpSeconds: number;
  readonly sizes: readonly string[];
}

export const ROUNDS_MAX = 1000;
export const SECONDS_MAX = 60;
const STREAMS = 4;
/** A busy gateway that has just been started has code to optimise yet. */
const WARM_UP_SECONDS = 0.5;
const QUICK_SIZES = ['64', '1480', 'imix'];

/** Five rounds of all paths take about ten minutes with this, a quick round 40 s. */
export function planOf(options: MeasureOptions): Plan {
  const shared = { streams: STREAMS, probeIntervalMs: 2 };
  if (options.quick) {
    return {
      ...shared,
      ...{ tcpSeconds: 0.4, sizeSeconds: 0.2, floodMs: 100, trialMs: 80, trialsMax: 4, probes: 100 },
      // iperf3 knows whole seconds only.
      ...{ warmUpSeconds: 0.2, sizes: options.sizes, iperf: false },
    };
  }
  return {
    ...shared,
    ...{
      tcpSeconds: options.seconds,
      sizeSeconds: 0.5,
      floodMs: 300,
      trialMs: 250,
      trialsMax: 6,
      probes: 500,
    },
    ...{ warmUpSeconds: WARM_UP_SECONDS, sizes: options.sizes, iperf: hasIperf() },
  };
}

/** Sizes where none are asked for. */
export function defaultSizes(quick: boolean): readonly string[] {
  return quick ? QUICK_SIZES : SIZES;
}
