import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { GatewayError } from '../base/errors.ts';
import { ApiError, readStatus } from '../watch/kubernetes-api/api-error.ts';
import type { KubernetesObject } from '../watch/kubernetes-api/resource.ts';
import type { Login } from './login.ts';

/** Under this name the API server remembers which fields are ours. */
export const FIELD_MANAGER = 'isthmus-join';

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

interface Content {
  readonly body?: unknown;
  readonly type?: string;
}

/** A person waits in front of it. */
const REQUEST_MS = 30_000;
const PAGE_ITEMS = 500;
/** 100,000 objects: ten times the largest cluster that Kubernetes is tested with. */
const PAGES_MAX = 200;
/** A page of 500 Nodes with their images is some 10 MB. */
const ANSWER_CHARACTERS_MAX = 128 * 1024 * 1024;

/** One cluster's API with a person's rights: what joining needs of it, one request at a time. */
export class ClusterApi {
  readonly login: Login;

  constructor(login: Login) {
    this.login = login;
  }

  async get(path: string): Promise<KubernetesObject> {
    return (await this.#accepted('GET', path, {}, [200])).body as KubernetesObject;
  }

  /** undefined where there is none, or no such kind of object. */
  async find(path: string): Promise<KubernetesObject | undefined> {
    const { status, body } = await this.#accepted('GET', path, {}, [200, 404]);
    return status === 404 ? undefined : (body as KubernetesObject);
  }

  /** All objects of a collection, page by page; `query` without limit and continue. undefined where the kind is not served. */
  async list(path: string, query: Record<string, string> = {}): Promise<KubernetesObject[] | undefined> {
    const items: KubernetesObject[] = [];
    let next = '';
    for (let page = 0; page < PAGES_MAX; page++) {
      const words = new URLSearchParams({ ...query, limit: String(PAGE_ITEMS) });
      if (next !== '') words.set('continue', next);
      const { status, body } = await this.#accepted('GET', `${path}?${words}`, {}, [200, 404]);
      if (status === 404) return undefined;
      const list = body as { items?: KubernetesObject[]; metadata?: { continue?: string } };
      items.push(...(list.items ?? []));
      next = list.metadata?.continue ?? '';
      if (next === '') return items;
    }
    throw new GatewayError(
      'ISTHMUS_ERR_KUBERNETES',
      `${path} at ${this.login.server} has more than ${PAGE_ITEMS * PAGES_MAX} objects`,
    );
  }

  /** Server-side apply. Forced: what is written so is ours, and was checked to be before. */
  async apply(path: string, object: KubernetesObject): Promise<KubernetesObject> {
    const query = `fieldManager=${FIELD_MANAGER}&force=true`;
    const content = { body: object, type: 'application/apply-patch+yaml' };
    return (await this.#accepted('PATCH', `${path}?${query}`, content, [200, 201])).body as KubernetesObject;
  }

  async create(path: string, object: unknown): Promise<KubernetesObject> {
    const query = `fieldManager=${FIELD_MANAGER}`;
    return (await this.#accepted('POST', `${path}?${query}`, { body: object }, [200, 201]))
      .body as KubernetesObject;
  }

  /** JSON merge patch. False where somebody else changed the object meanwhile (`metadata.resourceVersion` of the patch is an old one). */
  async merge(path: string, patch: unknown): Promise<boolean> {
    const content = { body: patch, type: 'application/merge-patch+json' };
    const query = `fieldManager=${FIELD_MANAGER}`;
    return (await this.#accepted('PATCH', `${path}?${query}`, content, [200, 409])).status === 200;
  }

  /** False where there was nothing. */
  async remove(path: string): Promise<boolean> {
    return (await this.#accepted('DELETE', path, {}, [200, 202, 404])).status !== 404;
  }

  async #accepted(
    method: Method,
    path: string,
    content: Content,
    accepted: readonly number[],
  ): Promise<Answer> {
    const { server } = this.login;
    const plain = path.replace(/\?.*$/, '');
    const verb = VERBS[method];
    const failure = { method, path: plain, verb, server };
    const { status, text } = await this.#send(method, path, content).catch((cause: unknown) => {
      if (cause instanceof GatewayError) throw cause;
      const { code = '', message } = cause as NodeJS.ErrnoException;
      throw new ApiError({ ...failure, status: 0, reason: code, detail: message, cause });
    });
    if (!accepted.includes(status)) throw new ApiError({ ...failure, status, ...readStatus(text) });
    try {
      return { status, body: JSON.parse(text) };
    } catch (cause) {
      if (status === 404) return { status, body: undefined };
      throw new ApiError({ ...failure, status, reason: '', detail: `no JSON: ${text}`, cause });
    }
  }

  async #send(
    method: Method,
    path: string,
    { body, type = 'application/json' }: Content,
  ): Promise<{ status: number; text: string }> {
    const options = await this.login.options();
    const url = new URL(this.login.server + path);
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      ...(options.headers as Record<string, string> | undefined),
      accept: 'application/json',
      ...(text === undefined ? {} : { 'content-type': type }),
    };
    return new Promise((resolve, reject) => {
      const send = url.protocol === 'http:' ? httpRequest : httpsRequest;
      const request = send(url, { ...options, method, headers, timeout: REQUEST_MS }, (answer) => {
        readText(answer).then((read) => resolve({ status: answer.statusCode ?? 0, text: read }), reject);
      });
      request.on('timeout', () => request.destroy(new Error(`no answer within ${REQUEST_MS / 1000} s`)));
      request.on('error', reject);
      request.end(text);
    });
  }
}

const VERBS: Record<Method, string> = { GET: 'get', POST: 'create', PATCH: 'patch', DELETE: 'delete' };

async function readText(answer: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of answer.setEncoding('utf8')) {
    text += chunk as string;
    if (text.length > ANSWER_CHARACTERS_MAX) throw new Error('the answer is too long');
  }
  return text;
}
