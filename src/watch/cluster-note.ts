import type { ClaimUpdate } from '../table/claim.ts';
import type { ClusterNotes } from './cluster-notes.ts';

export interface NotedSource {
  readonly name: string;
  readonly cluster: string;
  readonly notes: ClusterNotes;
  /** Where the cluster is read from. */
  readonly server: () => string;
  /** Why nothing can be sent to the cluster although it is read well; undefined when something can. */
  readonly noGateways: () => string | undefined;
}

/** The words of a source that reads a remote cluster. While they are read, the cluster's note says how the source is doing. */
export async function* noted(
  updates: AsyncIterable<ClaimUpdate>,
  source: NotedSource,
): AsyncGenerator<ClaimUpdate, void, void> {
  const note = (problems: readonly (string | undefined)[]): void =>
    source.notes.set(source.cluster, {
      origin: source.name,
      dns: null,
      server: source.server(),
      problems: problems.filter((problem) => problem !== undefined),
    });
  note([]);
  try {
    for await (const update of updates) {
      if (update.kind === 'stale') note([update.reason]);
      else note([update.kind === 'fresh' ? undefined : update.stale, source.noGateways()]);
      yield update;
    }
  } finally {
    source.notes.delete(source.cluster);
  }
}
