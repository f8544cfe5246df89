import type { ClusterConfig } from '../config/schema.ts';
import type { Claim, ClaimUpdate } from '../table/claim.ts';
import { claimsOfClusters } from './cluster-claims.ts';
import { Wake } from './wake.ts';
import type { Watcher } from './watcher.ts';

/** The remote clusters that stand in the configuration itself. A reload calls `update`. */
export class StaticWatcher implements Watcher {
  readonly name = 'config';
  readonly #wake = new Wake();
  #claims: readonly Claim[];

  constructor(clusters: readonly ClusterConfig[]) {
    this.#claims = claimsOfClusters(clusters, '');
  }

  update(clusters: readonly ClusterConfig[]): void {
    this.#claims = claimsOfClusters(clusters, '');
    this.#wake.ring();
  }

  async *watch(signal: AbortSignal): AsyncIterable<ClaimUpdate> {
    const stop = () => this.#wake.ring();
    signal.addEventListener('abort', stop, { once: true });
    try {
      while (!signal.aborted) {
        yield { kind: 'replace', claims: this.#claims };
        await this.#wake.wait();
      }
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }
}
