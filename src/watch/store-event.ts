/**
 * What a list-watch of one resource says, whatever the API behind it. Objects are already cut down to what their reader needs, so that
 * an update which changes nothing of that is never told. `key` names the object within its resource and stays the same while it exists.
 */
export type StoreEvent<T> =
  /** All objects there are: the first word, and again after each relist. */
  | { readonly kind: 'replace'; readonly objects: ReadonlyMap<string, T> }
  /** What changed since; several changes that came together are told together. An object is in at most one of both. */
  | { readonly kind: 'change'; readonly upserts: ReadonlyMap<string, T>; readonly removed: readonly string[] }
  /** The server does not know the resource (404 for the whole of it). Not the same as an empty list. Asked again now and then. */
  | { readonly kind: 'absent'; readonly reason: string }
  /** The server cannot be reached, refuses, or makes no sense: what was told last still stands. */
  | { readonly kind: 'stale'; readonly reason: string }
  /** Well again, and nothing changed. */
  | { readonly kind: 'fresh' };

/** One resource of one server, listed and then watched for as long as the loop runs. Never throws a passing fault out; ends with `signal`. */
export interface ObjectStream<T> {
  events(signal: AbortSignal): AsyncIterable<StoreEvent<T>>;
}
