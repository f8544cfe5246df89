import { EVENTS_MAX } from './limits.ts';

/** A line for the log. `event` is stable; `fields` are its structured part. */
export interface TableEvent {
  readonly level: 'info' | 'warn' | 'error';
  readonly event:
    | 'conflict-began'
    | 'conflict-ended'
    | 'hold-began'
    | 'hold-ended'
    | 'hold-applied'
    | 'source-stale'
    | 'source-fresh'
    | 'source-expired'
    | 'refusals-changed'
    | 'claims-over-limit'
    | 'restored'
    | 'events-lost';
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** What happened since it was last asked. Bounded, so that a table nobody listens to does not grow. */
export class Journal {
  #events: TableEvent[] = [];
  #lost = 0;

  add(
    level: TableEvent['level'],
    event: TableEvent['event'],
    fields: Readonly<Record<string, unknown>>,
    message: string,
  ): void {
    if (this.#events.length < EVENTS_MAX) this.#events.push({ level, event, fields, message });
    else this.#lost++;
  }

  drain(): TableEvent[] {
    const drained = this.#events;
    this.#events = [];
    if (this.#lost > 0) {
      const lost = this.#lost;
      this.#lost = 0;
      drained.push({
        level: 'warn',
        event: 'events-lost',
        fields: { lost },
        message: `${lost} further events of the route table were not kept`,
      });
    }
    return drained;
  }
}
