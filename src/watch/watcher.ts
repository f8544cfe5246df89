import type { ClaimUpdate } from '../table/claim.ts';

/**
 * One source of claims. `watch` yields a complete `replace` first, then changes, and a fresh `replace` whenever it had to start again. It
 * never throws a passing fault out: it yields `stale` with the reason, backs off with jitter, and resumes. It ends when `signal` aborts.
 */
export interface Watcher {
  /** As in the configuration and in every listing: `file:/etc/isthmus/clusters.d`. */
  readonly name: string;
  watch(signal: AbortSignal): AsyncIterable<ClaimUpdate>;
}
