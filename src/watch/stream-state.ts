/** Why everything was listed: the first time, or why the watch could not go on from where it was. */
export type ListReason = 'start' | 'expired' | 'closed-early' | 'silent' | 'error';

/** How one list-watch is doing, for status and metrics. All fields are kept up to date by the stream itself. */
export interface StreamState {
  /** Name of the source that reads it. */
  readonly source: string;
  /** As its API names it: `nodes`, `ippools.crd.projectcalico.org`, `/isthmus/v1/`. */
  readonly resource: string;
  phase: 'connecting' | 'listing' | 'watching' | 'waiting' | 'absent';
  objects: number;
  /** Wall clock of the last word from the server, bookmarks and progress notes included; null before the first. */
  lastEventMs: number | null;
  /** Lists by reason. */
  readonly lists: Record<ListReason, number>;
  /** Changes told by watches. */
  events: number;
  errors: number;
  /** What the last error was; null once all is well again. */
  problem: string | null;
}

/** Every list-watch that runs. */
export class StreamRegistry {
  readonly #streams = new Set<StreamState>();

  open(source: string, resource: string): StreamState {
    const stream: StreamState = {
      source,
      resource,
      phase: 'connecting',
      objects: 0,
      lastEventMs: null,
      lists: { start: 0, expired: 0, 'closed-early': 0, silent: 0, error: 0 },
      events: 0,
      errors: 0,
      problem: null,
    };
    this.#streams.add(stream);
    return stream;
  }

  close(stream: StreamState): void {
    this.#streams.delete(stream);
  }

  list(): readonly StreamState[] {
    return [...this.#streams];
  }
}
