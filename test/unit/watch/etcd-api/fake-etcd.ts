import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Clock, systemClock, type Timer } from '../../../../src/base/clock.ts';

export interface Asked {
  readonly path: string;
  readonly body: Record<string, unknown>;
  readonly token: string | undefined;
}

export type Handler = (response: ServerResponse, asked: Asked) => void;

/** An etcd that says what a test wants it to say, also what a real one says only when it is in trouble. */
export class FakeEtcd {
  readonly asked: Asked[] = [];
  readonly #handlers = new Map<string, Handler>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  static async start(): Promise<FakeEtcd> {
    const fake = new FakeEtcd();
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve));
    return fake;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What is said to requests to a path, `/v3/kv/range`, from now on. */
  on(path: string, handler: Handler): void {
    this.#handlers.set(path, handler);
  }

  /** How often a path was asked for. */
  count(path: string): number {
    return this.asked.filter((asked) => asked.path === path).length;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) text += chunk;
    const path = request.url ?? '';
    const asked = { path, body: JSON.parse(text), token: request.headers.authorization };
    this.asked.push(asked);
    const handler = this.#handlers.get(path);
    if (handler === undefined) response.writeHead(404).end('404 page not found');
    else handler(response, asked);
  }
}

export const HEADER = { cluster_id: '7', member_id: '8', revision: '10', raft_term: '2' };

export function json(value: object, status = 200): Handler {
  return (response) => response.writeHead(status).end(JSON.stringify(value));
}

export function refusal(status: number, message: string, code = 2): Handler {
  return json({ error: message, message, code }, status);
}

export function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

export function keyValue(key: string, value: string, modRevision: number, version = 1): object {
  return {
    ...{ key: base64(key), value: base64(value), create_revision: '1' },
    ...{ mod_revision: String(modRevision), version: String(version) },
  };
}

/** So long a request may take: no pause of ours is as long. */
const REAL_MS_MIN = 10_000;

/**
 * The system's clock with a hundredth of every pause: what takes seconds in a gateway takes milliseconds in a test. What bounds a request
 * stays as it is, because an answer may take its time on a machine that has other work.
 */
export const hastyClock: Clock = {
  nowMs: () => systemClock.nowMs() * 100,
  wallMs: () => systemClock.wallMs(),
  after: (delayMs, action) => systemClock.after(delayMs < REAL_MS_MIN ? delayMs / 100 : delayMs, action),
};

/** A clock that stands still until it is told to let everything that waits for it happen. */
export class StandingClock implements Clock {
  readonly #waiting = new Set<() => void>();

  nowMs(): number {
    return 0;
  }

  wallMs(): number {
    return 0;
  }

  after(_delayMs: number, action: () => void): Timer {
    this.#waiting.add(action);
    return { cancel: () => this.#waiting.delete(action) };
  }

  expireAll(): void {
    for (const action of [...this.#waiting]) action();
  }
}
