import { type Clock, pause } from '../../base/clock.ts';
import type { OpenStream } from '../kubernetes/connection.ts';
import type { ObjectStream, StoreEvent } from '../store-event.ts';

/** An API server that has just started does not know its custom resources for a few seconds; asking again costs it two answers of 404. */
export const ASK_AGAIN_MS = 10_000;

/**
 * A resource that a server has in one API group or another, and that may move: Calico's CRDs are crd.projectcalico.org/v1, in its newest
 * releases projectcalico.org/v3. The first group that the server knows is read until the server does not know it any more. Objects have the
 * same names in both; a server deletes the objects of a CRD before it forgets the CRD, though, so a move looks like a withdrawal of
 * everything, for as long as it takes to list the other group: what the table's hold on mass withdrawals is for.
 */
export class EitherGroup<T> implements ObjectStream<T> {
  readonly #groups: readonly (() => OpenStream<T>)[];
  readonly #clock: Clock;

  constructor(groups: readonly (() => OpenStream<T>)[], clock: Clock) {
    this.#groups = groups;
    this.#clock = clock;
  }

  async *events(signal: AbortSignal): AsyncGenerator<StoreEvent<T>, void, void> {
    const groups = this.#groups;
    /** Why those that were asked last are not read. */
    let reasons: string[] = [];
    for (let at = 0; !signal.aborted; at = (at + 1) % groups.length) {
      const stream = (groups[at] as () => OpenStream<T>)();
      try {
        for await (const event of stream.events(signal)) {
          if (event.kind === 'absent') {
            reasons.push(event.reason);
            break;
          }
          if (event.kind === 'replace') reasons = [];
          yield event;
        }
      } finally {
        stream.close();
      }
      if (reasons.length < groups.length || signal.aborted) continue;
      yield { kind: 'absent', reason: reasons.join('; ') };
      reasons = [];
      await pause(this.#clock, ASK_AGAIN_MS, signal);
    }
  }
}
