import { GatewayError } from '../../base/errors.ts';
import { fieldOf } from './resource.ts';

export interface ApiFailure {
  readonly method: string;
  /** Without query. */
  readonly path: string;
  /** The RBAC verb that was needed: `list`, `watch`, `patch`. */
  readonly verb: string;
  readonly server: string;
  /** HTTP status; 0 when no answer came. */
  readonly status: number;
  /** `reason` of the server's Status object, or the errno name of the connection. */
  readonly reason: string;
  readonly detail: string;
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/** A longer wish is a mistake of a proxy on the way: a view that is minutes old is worse than one request more. */
export const RETRY_AFTER_MS_MAX = 60_000;
/** Messages of proxies are whole HTML pages. */
const DETAIL_CHARACTERS_MAX = 300;

/** The API server refused or could not be reached. The message names the request, the server, what it said, and what to do. */
export class ApiError extends GatewayError {
  override readonly name = 'ApiError';
  /** HTTP status; 0 when no answer came. */
  readonly status: number;
  readonly reason: string;
  /** As RBAC names it: `nodes`, `ippools.crd.projectcalico.org`, `remoteclusters.isthmus.network/status`. */
  readonly resource: string;
  /** How long the server asks us to wait; undefined when it does not. */
  readonly retryAfterMs: number | undefined;

  constructor(failure: ApiFailure) {
    const { method, path, server, status, reason, detail, cause } = failure;
    const place = placeOf(path);
    const said = detail.replaceAll(/\s+/g, ' ').trim().slice(0, DETAIL_CHARACTERS_MAX);
    const answer =
      status === 0 ? said : `${status} ${[reason, said].filter((word) => word !== '').join(': ')}`;
    super('ISTHMUS_ERR_KUBERNETES', `${method} ${path} at ${server}: ${answer}${adviceFor(failure, place)}`, {
      cause,
    });
    this.status = status;
    this.reason = reason;
    this.resource = place === undefined ? path : nameOf(place);
    this.retryAfterMs = failure.retryAfterMs;
  }
}

interface Place {
  readonly group: string;
  readonly plural: string;
  readonly subresource: string | undefined;
}

/** What a path of the API is about; undefined for /version and its like. */
function placeOf(path: string): Place | undefined {
  const parts = path.split('/').slice(1);
  const group = parts[0] === 'apis' ? parts[1] : '';
  const rest = parts.slice(parts[0] === 'apis' ? 3 : 2);
  const own = rest[0] === 'namespaces' && rest.length > 2 ? rest.slice(2) : rest;
  const [plural, , subresource] = own;
  if (group === undefined || plural === undefined || plural === '') return undefined;
  return { group, plural, subresource };
}

function nameOf({ group, plural, subresource }: Place): string {
  return [group === '' ? plural : `${plural}.${group}`, ...((subresource ?? '') ? [subresource] : [])].join(
    '/',
  );
}

function adviceFor({ status, verb }: ApiFailure, place: Place | undefined): string {
  if (status === 401) return '; the token or client certificate is not (or no longer) accepted';
  if (status !== 403 || place === undefined) return '';
  const reading = ['get', 'list', 'watch'];
  const verbs = (reading.includes(verb) ? reading : [verb]).map((word) => JSON.stringify(word)).join(', ');
  const resources = place.subresource === undefined ? place.plural : `${place.plural}/${place.subresource}`;
  return `; the right to ${verb} ${nameOf(place)} is missing: grant it with the RBAC rule {apiGroups: ["${place.group}"], resources: ["${resources}"], verbs: [${verbs}]}`;
}

/** What a body that came with an error status says: the fields of a Status object, or the text itself. */
export function readStatus(body: string): { reason: string; detail: string } {
  try {
    const status: unknown = JSON.parse(body);
    const reason = fieldOf(status, 'reason');
    const message = fieldOf(status, 'message');
    if (typeof reason === 'string' || typeof message === 'string') {
      return {
        reason: typeof reason === 'string' ? reason : '',
        detail: typeof message === 'string' ? message : '',
      };
    }
  } catch {
    // A proxy's page, not the API's answer: shown as it is.
  }
  return { reason: '', detail: body };
}

/** `Retry-After` in seconds, the only form that the API server uses. */
export function readRetryAfter(header: string | undefined): number | undefined {
  if (header === undefined || !/^\d{1,9}$/.test(header.trim())) return undefined;
  return Math.min(RETRY_AFTER_MS_MAX, Number(header) * 1000);
}
