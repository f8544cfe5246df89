import { systemClock } from '../../../../src/base/clock.ts';
import type { Logger } from '../../../../src/base/log.ts';
import { Prng } from '../../../../src/base/prng.ts';
import { KubernetesApi } from '../../../../src/watch/kubernetes-api/client.ts';
import type { ReflectorLimits } from '../../../../src/watch/kubernetes-api/limits.ts';
import { Reflector } from '../../../../src/watch/kubernetes-api/reflector.ts';
import type { KubernetesObject, Resource } from '../../../../src/watch/kubernetes-api/resource.ts';
import type { StoreEvent } from '../../../../src/watch/store-event.ts';
import { StreamRegistry, type StreamState } from '../../../../src/watch/stream-state.ts';
import { until } from '../running-watcher.ts';
import type { FakeApiServer } from './fake-api-server.ts';

export const NODES = '/api/v1/nodes';
export const NODE_RESOURCE: Resource = { group: '', version: 'v1', plural: 'nodes' };

/** No waiting between attempts, and no watch that ends too early unless a test wants one. */
export const QUICK: Partial<ReflectorLimits> = {
  backoffMinMs: 1,
  backoffMaxMs: 4,
  absentMinMs: 1,
  absentMaxMs: 4,
  coalesceMs: 1,
  earlyCloseMs: 0,
};

export interface RunningReflectorOptions {
  readonly resource?: Resource;
  readonly limits?: Partial<ReflectorLimits>;
  readonly project?: (raw: KubernetesObject) => string | undefined;
  readonly token?: string;
  readonly responseTimeoutMs?: number;
  /** Called after each word; what it awaits keeps the reflector from telling the next. */
  readonly onWord?: (word: StoreEvent<string>) => Promise<void> | void;
}

/** A node as far as these tests care: the reflector's projection is its pod CIDR. */
export function node(name: string, podCIDR: string, more: object = {}) {
  return { kind: 'Node', apiVersion: 'v1', metadata: { name, ...more }, spec: { podCIDR } };
}

export function podCidrOf(raw: KubernetesObject): string | undefined {
  return (raw as { spec?: { podCIDR?: string } }).spec?.podCIDR;
}

/** A reflector whose words are applied to a view, as its reader would. */
export class RunningReflector {
  readonly api: KubernetesApi;
  readonly stream: StreamState;
  readonly words: StoreEvent<string>[] = [];
  readonly warnings: string[] = [];
  readonly view = new Map<string, string>();
  health: 'none' | 'fresh' | 'stale' | 'absent' = 'none';
  reason = '';
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;

  constructor(server: Pick<FakeApiServer, 'access'>, options: RunningReflectorOptions = {}) {
    const { resource = NODE_RESOURCE, limits, project = podCidrOf, onWord } = options;
    const logger: Logger = {
      debug() {},
      info() {},
      warn: (fields, message) => void this.warnings.push(`${message}: ${JSON.stringify(fields)}`),
      error() {},
    };
    this.api = new KubernetesApi(server.access(options.token), {
      clock: systemClock,
      logger,
      ...(options.responseTimeoutMs === undefined ? {} : { responseTimeoutMs: options.responseTimeoutMs }),
    });
    const prng = new Prng(1);
    this.stream = new StreamRegistry().open('kubernetes:test', resource.plural);
    const reflector = new Reflector<string>({
      api: this.api,
      resource,
      project,
      stream: this.stream,
      clock: systemClock,
      logger,
      random: () => prng.u32() / 2 ** 32,
      limits: { ...QUICK, ...limits },
    });
    this.#done = this.#run(reflector, onWord ?? (() => undefined));
  }

  get shown(): string {
    return showMap(this.view);
  }

  count(kind: StoreEvent<string>['kind']): number {
    return this.words.filter((word) => word.kind === kind).length;
  }

  /** Waits for exactly these objects, each `key=value`. */
  async shows(...objects: string[]): Promise<void> {
    const wanted = objects.sort().join();
    await this.until(() => this.health !== 'none' && this.shown === wanted);
  }

  async isFresh(): Promise<void> {
    await this.until(() => this.health === 'fresh');
  }

  async isStale(reason: RegExp): Promise<void> {
    await this.until(() => this.health === 'stale' && reason.test(this.reason));
  }

  async until(condition: () => boolean): Promise<void> {
    await until(condition, () => [this.shown, this.health, this.reason, this.stream]);
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#done;
    this.api.close();
  }

  async #run(reflector: Reflector<string>, onWord: (word: StoreEvent<string>) => Promise<void> | void) {
    for await (const word of reflector.events(this.#abort.signal)) {
      this.#apply(word);
      this.words.push(word);
      await onWord(word);
    }
  }

  #apply(word: StoreEvent<string>): void {
    if (word.kind === 'replace') this.view.clear();
    if (word.kind === 'replace') for (const [key, value] of word.objects) this.view.set(key, value);
    if (word.kind === 'change') {
      for (const [key, value] of word.upserts) this.view.set(key, value);
      for (const key of word.removed) if (!this.view.delete(key)) throw new Error(`${key} was never told`);
      return;
    }
    this.health = word.kind === 'replace' ? 'fresh' : word.kind;
    if (word.kind === 'stale' || word.kind === 'absent') this.reason = word.reason;
  }
}

export function showMap(objects: Iterable<[string, string]>): string {
  return Array.from(objects, ([key, value]) => `${key}=${value}`)
    .sort()
    .join();
}
