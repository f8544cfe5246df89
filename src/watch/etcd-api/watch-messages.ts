import type { IncomingMessage } from 'node:http';
import { messageOf } from '../../base/errors.ts';
import { EtcdError } from './error.ts';
import { JsonLines } from './json-lines.ts';
import { type Answer, decode, shaped } from './wire.ts';

export interface EtcdEvent {
  readonly key: string;
  /** Undefined: deleted, also by the end of its lease. */
  readonly value: string | undefined;
  readonly modRevision: number;
  /** 1: there was no such key before. */
  readonly version: number;
}

export type WatchMessage =
  /** Watched from now on. `revision` is where the store is; `storeId` changes when the store is another one. */
  | { readonly kind: 'created'; readonly revision: number; readonly storeId: string }
  /** Whole revisions, in order. */
  | { readonly kind: 'events'; readonly events: readonly EtcdEvent[] }
  /** All up to `revision` has been told. */
  | { readonly kind: 'progress'; readonly revision: number }
  /** The watch is over. `compacted`: the history before this revision is gone; undefined where that is not the reason. */
  | { readonly kind: 'canceled'; readonly reason: string; readonly compacted: number | undefined };

/** More changes within one revision than etcd takes in a transaction (--max-txn-ops is 128, a deletion by range may be larger). */
const FRAGMENTED_EVENTS_MAX = 1_000_000;

/** What a watch says, fragments put together again. Throws EtcdError when the connection ends, however it ends. */
export async function* watchMessages(response: IncomingMessage): AsyncGenerator<WatchMessage, void, void> {
  const lines = new JsonLines();
  let fragments: EtcdEvent[] = [];
  try {
    for await (const chunk of response as AsyncIterable<Uint8Array>) {
      for (const value of lines.push(chunk)) {
        const line = shaped('watch', value);
        if ('error' in line)
          throw new EtcdError(`etcd ended the watch: ${line.error.message}`, { passing: true });
        const { result } = line;
        for (const { type, kv } of result.events) {
          fragments.push({
            key: decode(kv.key),
            value: type === 'PUT' ? decode(kv.value) : undefined,
            modRevision: kv.mod_revision,
            version: kv.version,
          });
        }
        if (fragments.length > FRAGMENTED_EVENTS_MAX)
          throw new EtcdError(`a single revision has more than ${FRAGMENTED_EVENTS_MAX} events`);
        // Half a revision is not told: what breaks off in the middle of it is told again as a whole.
        if (result.fragment) continue;
        if (fragments.length > 0) {
          yield { kind: 'events', events: fragments };
          fragments = [];
        }
        yield* wordsOf(result);
      }
    }
  } catch (thrown) {
    if (thrown instanceof EtcdError) throw thrown;
    throw new EtcdError(`the watch broke off: ${messageOf(thrown)}`, { passing: true, cause: thrown });
  } finally {
    response.destroy();
  }
  throw new EtcdError('etcd closed the watch', { passing: true });
}

type Result = Extract<Answer<'watch'>, { result: unknown }>['result'];

function* wordsOf(result: Result): Iterable<WatchMessage> {
  const { header, created, canceled, events } = result;
  if (canceled) {
    const compacted = result.compact_revision > 0 ? result.compact_revision : undefined;
    const reason =
      compacted === undefined
        ? result.cancel_reason || 'no reason given'
        : `history before revision ${compacted} was compacted`;
    yield { kind: 'canceled', reason, compacted };
  } else if (created) {
    yield { kind: 'created', revision: header.revision, storeId: header.cluster_id };
  } else if (events.length === 0) {
    yield { kind: 'progress', revision: header.revision };
  }
}
