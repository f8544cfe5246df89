import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../base/clock.ts';
import { pause } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { Backoff } from '../backoff.ts';
import { rankOf } from '../gateway-selection.ts';
import { ApiError } from '../kubernetes-api/api-error.ts';
import type { ApiAnswer, ApiRequest } from '../kubernetes-api/client.ts';
import { type KubernetesObject, objectKey, resourcePath } from '../kubernetes-api/resource.ts';
import { fieldAt } from '../object-fields.ts';
import {
  type ClusterReport,
  conditionsIn,
  forgottenRow,
  type GatewayRow,
  hasPlace,
  rowOf,
  rowsIn,
  type SharedStatus,
  sharedStatusIn,
  sharedStatusOf,
  speakerOf,
} from './cluster-status.ts';
import { REMOTE_CLUSTERS } from './remote-cluster.ts';

/** How often the objects are looked at; each look is one list, and nothing is written unless something is new. */
export const LOOK_INTERVAL_MS = 10_000;
/** Between two writes to one object, unless a condition changed: every write is an event for everybody who watches it. */
export const WRITE_INTERVAL_MS = 30_000;
/** A row that says the same is written again after this, so that others see that its gateway is alive. */
export const REFRESH_INTERVAL_MS = 120_000;
/** While writing fails. */
export const RETRY_INTERVAL_MS_MAX = 300_000;
/** Objects in an answer. */
const PAGE_SIZE = 100;
/** Pages of one look; as many clusters as the packet path can have, several times over. */
const PAGES_MAX = 50;
/** metav1's validation of field managers. */
const FIELD_MANAGER_CHARACTERS_MAX = 128;

export interface StatusWriterOptions {
  readonly api: { request(method: string, path: string, options?: ApiRequest): Promise<ApiAnswer> };
  /** Name of this gateway, unique in its cluster. */
  readonly gateway: string;
  /** How this gateway is doing with a cluster; undefined while it does not know. */
  readonly report: (cluster: string) => ClusterReport | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A number from 0 up to 1. */
  readonly random: () => number;
}

/** What the writer has done, for status and metrics. */
export interface StatusWriterState {
  writes: number;
  errors: number;
  /** The last error; null once all is well again. */
  problem: string | null;
}

interface Written {
  readonly atMs: number;
  /** Not before this, unless a condition changes. */
  readonly nextMs: number;
}

/**
 * Writes the status of RemoteClusters: some gateways a row each, and one of them what they have in common. By server-side apply, so that no
 * gateway overwrites another's row, and none has to read before it writes. Nothing depends on it: errors are counted and shown.
 */
export class StatusWriter {
  readonly state: StatusWriterState = { writes: 0, errors: 0, problem: null };
  readonly #options: StatusWriterOptions;
  readonly #manager: string;
  readonly #written = new Map<string, Written>();

  constructor(options: StatusWriterOptions) {
    this.#options = options;
    this.#manager = managerOf(options.gateway);
  }

  /** Looks and writes until `signal` aborts. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    const backoff = new Backoff({ minMs: LOOK_INTERVAL_MS, maxMs: RETRY_INTERVAL_MS_MAX, random });
    while (!signal.aborted) {
      const well = await this.look(signal);
      if (well) backoff.reset();
      await pause(clock, well ? LOOK_INTERVAL_MS * (0.8 + 0.4 * random()) : backoff.next(), signal);
    }
  }

  /** Once. Returns whether all went well. */
  async look(signal: AbortSignal): Promise<boolean> {
    try {
      const objects = await this.#list(signal);
      const names = new Set(objects.map(({ metadata }) => metadata.name));
      for (const name of this.#written.keys()) if (!names.has(name)) this.#written.delete(name);
      await this.#bringAllUpToDate(objects, signal);
      this.state.problem = null;
      return true;
    } catch (thrown) {
      if (signal.aborted) return true;
      // No CRD, no RemoteClusters, no status.
      if (thrown instanceof ApiError && thrown.status === 404) {
        this.state.problem = null;
        return true;
      }
      this.#fail(messageOf(thrown));
      return false;
    }
  }

  /** A missing right does not come back by itself, so that the same words are logged once. */
  #fail(problem: string): void {
    this.state.errors++;
    if (this.state.problem !== problem)
      this.#options.logger.warn({ reason: problem }, 'the status of RemoteClusters cannot be written');
    this.state.problem = problem;
  }

  async #list(signal: AbortSignal): Promise<KubernetesObject[]> {
    const objects: KubernetesObject[] = [];
    let next = '';
    for (let page = 0; page < PAGES_MAX; page++) {
      const query = { limit: String(PAGE_SIZE), ...(next !== '' && { continue: next }) };
      const { body } = await this.#options.api.request('GET', resourcePath(REMOTE_CLUSTERS), {
        query,
        signal,
        verb: 'list',
      });
      const items = fieldAt(body, 'items');
      for (const item of Array.isArray(items) ? items : [])
        if (objectKey(item) !== undefined) objects.push(item as KubernetesObject);
      next = String(fieldAt(body, 'metadata.continue') ?? '');
      if (next === '') break;
    }
    return objects;
  }

  /** One object that the server refuses must not keep the others from being written. Throws the first refusal in the end. */
  async #bringAllUpToDate(objects: readonly KubernetesObject[], signal: AbortSignal): Promise<void> {
    let refusal: ApiError | undefined;
    for (const object of objects) {
      try {
        await this.#bringUpToDate(object, signal);
      } catch (thrown) {
        if (!(thrown instanceof ApiError) || thrown.status === 0) throw thrown;
        refusal ??= thrown;
      }
    }
    if (refusal !== undefined) throw refusal;
  }

  async #bringUpToDate(object: KubernetesObject, signal: AbortSignal): Promise<void> {
    const { report, gateway, clock } = this.#options;
    const { name } = object.metadata;
    const told = report(name);
    if (told === undefined) return;
    const wallMs = clock.wallMs();
    const row = rowOf(gateway, told, wallMs);
    const rows = rowsIn(object);
    const others = rows.filter((other) => other.name !== gateway);
    if (!hasPlace(gateway, others)) {
      if (others.length < rows.length) await this.#giveUpRow(object, others, signal);
      return;
    }
    const speaker = speakerOf([row, ...others]);
    const shared = speaker === gateway ? sharedStatusOf(object, told, wallMs) : undefined;
    const due = this.#due(object, row, shared);
    if (due)
      await this.#apply(name, { ...(shared ?? this.#toKeep(object, speaker)), gateways: [row] }, signal);
    if (shared !== undefined) await this.#forgetRow(object, signal);
  }

  /** Others came that go before: what this gateway no longer applies is removed. */
  async #giveUpRow(
    object: KubernetesObject,
    others: readonly GatewayRow[],
    signal: AbortSignal,
  ): Promise<void> {
    await this.#apply(object.metadata.name, this.#toKeep(object, speakerOf(others)), signal);
    this.#written.delete(object.metadata.name);
  }

  /** Whether there is something to say, and it is time to. */
  #due(object: KubernetesObject, row: GatewayRow, shared: SharedStatus | undefined): boolean {
    const { gateway, clock } = this.#options;
    const known = rowsIn(object).find(({ name }) => name === gateway);
    const written = this.#written.get(object.metadata.name);
    if (known === undefined || written === undefined) return true;
    const before = conditionsIn(object);
    const turned = shared?.conditions.some((condition) => {
      const last = before.find(({ type }) => type === condition.type);
      return last?.status !== condition.status || last.reason !== condition.reason;
    });
    if (turned === true || known.ready !== row.ready) return true;
    const nowMs = clock.nowMs();
    if (nowMs < written.nextMs) return false;
    if (nowMs - written.atMs >= REFRESH_INTERVAL_MS) return true;
    if (!isDeepStrictEqual(timeless(known), timeless(row))) return true;
    return shared !== undefined && !isDeepStrictEqual(said(sharedStatusIn(object)), said(shared));
  }

  /**
   * What a gateway that speaks for all no longer has to say again until its successor has said it: a field that its only owner leaves out of
   * an apply is removed.
   */
  #toKeep(object: KubernetesObject, speaker: string): object {
    const isOurs = ownsShared(object, this.#manager) && !ownsShared(object, managerOf(speaker));
    return isOurs ? sharedStatusIn(object) : {};
  }

  async #apply(name: string, status: object, signal: AbortSignal): Promise<void> {
    const { api, clock, random } = this.#options;
    const { group, version } = REMOTE_CLUSTERS;
    await api.request('PATCH', `${resourcePath(REMOTE_CLUSTERS)}/${encodeURIComponent(name)}/status`, {
      query: { fieldManager: this.#manager, force: 'true' },
      contentType: 'application/apply-patch+yaml',
      body: { apiVersion: `${group}/${version}`, kind: 'RemoteCluster', metadata: { name }, status },
      signal,
    });
    this.state.writes++;
    const atMs = clock.nowMs();
    this.#written.set(name, { atMs, nextMs: atMs + WRITE_INTERVAL_MS * (1 + 0.5 * random()) });
  }

  /** Nobody but a gateway itself can apply its row, so that one that is gone is taken out by position; the test makes sure that it is still there. */
  async #forgetRow(object: KubernetesObject, signal: AbortSignal): Promise<void> {
    const { name } = object.metadata;
    const forgotten = forgottenRow(rowsIn(object));
    if (forgotten === undefined || forgotten.name === this.#options.gateway) return;
    const at = `/status/gateways/${forgotten.index}`;
    try {
      await this.#options.api.request(
        'PATCH',
        `${resourcePath(REMOTE_CLUSTERS)}/${encodeURIComponent(name)}/status`,
        {
          contentType: 'application/json-patch+json',
          body: [
            { op: 'test', path: `${at}/name`, value: forgotten.name },
            { op: 'remove', path: at },
          ],
          signal,
        },
      );
    } catch (thrown) {
      // The rows moved in the meantime: the next look finds it where it is then.
      if (!(thrown instanceof ApiError) || thrown.status !== 422) throw thrown;
    }
  }
}

/** Without what differs each time. */
function timeless({ name, ready, routes, message }: GatewayRow): object {
  return { name, ready, routes, message: message ?? '' };
}

function said(status: object): object {
  const { observedGeneration, routes, conditions } = status as Partial<SharedStatus>;
  const messages = conditions?.map(({ type, message, observedGeneration }) => ({
    type,
    message,
    observedGeneration,
  }));
  return { observedGeneration, routes, messages };
}

/** Whether a field manager has applied what is said on behalf of all. */
function ownsShared(object: KubernetesObject, manager: string): boolean {
  const entries = object.metadata.managedFields;
  return (
    Array.isArray(entries) &&
    entries.some(
      (entry) =>
        fieldAt(entry, 'manager') === manager &&
        fieldAt(entry, 'operation') === 'Apply' &&
        Object.hasOwn(Object(fieldAt(fieldAt(entry, 'fieldsV1'), 'f:status')), 'f:conditions'),
    )
  );
}

function managerOf(gateway: string): string {
  const name = `isthmus-${gateway}`;
  if (name.length <= FIELD_MANAGER_CHARACTERS_MAX) return name;
  const hash = rankOf(gateway).toString(16).padStart(8, '0');
  return `${name.slice(0, FIELD_MANAGER_CHARACTERS_MAX - hash.length - 1)}-${hash}`;
}
