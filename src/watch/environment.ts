import type { Family } from '../base/address.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { ClusterNotes } from './cluster-notes.ts';
import type { OwnGatewayFeed } from './own-gateway.ts';
import type { StreamRegistry } from './stream-state.ts';
import type { Watcher } from './watcher.ts';

/** What every watcher is given. */
export interface WatchEnvironment {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly streams: StreamRegistry;
  readonly notes: ClusterNotes;
  readonly own: OwnGatewayFeed;
  /** Of the underlay: which address of a node with several is its gateway's. */
  readonly family: Family;
  /** A number from 0 up to 1, for jitter. */
  readonly random: () => number;
}

/**
 * Sources that another source finds out about while it runs: a remote cluster whose API it is told to read. Each is a source of its own, with
 * its own staleness and holds, named `parent/name`; it has the options of its parent.
 */
export interface ChildSources {
  /** Starts it, or puts it in the place of the one with its name: claims stay and are compared. Does nothing for the very same watcher. */
  set(child: Watcher): void;
  /** Ends those of this parent that are not in `names` (full names), also such as only a snapshot remembers; their claims go. */
  retain(names: ReadonlySet<string>): void;
}
