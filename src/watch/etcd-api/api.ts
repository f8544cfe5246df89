import type { IncomingMessage } from 'node:http';
import { type Clock, systemClock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { EtcdAccess } from './access.ts';
import { EtcdError } from './error.ts';
import { isTokenTrouble, TokenKeeper } from './token-keeper.ts';
import { type Call, Refusal, Transport } from './transport.ts';
import { type WatchMessage, watchMessages } from './watch-messages.ts';
import { decode, encode, rangeEnd, shaped, type WireKeyValue } from './wire.ts';

/** Keys of one request: small enough that the largest records of ours fit in an answer, large enough that 10,000 keys are ten requests. */
const PAGE_KEYS = 1000;

export interface EtcdEntry {
  readonly key: string;
  readonly value: string;
  readonly modRevision: number;
  /** `0`: none. */
  readonly lease: string;
}

/** A part of a range; all parts are of the same revision. */
export interface EtcdPage {
  readonly revision: number;
  /** The id of the etcd cluster, made when its store was. */
  readonly storeId: string;
  readonly entries: readonly EtcdEntry[];
  readonly isLast: boolean;
}

/** How far the store is beyond a revision, for the keys of a prefix. */
export interface EtcdExtent {
  readonly revision: number;
  readonly count: number;
  /** The highest revision of a key that still is; 0 when none was written since. */
  readonly newest: number;
}

export interface EtcdApiOptions {
  readonly clock?: Clock;
}

/**
 * etcd v3 by its JSON gateway (etcd 3.4 and newer, on by default), without a gRPC library. Endpoints are tried in turn, beginning with the
 * one that answered last. All methods throw EtcdError.
 */
export class EtcdApi {
  readonly #endpoints: readonly string[];
  readonly #transport: Transport;
  readonly #tokens: TokenKeeper;
  readonly #username: string | undefined;
  #current = 0;

  constructor(access: EtcdAccess, { clock = systemClock }: EtcdApiOptions = {}) {
    this.#endpoints = access.endpoints;
    this.#username = access.username;
    this.#transport = new Transport(access, clock);
    this.#tokens = new TokenKeeper(access, this.#transport);
  }

  /** The endpoint that answered last. */
  get server(): string {
    return this.#endpoints[this.#current] ?? 'no endpoint';
  }

  /** All keys that begin with `prefix`, in pages of one revision; at least one page. */
  async *pages(prefix: string, signal?: AbortSignal): AsyncGenerator<EtcdPage, void, void> {
    const end = rangeEnd(prefix);
    let from = encode(prefix);
    let revision: number | undefined;
    for (;;) {
      const page = shaped(
        'range',
        await this.#call(
          `reading ${prefix}`,
          '/v3/kv/range',
          {
            ...{ key: from, range_end: end, limit: PAGE_KEYS },
            ...(revision === undefined ? {} : { revision }),
          },
          signal,
        ),
      );
      // Later pages name the revision that the store has by then.
      revision ??= page.header.revision;
      const last = page.kvs.at(-1);
      const isLast = !page.more || last === undefined;
      yield { revision, storeId: page.header.cluster_id, entries: page.kvs.map(entryOf), isLast };
      if (isLast) return;
      from = Buffer.concat([Buffer.from(last.key, 'base64'), Buffer.from([0])]).toString('base64');
    }
  }

  async get(key: string, signal?: AbortSignal): Promise<EtcdEntry | undefined> {
    const answer = await this.#call(`reading ${key}`, '/v3/kv/range', { key: encode(key) }, signal);
    const [found] = shaped('range', answer).kvs;
    return found && entryOf(found);
  }

  /** Whether the store has moved on, without reading it: how many keys there are and the newest of those written after `revision`. */
  async extent(prefix: string, revision: number, signal?: AbortSignal): Promise<EtcdExtent> {
    const range = { key: encode(prefix), range_end: rangeEnd(prefix) };
    const what = `comparing ${prefix}`;
    const counted = shaped(
      'range',
      await this.#call(what, '/v3/kv/range', { ...range, count_only: true }, signal),
    );
    const extent = { revision: counted.header.revision, count: counted.count, newest: 0 };
    // A store in which nothing was written at all is the common case, and this one costs etcd a look at its index only.
    if (extent.revision <= revision) return extent;
    const written = await this.#call(
      what,
      '/v3/kv/range',
      {
        ...{ ...range, keys_only: true, limit: 1, min_mod_revision: revision + 1 },
        ...{ sort_order: 'DESCEND', sort_target: 'MOD', revision: extent.revision },
      },
      signal,
    );
    return { ...extent, newest: shaped('range', written).kvs[0]?.mod_revision ?? 0 };
  }

  /** Changes to keys that begin with `prefix`, from `startRevision` on. Ends only by throwing, after `canceled` or with the loop. */
  async *watch(
    prefix: string,
    startRevision: number,
    signal: AbortSignal,
  ): AsyncGenerator<WatchMessage, void, void> {
    const create = {
      ...{ key: encode(prefix), range_end: rangeEnd(prefix), start_revision: startRevision },
      ...{ progress_notify: true, fragment: true },
    };
    // A watch is let in whatever its token, and canceled as its first word when that was forgotten meanwhile: once more, with another.
    for (const isRetry of [false, true]) {
      const response = await this.#stream(
        `watching ${prefix}`,
        '/v3/watch',
        { create_request: create },
        signal,
      );
      let isFirst = true;
      for await (const message of watchMessages(response)) {
        if (message.kind === 'canceled') {
          // Refused like a user without the right; it costs little to get another token before the next try.
          if (message.compacted === undefined) this.#tokens.forget();
          const { hasUser } = this.#tokens;
          if (isFirst && !isRetry && hasUser && isTokenTrouble({ message: message.reason })) break;
        }
        yield message;
        if (message.kind === 'canceled') return;
        isFirst = false;
      }
    }
  }

  /** A lease that ends by itself `ttlSeconds` after it was last kept alive. Resolves with its id. */
  async grant(ttlSeconds: number, signal?: AbortSignal): Promise<string> {
    const answer = await this.#call('granting a lease', '/v3/lease/grant', { TTL: ttlSeconds }, signal);
    const { ID, error } = shaped('grant', answer);
    if (error !== undefined && error !== '') throw new EtcdError(`granting a lease: ${error}`);
    return ID;
  }

  /**
   * Starts the time of a lease anew; false: there is no such lease any more. One request each time: the server of etcd's gateway reads a
   * request to its end before it answers (HTTP/1.1 in Go), so there is no stream that both sides speak on.
   */
  async keepAlive(lease: string, signal?: AbortSignal): Promise<boolean> {
    const answer = await this.#call('keeping a lease alive', '/v3/lease/keepalive', { ID: lease }, signal);
    return shaped('keepAlive', answer).result.TTL > 0;
  }

  /** Ends a lease, and with it all keys under it. One that is gone already is no error. */
  async revoke(lease: string, signal?: AbortSignal): Promise<void> {
    try {
      await this.#call('revoking a lease', '/v3/lease/revoke', { ID: lease }, signal);
    } catch (thrown) {
      if (thrown instanceof EtcdError && thrown.status === 404) return;
      throw thrown;
    }
  }

  /** Writes the key if its last revision still is `modRevision` (0: it does not exist); false: it is not. */
  async putIf(
    entry: Pick<EtcdEntry, 'key' | 'value' | 'lease' | 'modRevision'>,
    signal?: AbortSignal,
  ): Promise<boolean> {
    const key = encode(entry.key);
    const answer = await this.#call(
      `writing ${entry.key}`,
      '/v3/kv/txn',
      {
        compare: [{ key, target: 'MOD', result: 'EQUAL', mod_revision: entry.modRevision }],
        success: [{ request_put: { key, value: encode(entry.value), lease: entry.lease } }],
      },
      signal,
    );
    return shaped('txn', answer).succeeded;
  }

  /** Deletes the key if it still is under this lease. */
  async deleteOf(key: string, lease: string, signal?: AbortSignal): Promise<void> {
    const encoded = encode(key);
    await this.#call(
      `deleting ${key}`,
      '/v3/kv/txn',
      {
        compare: [{ key: encoded, target: 'LEASE', result: 'EQUAL', lease }],
        success: [{ request_delete_range: { key: encoded } }],
      },
      signal,
    );
  }

  /** Closes the connections that no request is using. */
  close(): void {
    this.#transport.close();
  }

  #call(what: string, path: string, body: object, signal: AbortSignal | undefined): Promise<unknown> {
    return this.#inTurn(what, path, body, signal, (call) => this.#transport.unary(call));
  }

  #stream(what: string, path: string, body: object, signal: AbortSignal): Promise<IncomingMessage> {
    return this.#inTurn(what, path, body, signal, (call) => this.#transport.stream(call));
  }

  async #inTurn<T>(
    what: string,
    path: string,
    body: object,
    signal: AbortSignal | undefined,
    send: (call: Call) => Promise<T | Refusal>,
  ): Promise<T> {
    const text = JSON.stringify(body);
    const failures: string[] = [];
    for (let tried = 0; tried < this.#endpoints.length; tried++) {
      const at = (this.#current + tried) % this.#endpoints.length;
      const endpoint = this.#endpoints[at]!;
      try {
        const outcome = await this.#withToken({ endpoint, path, body: text, signal }, send);
        if (!(outcome instanceof Refusal)) {
          this.#current = at;
          return outcome;
        }
        const status = outcome.isOfEtcd ? outcome.status : 0;
        throw new EtcdError(this.#explain(outcome), { status, passing: isPassing(status) });
      } catch (thrown) {
        if (signal?.aborted) throw new EtcdError(`${what}: stopped`, { passing: true, cause: thrown });
        failures.push(`${endpoint}: ${messageOf(thrown)}`);
        // etcd has spoken, and its members agree with each other: another one would say the same.
        if (thrown instanceof EtcdError && thrown.status !== 0 && !thrown.passing)
          throw new EtcdError(`${what}: ${failures.join('; ')}`, { status: thrown.status, cause: thrown });
      }
    }
    if (failures.length === 0) failures.push('no endpoint is given');
    throw new EtcdError(`${what}: ${failures.join('; ')}`, { passing: true });
  }

  async #withToken<T>(
    request: Omit<Call, 'token'>,
    send: (call: Call) => Promise<T | Refusal>,
  ): Promise<T | Refusal> {
    const token = await this.#tokens.token(request.endpoint);
    const outcome = await send({ ...request, token });
    if (!(outcome instanceof Refusal) || !this.#tokens.hasUser || !isTokenTrouble(outcome)) return outcome;
    this.#tokens.forget(token);
    return send({ ...request, token: await this.#tokens.token(request.endpoint) });
  }

  #explain({ status, message, isOfEtcd }: Refusal): string {
    const said = `${status} ${message.replace(/^etcdserver: /, '')}`;
    if (!isOfEtcd && status === 404)
      return `${said}; this is no etcd 3.4 or newer with its JSON gateway on (--enable-grpc-gateway)`;
    if (/user name is empty/.test(message)) return `${said}; etcd asks for a user, and none is configured`;
    if (/permission denied/.test(message))
      return `${said} for ${this.#username === undefined ? 'a client without a user' : `user "${this.#username}"`}`;
    return said;
  }
}

/** Whether another endpoint may answer better: 0 is no answer of etcd at all, 429 and above are troubles of the server. */
function isPassing(status: number): boolean {
  return status === 0 || status === 408 || status >= 429;
}

function entryOf({ key, value, mod_revision, lease }: WireKeyValue): EtcdEntry {
  return { key: decode(key), value: decode(value), modRevision: mod_revision, lease };
}
