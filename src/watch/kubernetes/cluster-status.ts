import { rankOf } from '../gateway-selection.ts';
import type { KubernetesObject } from '../kubernetes-api/resource.ts';
import { isMalformed } from '../last-good.ts';
import { fieldAt } from '../object-fields.ts';
import { remoteClusterOf } from './remote-cluster.ts';

/** How this gateway is doing with one remote cluster. */
export interface ClusterReport {
  /** In force. */
  readonly routes: number;
  /** Gateways of those routes. */
  readonly gateways: number;
  readonly stale: boolean;
  /** Why it is stale, or has no routes; undefined when all is well. */
  readonly reason: string | undefined;
  /** Wall clock of the last word from the cluster; null before the first, and where the cluster is not read at all. */
  readonly lastContactMs: number | null;
}

/** What a gateway says of itself in `status.gateways`. */
export interface GatewayRow {
  readonly name: string;
  readonly ready: boolean;
  readonly routes: number;
  readonly lastContactTime?: string;
  readonly message?: string;
}

export interface Condition {
  readonly type: 'Accepted' | 'Reachable' | 'Ready';
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
  readonly lastTransitionTime: string;
}

/** What one gateway says on behalf of all. */
export interface SharedStatus {
  readonly observedGeneration: number;
  readonly conditions: readonly Condition[];
  readonly routes: number;
  readonly lastContactTime?: string;
}

const NO_REASON = 'not read yet';

/** As the CRD has it. */
const MESSAGE_CHARACTERS_MAX = 1024;

/**
 * A gateway whose last contact is this much older than that of the one with the newest is taken for gone: it no longer speaks for all. A
 * comparison with others and not with our clock, because a cluster that nobody can reach has only old rows.
 */
export const ROW_FRESH_MS = 300_000;

/** So much older, and its row is taken out: nodes of a cluster come and go for years. */
export const ROW_FORGOTTEN_MS = 3_600_000;

export function rowOf(name: string, report: ClusterReport, wallMs: number): GatewayRow {
  const { routes, gateways, stale, reason, lastContactMs } = report;
  // Nothing is read of a static cluster, so that the only contact is that we say so.
  const contactMs = lastContactMs ?? (stale ? null : wallMs);
  return {
    name,
    ready: routes > 0 && gateways > 0,
    routes,
    ...(contactMs !== null && { lastContactTime: timeOf(contactMs) }),
    ...(reason !== undefined && reason !== '' && { message: reason.slice(0, MESSAGE_CHARACTERS_MAX) }),
  };
}

/** The rows that are in an object. One that cannot be read is as good as none. */
export function rowsIn(object: KubernetesObject): GatewayRow[] {
  const rows = fieldAt(object, 'status.gateways');
  if (!Array.isArray(rows)) return [];
  return rows.filter((row): row is GatewayRow => typeof fieldAt(row, 'name') === 'string');
}

function contactOf({ lastContactTime }: GatewayRow): number {
  const ms = Date.parse(lastContactTime ?? '');
  return Number.isNaN(ms) ? Number.NEGATIVE_INFINITY : ms;
}

/**
 * Rows of one object. Each write of a row is an event of the whole object for every gateway that watches it: with a row for each of 500
 * gateways that would be 500 watches of 200 KiB four times a second, and from 3,000 on an object that etcd refuses.
 */
export const ROWS_MAX = 16;

/**
 * Whether a gateway is one of those that have a row: the first by the hash of their names, of those that are fresh. Each finds that out for
 * itself from the rows that are there, so that nobody has to know how many gateways there are.
 */
export function hasPlace(name: string, others: readonly GatewayRow[]): boolean {
  const rank = rankOf(name);
  const isBefore = (other: string): boolean => {
    const theirs = rankOf(other);
    return theirs < rank || (theirs === rank && other < name);
  };
  return freshRows(others).filter((other) => isBefore(other.name)).length < ROWS_MAX;
}

/** The gateway that speaks for all: the first by name of those with a fresh row. `rows` has one at least. */
export function speakerOf(rows: readonly GatewayRow[]): string {
  const fresh = freshRows(rows);
  // Rows without a contact differ by NaN where there is no contact at all; then each is as good as any other.
  const names = (fresh.length > 0 ? fresh : rows).map(({ name }) => name);
  return names.sort()[0] as string;
}

function freshRows(rows: readonly GatewayRow[]): readonly GatewayRow[] {
  const newestMs = rows.reduce((newest, row) => Math.max(newest, contactOf(row)), Number.NEGATIVE_INFINITY);
  return rows.filter((row) => newestMs - contactOf(row) <= ROW_FRESH_MS);
}

/** Index and name of a row whose gateway is long gone; undefined when there is none. */
export function forgottenRow(rows: readonly GatewayRow[]): { index: number; name: string } | undefined {
  const newestMs = rows.reduce((newest, row) => Math.max(newest, contactOf(row)), Number.NEGATIVE_INFINITY);
  const index = rows.findIndex(
    (row) => contactOf(row) > Number.NEGATIVE_INFINITY && newestMs - contactOf(row) > ROW_FORGOTTEN_MS,
  );
  const row = rows[index];
  return row === undefined ? undefined : { index, name: row.name };
}

/** What the speaker writes. A condition that is as it was keeps the time of its last transition. */
export function sharedStatusOf(
  object: KubernetesObject,
  report: ClusterReport,
  wallMs: number,
): SharedStatus {
  const observedGeneration = Number(object.metadata.generation ?? 0);
  const before = conditionsIn(object);
  const conditions = judge(object, report).map((condition): Condition => {
    const known = before.find(({ type }) => type === condition.type);
    const since = known?.status === condition.status ? known.lastTransitionTime : timeOf(wallMs);
    return { ...condition, observedGeneration, lastTransitionTime: since };
  });
  const { lastContactTime } = rowOf('', report, wallMs);
  return {
    observedGeneration,
    conditions,
    routes: report.routes,
    ...(lastContactTime !== undefined && { lastContactTime }),
  };
}

/** What stands in the object on behalf of all, to be said again without a change. */
export function sharedStatusIn(object: KubernetesObject): object {
  const kept: Record<string, unknown> = {};
  for (const field of ['observedGeneration', 'conditions', 'routes', 'lastContactTime']) {
    const value = fieldAt(object, `status.${field}`);
    if (value !== undefined) kept[field] = value;
  }
  return kept;
}

export function conditionsIn(object: KubernetesObject): Condition[] {
  const conditions = fieldAt(object, 'status.conditions');
  return Array.isArray(conditions) ? (conditions as Condition[]) : [];
}

type Verdict = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>;

function judge(
  object: KubernetesObject,
  { routes, gateways, stale, reason, lastContactMs }: ClusterReport,
): Verdict[] {
  const spec = remoteClusterOf(object);
  // Never empty: API servers around 1.20 make null of an empty text in server-side apply, which the schema refuses.
  const said = (reason || NO_REASON).slice(0, MESSAGE_CHARACTERS_MAX);
  const accepted: Verdict = isMalformed(spec)
    ? { type: 'Accepted', status: 'False', reason: 'Malformed', message: spec.problem }
    : { type: 'Accepted', status: 'True', reason: 'Valid', message: 'the spec can be used' };
  const isStatic = !isMalformed(spec) && spec.access === undefined;
  const reachable: Verdict = isStatic
    ? {
        type: 'Reachable',
        status: 'Unknown',
        reason: 'NotRead',
        message: 'its CIDRs and gateways stand in the spec',
      }
    : stale || lastContactMs === null
      ? {
          type: 'Reachable',
          status: 'False',
          reason: lastContactMs === null ? 'NeverReached' : 'Stale',
          message: said,
        }
      : {
          type: 'Reachable',
          status: 'True',
          reason: 'Watching',
          message: 'its objects are listed and watched',
        };
  const count = `${routes} routes behind ${gateways} gateways`;
  const ready: Verdict =
    routes > 0 && gateways > 0
      ? { type: 'Ready', status: 'True', reason: 'RoutesInForce', message: count }
      : {
          type: 'Ready',
          status: 'False',
          reason: gateways === 0 && routes > 0 ? 'NoGateways' : 'NoRoutes',
          message: said === NO_REASON ? count : said,
        };
  return [accepted, reachable, ready];
}

/** RFC 3339 in whole seconds, as Kubernetes writes times. */
function timeOf(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}
