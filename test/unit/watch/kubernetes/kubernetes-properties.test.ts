import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KubernetesWatcher } from '../../../../src/watch/kubernetes/kubernetes.ts';
import { FakeConnection, testEnvironment } from '../fake-connection.ts';
import { until } from '../running-watcher.ts';
import { ToldClaims } from '../told-claims.ts';

const SEED = 20_260_418;
const RUNS = 60;

const COLLECTIONS = {
  nodes: 'nodes',
  services: 'servicecidrs.networking.k8s.io',
  tunnelGateways: 'tunnelgateways.isthmus.network',
  remoteClusters: 'remoteclusters.isthmus.network',
} as const;
type Collection = keyof typeof COLLECTIONS;

/** An object as the model has it: what it claims, or that it makes no sense. */
interface Spec {
  readonly broken: boolean;
  readonly cidr: number;
  readonly address: number;
  readonly edge: boolean;
  readonly ready: boolean;
}

type Op =
  | { readonly kind: 'put' | 'delete'; readonly at: Collection; readonly name: string; readonly spec: Spec }
  | {
      readonly kind: 'relist';
      readonly at: Collection;
      readonly changes: readonly { readonly name: string; readonly spec: Spec | undefined }[];
    }
  | { readonly kind: 'fail' | 'recover'; readonly at: Collection }
  | { readonly kind: 'settle' };

const collection = fc.constantFrom<Collection>(
  'nodes',
  'nodes',
  'nodes',
  'services',
  'tunnelGateways',
  'remoteClusters',
);
const name = fc.integer({ min: 0, max: 5 }).map((i) => `x${i}`);
const spec: fc.Arbitrary<Spec> = fc.record({
  broken: fc.integer({ min: 0, max: 5 }).map((i) => i === 0),
  cidr: fc.integer({ min: 0, max: 20 }),
  address: fc.integer({ min: 1, max: 6 }),
  edge: fc.boolean(),
  ready: fc.boolean(),
});
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('put' as const), at: collection, name, spec }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('delete' as const), at: collection, name, spec }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('relist' as const),
      at: collection,
      changes: fc.array(fc.record({ name, spec: fc.option(spec, { nil: undefined }) }), { maxLength: 4 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom('fail' as const, 'recover' as const), at: collection }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'settle' as const }) },
);

const cidrOf = (at: Collection, { cidr }: Spec): string =>
  `10.${{ nodes: 2, services: 112, tunnelGateways: 0, remoteClusters: 3 }[at]}.${cidr}.0/24`;
const addressOf = ({ address }: Spec): string => `172.31.0.${address}`;

/** As it is in the API. */
function objectOf(at: Collection, object: Spec): object {
  const cidr = object.broken ? 'nonsense' : cidrOf(at, object);
  if (at === 'nodes') {
    return {
      metadata: { labels: object.edge ? { edge: '' } : {} },
      spec: { podCIDRs: [cidr] },
      status: {
        addresses: [{ type: 'InternalIP', address: addressOf(object) }],
        conditions: [{ type: 'Ready', status: object.ready ? 'True' : 'Unknown' }],
      },
    };
  }
  if (at === 'services') return { spec: { cidrs: [cidr] } };
  if (at === 'remoteClusters')
    return { spec: { cidrs: [cidr], gateways: [{ address: addressOf(object), weight: 1 }] } };
  const clusters = object.edge ? [] : ['north'];
  return { spec: { address: object.broken ? 'nonsense' : addressOf(object), clusters } };
}

/** The objects as they were when they last made sense, and what they claim, computed from scratch. */
class Model {
  readonly #good = new Map<Collection, Map<string, Spec>>();
  readonly #broken = new Set<string>();
  readonly #away = new Set<Collection>();

  put(at: Collection, key: string, object: Spec): void {
    this.#away.delete(at);
    if (object.broken) this.#broken.add(`${at}/${key}`);
    else {
      this.#broken.delete(`${at}/${key}`);
      this.#of(at).set(key, object);
    }
  }

  delete(at: Collection, key: string): void {
    this.#broken.delete(`${at}/${key}`);
    this.#of(at).delete(key);
  }

  hear(at: Collection, word: 'fail' | 'recover'): void {
    if (word === 'fail') this.#away.add(at);
    else this.#away.delete(at);
  }

  hasProblems(read: readonly Collection[]): boolean {
    return read.some((at) => this.#away.has(at) || [...this.#broken].some((key) => key.startsWith(`${at}/`)));
  }

  claims(mode: Mode): string[] {
    const lines: string[] = [];
    const gateways = [...this.#gateways(mode)].sort().join(' ') || 'nobody';
    for (const [key, object] of this.#of('nodes')) {
      const by = mode === 'all' ? addressOf(object) : gateways;
      lines.push(
        `Node/${key} ${cidrOf('nodes', object)} ${mode === 'local' ? 'east local pods' : `west by ${by}`}`,
      );
    }
    for (const [key, object] of this.#of('services')) {
      const whose = mode === 'local' ? 'east local services' : `west by ${gateways}`;
      lines.push(`ServiceCIDR/${key} ${cidrOf('services', object)} ${whose}`);
    }
    if (mode === 'local') {
      for (const [key, object] of this.#of('remoteClusters')) {
        const cidr = cidrOf('remoteClusters', object);
        lines.push(`RemoteCluster/${key}:${cidr} ${cidr} ${key} by ${addressOf(object)}`);
      }
    }
    return lines.sort();
  }

  #gateways(mode: Mode): Set<string> {
    if (mode === 'objects') {
      const serving = [...this.#of('tunnelGateways').values()].filter(({ edge }) => edge);
      return new Set(serving.map(addressOf));
    }
    const nodes = [...this.#of('nodes').values()].filter(({ edge }) => mode === 'all' || edge);
    const ready = nodes.filter((node) => node.ready);
    return new Set((ready.length > 0 ? ready : nodes).map(addressOf));
  }

  #of(at: Collection): Map<string, Spec> {
    const known = this.#good.get(at) ?? new Map<string, Spec>();
    this.#good.set(at, known);
    return known;
  }
}

type Mode = 'local' | 'all' | 'labels' | 'objects';

const READ: Readonly<Record<Mode, readonly Collection[]>> = {
  local: ['nodes', 'services', 'remoteClusters'],
  all: ['nodes', 'services'],
  labels: ['nodes', 'services'],
  objects: ['nodes', 'services', 'tunnelGateways'],
};

async function run(mode: Mode, ops: readonly Op[]): Promise<void> {
  const server = new FakeConnection().serve(...Object.values(COLLECTIONS));
  const told = new ToldClaims();
  const model = new Model();
  let stale = false;
  let spoken = false;
  const abort = new AbortController();
  const watcher = new KubernetesWatcher({
    name: 'kubernetes:test',
    cluster: mode === 'local' ? 'local' : 'west',
    ownCluster: 'east',
    api: { kind: 'in-cluster' },
    gateways:
      mode === 'labels'
        ? { kind: 'labels', selector: 'edge' }
        : { kind: mode === 'objects' ? 'objects' : 'all' },
    serviceCidrs: 'auto',
    addressType: 'InternalIP',
    remoteClusters: true,
    children: { set() {}, retain() {} },
    environment: testEnvironment(),
    connect: server.connect,
  });
  const running = (async () => {
    for await (const word of watcher.watch(abort.signal)) {
      told.apply(word);
      spoken = true;
      stale = word.kind === 'stale' || (word.kind !== 'fresh' && word.stale !== undefined);
    }
  })();
  const settled = () =>
    until(
      () =>
        spoken &&
        stale === model.hasProblems(READ[mode]) &&
        told.lines.join('\n') === model.claims(mode).join('\n'),
      () => ({
        mode,
        told: told.lines,
        wanted: model.claims(mode),
        stale,
        problems: model.hasProblems(READ[mode]),
      }),
    );
  await settled();
  for (const step of ops) {
    if (step.kind === 'settle') await settled();
    else perform(step, server, model, READ[mode].includes(step.at));
  }
  await settled();
  abort.abort();
  await running;
  assert.deepEqual(server.readers, []);
}

function perform(
  step: Exclude<Op, { kind: 'settle' }>,
  server: FakeConnection,
  model: Model,
  isRead: boolean,
): void {
  const { at } = step;
  const where = COLLECTIONS[at];
  if (step.kind === 'put') {
    server.put(where, step.name, objectOf(at, step.spec));
    model.put(at, step.name, step.spec);
  } else if (step.kind === 'delete') {
    server.delete(where, step.name);
    model.delete(at, step.name);
    // Any word but `stale` says that the server is back.
    model.hear(at, 'recover');
  } else if (step.kind === 'relist') {
    const last = new Map(step.changes.map((change) => [change.name, change.spec]));
    server.relist(where, (objects) => {
      for (const [key, object] of last) {
        const raw = object && { ...objectOf(at, object) };
        if (raw === undefined) objects.delete(key);
        else
          objects.set(key, { ...raw, metadata: { ...(raw as { metadata?: object }).metadata, name: key } });
      }
    });
    for (const [key, object] of last) {
      if (object === undefined) model.delete(at, key);
      else model.put(at, key, object);
    }
    model.hear(at, 'recover');
  } else if (isRead) {
    if (step.kind === 'fail') server.fail('refused', where);
    else server.recover(where);
    model.hear(at, step.kind);
  }
}

for (const mode of ['local', 'all', 'labels', 'objects'] as const) {
  test(`whatever happens to the objects, what is told adds up to what they claim (${mode})`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(op, { maxLength: 40 }), (ops) => run(mode, ops)),
      { seed: SEED, numRuns: RUNS },
    );
  });
}
