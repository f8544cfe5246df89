import type { Clock } from '../../base/clock.ts';
import type { StreamState } from '../stream-state.ts';
import { ApiError } from './api-error.ts';
import type { KubernetesApi } from './client.ts';
import type { ReflectorLimits } from './limits.ts';
import { assertRoom, type ObjectIntake } from './object-intake.ts';
import { fieldOf, type Resource, resourcePath, selectorsOf } from './resource.ts';
import type { StoreFeed } from './store-feed.ts';

export interface PagedListOptions<T> {
  readonly api: KubernetesApi;
  readonly resource: Resource;
  readonly intake: ObjectIntake<T>;
  /** What is known already; equal objects are shared with it. */
  readonly feed: StoreFeed<T>;
  readonly stream: StreamState;
  readonly clock: Clock;
  readonly limits: Pick<ReflectorLimits, 'pageObjects' | 'pagesMax' | 'objectsMax'>;
}

export interface ListedObjects<T> {
  readonly objects: Map<string, T>;
  readonly version: string;
}

/**
 * Pages aim at this length. Three clusters of 10,000 Nodes of 9 kB each, listed at once by pages of 500 objects, cost 308 MiB of RSS; by
 * pages of 1 MiB 160 MiB, and no longer on the whole, because no page holds up the event loop for 40 ms.
 */
const PAGE_LENGTH = 1 << 20;
/** How much smaller pages are asked for when one did not fit. */
const SHRINK = 10;

/**
 * Lists everything, page by page; of each page only the projections outlive the next. No resourceVersion is asked for: a quorum read,
 * because a list from the cache of a lagging server would show objects that are gone, and the watch would never correct it. Throws
 * ApiError, with status 410 when the rest of a list begun is not to be had any more.
 */
export async function listAll<T>(
  options: PagedListOptions<T>,
  signal: AbortSignal,
): Promise<ListedObjects<T>> {
  for (let { pageObjects } = options.limits; ; pageObjects = Math.max(1, Math.floor(pageObjects / SHRINK))) {
    try {
      return await listBy(pageObjects, options, signal);
    } catch (thrown) {
      const tooLarge = thrown instanceof ApiError && thrown.reason === 'TooLarge';
      if (!tooLarge || pageObjects === 1) throw thrown;
    }
  }
}

async function listBy<T>(
  pageObjects: number,
  { api, resource, intake, feed, stream, clock, limits }: PagedListOptions<T>,
  signal: AbortSignal,
): Promise<ListedObjects<T>> {
  const path = resourcePath(resource);
  const objects = new Map<string, T>();
  let next: string | undefined;
  let limit = pageObjects;
  for (let pages = 0; pages < limits.pagesMax; pages++) {
    const query = {
      ...selectorsOf(resource),
      limit: String(limit),
      ...(next === undefined ? {} : { continue: next }),
    };
    const { status, body, length } = await api.request('GET', path, { query, signal, verb: 'list' });
    const page = readPage(body);
    if (page === undefined) throw senseless(api, path, status);
    stream.lastEventMs = clock.wallMs();
    for (const raw of page.items) {
      const taken = intake.take(raw, (key) => feed.get(key));
      if (taken?.value === undefined) continue;
      objects.set(taken.key, feed.settle(taken.key, taken.value));
    }
    assertRoom(objects.size, limits.objectsMax, stream);
    if (page.next === undefined) return { objects, version: page.version };
    next = page.next;
    const fitting = Math.floor((page.items.length * PAGE_LENGTH) / length);
    limit = Math.min(pageObjects, Math.max(1, fitting));
  }
  throw senseless(api, path, 200);
}

interface Page {
  readonly items: readonly unknown[];
  readonly version: string;
  readonly next: string | undefined;
}

/** Undefined for whatever is not a list: something before the server that answers 200 to everything must not read as an empty one. */
function readPage(body: unknown): Page | undefined {
  const metadata = fieldOf(body, 'metadata');
  const version = fieldOf(metadata, 'resourceVersion');
  const next = fieldOf(metadata, 'continue');
  // Go writes an empty list as null.
  const items =
    fieldOf(body, 'items') ?? (typeof body === 'object' && body !== null && 'items' in body ? [] : undefined);
  if (!Array.isArray(items) || typeof version !== 'string' || version === '') return undefined;
  return { items, version, next: typeof next === 'string' && next !== '' ? next : undefined };
}

function senseless(api: KubernetesApi, path: string, status: number): ApiError {
  return new ApiError({
    method: 'GET',
    path,
    verb: 'list',
    server: api.server,
    status,
    reason: 'Malformed',
    detail: 'expected a list with items and metadata.resourceVersion that ends',
  });
}
