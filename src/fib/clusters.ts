import { CLUSTERS_MAX } from '../base/limits.ts';
import type { Reclaimer } from './arena.ts';
import { capacityError } from './capacity.ts';
import { TRANSIT } from './layout.ts';
import type { Retired } from './retired.ts';

/** Cluster names and their indexes in the image, counted by the groups that use them. */
export class Clusters implements Reclaimer {
  readonly #words: Uint32Array;
  readonly #retired: Retired;
  #transit: ReadonlySet<string> = new Set();
  readonly #index = new Map<string, number>();
  readonly #name: string[] = [];
  readonly #uses = new Uint32Array(CLUSTERS_MAX);
  readonly #free: number[] = [];

  constructor(words: Uint32Array, retired: Retired) {
    this.#words = words;
    this.#retired = retired;
  }

  get count(): number {
    return this.#index.size;
  }

  nameOf(cluster: number): string {
    return this.#name[cluster] ?? '';
  }

  find(name: string): number | undefined {
    return this.#index.get(name);
  }

  /** Throws ISTHMUS_ERR_CAPACITY when a new cluster would be one too many. */
  checkRoom(name: string): void {
    if (this.#index.has(name) || this.#free.length > 0 || this.#name.length < CLUSTERS_MAX) return;
    this.#retired.reclaim(Number.POSITIVE_INFINITY);
    if (this.#free.length === 0) {
      throw capacityError('clusters', CLUSTERS_MAX, `no room for cluster "${name}"`);
    }
  }

  /** The index of the cluster, counted once more. The caller has called checkRoom. */
  acquire(name: string): number {
    let cluster = this.#index.get(name);
    if (cluster === undefined) {
      cluster = this.#free.pop() ?? this.#name.length;
      this.#name[cluster] = name;
      this.#index.set(name, cluster);
      this.#setTransitBit(cluster, this.#transit.has(name));
    }
    this.#uses[cluster]! += 1;
    return cluster;
  }

  release(cluster: number): void {
    this.#uses[cluster]! -= 1;
    if (this.#uses[cluster] !== 0) return;
    this.#index.delete(this.#name[cluster]!);
    this.#setTransitBit(cluster, false);
    this.#retired.retire(this, cluster);
  }

  reclaimed(cluster: number): void {
    this.#free.push(cluster);
  }

  /** The names of the clusters to be a transit for, known ones and others. */
  setTransit(names: readonly string[]): void {
    this.#transit = new Set(names);
    for (const [name, cluster] of this.#index) this.#setTransitBit(cluster, this.#transit.has(name));
  }

  #setTransitBit(cluster: number, isTransit: boolean): void {
    const at = TRANSIT + (cluster >>> 5);
    const bit = 1 << (cluster & 31);
    Atomics.store(this.#words, at, isTransit ? this.#words[at]! | bit : this.#words[at]! & ~bit);
  }
}
