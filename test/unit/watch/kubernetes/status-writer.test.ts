import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Prng } from '../../../../src/base/prng.ts';
import { type ClusterReport, ROWS_MAX } from '../../../../src/watch/kubernetes/cluster-status.ts';
import {
  REFRESH_INTERVAL_MS,
  StatusWriter,
  WRITE_INTERVAL_MS,
} from '../../../../src/watch/kubernetes/status-writer.ts';
import { ApiError } from '../../../../src/watch/kubernetes-api/api-error.ts';
import type { ApiAnswer, ApiRequest } from '../../../../src/watch/kubernetes-api/client.ts';
import { StepClock } from '../../host/step-clock.ts';

const LIST = '/apis/isthmus.network/v1alpha1/remoteclusters';
const SHARED = ['observedGeneration', 'conditions', 'routes', 'lastContactTime'];

interface Status {
  gateways: { name: string; lastContactTime?: string; routes: number }[];
  [field: string]: unknown;
}

/** The part of server-side apply that matters: rows by name, and what one manager leaves out goes unless another has it too. */
class FakeStatusApi {
  readonly status: Status = { gateways: [] };
  readonly owners = new Map<string, Set<string>>();
  readonly #rowOwners = new Map<string, string>();
  /** Manager of each write. */
  readonly writes: string[] = [];
  readonly requests: { method: string; options: ApiRequest }[] = [];
  refusal: ApiError | undefined;

  async request(method: string, path: string, options: ApiRequest = {}): Promise<ApiAnswer> {
    this.requests.push({ method, options });
    if (this.refusal !== undefined && (method === 'PATCH' || this.refusal.status === 404)) throw this.refusal;
    if (method === 'GET') {
      assert.equal(path, LIST);
      return { status: 200, body: { items: [this.#object()], metadata: {} }, length: 0 };
    }
    assert.equal(path, `${LIST}/west/status`);
    if (options.contentType === 'application/json-patch+json')
      this.#patch(options.body as { path: string; value?: string }[]);
    else this.#apply(options);
    return { status: 200, body: {}, length: 2 };
  }

  #object() {
    const managedFields = [...this.owners].map(([manager, fields]) => ({
      manager,
      operation: 'Apply',
      fieldsV1: { 'f:status': Object.fromEntries([...fields].map((field) => [`f:${field}`, {}])) },
    }));
    return structuredClone({
      metadata: { name: 'west', generation: 1, managedFields },
      spec: { access: { secretRef: { namespace: 'isthmus-system', name: 'west-access' } } },
      status: this.status,
    });
  }

  #patch([test, remove]: { path: string; value?: string }[]): void {
    const index = Number(/\d+/.exec(remove?.path ?? '')?.[0]);
    assert.equal(this.status.gateways[index]?.name, test?.value);
    this.status.gateways.splice(index, 1);
  }

  #apply({ query, body }: ApiRequest): void {
    const manager = query?.fieldManager ?? '';
    assert.equal(query?.force, 'true');
    const { status } = structuredClone(body) as { status: Partial<Status> };
    this.writes.push(manager);
    const rows = status.gateways ?? [];
    for (const [name, owner] of this.#rowOwners) {
      if (owner !== manager || rows.some((row) => row.name === name)) continue;
      this.#rowOwners.delete(name);
      this.status.gateways = this.status.gateways.filter((row) => row.name !== name);
    }
    for (const row of rows) {
      this.#rowOwners.set(row.name, manager);
      const at = this.status.gateways.findIndex(({ name }) => name === row.name);
      if (at >= 0) this.status.gateways[at] = row;
      else this.status.gateways.push(row);
    }
    const fields = new Set(SHARED.filter((field) => status[field] !== undefined));
    for (const field of this.owners.get(manager) ?? []) {
      const others = [...this.owners].some(([name, owned]) => name !== manager && owned.has(field));
      if (!fields.has(field) && !others) delete this.status[field];
    }
    this.owners.set(manager, fields);
    for (const field of fields) this.status[field] = status[field];
  }
}

class Rig {
  readonly api = new FakeStatusApi();
  readonly clock = new StepClock();
  readonly warned: object[] = [];
  told: ClusterReport = { routes: 2, gateways: 1, stale: false, reason: undefined, lastContactMs: null };
  readonly #random = new Prng(7);

  writer(gateway: string): StatusWriter {
    return new StatusWriter({
      api: this.api,
      gateway,
      report: (cluster) => {
        assert.equal(cluster, 'west');
        return { ...this.told, lastContactMs: this.clock.wallMs() };
      },
      clock: this.clock,
      logger: { debug() {}, info() {}, error() {}, warn: (fields) => this.warned.push(fields) },
      random: () => this.#random.u32() / 0x1_0000_0000,
    });
  }

  /** Every gateway looks each ten seconds. */
  async pass(ms: number, ...writers: StatusWriter[]): Promise<void> {
    for (let passed = 0; passed < ms; passed += 10_000) {
      this.clock.advance(10_000);
      for (const writer of writers) await writer.look(new AbortController().signal);
    }
  }
}

const conditionsOf = (status: Status) =>
  (status.conditions as { type: string; status: string }[] | undefined) ?? [];

describe('the status of a RemoteCluster', () => {
  it('has a row of each gateway, and what is common from the first of them by name', async () => {
    const rig = new Rig();
    const [a, b] = [rig.writer('a'), rig.writer('b')];
    await rig.pass(10_000, b, a);
    assert.deepEqual(
      rig.api.status.gateways.map(({ name }) => name),
      ['b', 'a'],
    );
    await rig.pass(300_000, b, a);
    assert.deepEqual([...(rig.api.owners.get('isthmus-a') ?? [])].sort(), SHARED.toSorted());
    assert.deepEqual([...(rig.api.owners.get('isthmus-b') ?? [])], [], 'b has left it to a');
    assert.equal(conditionsOf(rig.api.status).length, 3);
  });

  it('is never without conditions while another gateway comes to speak for all', async () => {
    const rig = new Rig();
    const [a, b] = [rig.writer('a'), rig.writer('b')];
    await rig.pass(30_000, b);
    for (let i = 0; i < 60; i++) {
      await rig.pass(10_000, ...(i % 2 === 0 ? [b, a] : [a, b]));
      assert.equal(conditionsOf(rig.api.status).length, 3);
    }
  });

  it('has rows of a few gateways however many there are, and never loses its conditions over that', async () => {
    const rig = new Rig();
    const writers = Array.from({ length: 60 }, (_, i) => rig.writer(`node-${i}`));
    for (let i = 0; i < 4; i++) {
      await rig.pass(10_000, ...writers);
      assert.equal(conditionsOf(rig.api.status).length, 3);
    }
    const names = rig.api.status.gateways.map(({ name }) => name);
    assert.equal(names.length, ROWS_MAX);
    const writesBefore = rig.api.writes.length;
    await rig.pass(REFRESH_INTERVAL_MS, ...writers);
    const manyWrites = rig.api.writes.length - writesBefore;
    assert.ok(manyWrites <= 2 * ROWS_MAX, `${manyWrites} writes of 60 gateways`);
    const [gone] = names;
    const left = writers.filter((_, i) => `node-${i}` !== gone);
    await rig.pass(600_000, ...left);
    const fresh = rig.api.status.gateways.filter(({ name }) => name !== gone);
    assert.equal(fresh.length, ROWS_MAX, 'another has come in the place of the one that is gone');
    await rig.pass(3_600_000, ...left);
    assert.equal(rig.api.status.gateways.length, ROWS_MAX);
  });

  it('is spoken for by another when the first gateway is gone, whose row goes after an hour', async () => {
    const rig = new Rig();
    const [a, b] = [rig.writer('a'), rig.writer('b')];
    await rig.pass(60_000, a, b);
    await rig.pass(600_000, b);
    rig.told = { ...rig.told, routes: 5 };
    await rig.pass(60_000, b);
    assert.equal(rig.api.status.routes, 5);
    assert.equal(rig.api.status.gateways.length, 2);
    await rig.pass(3_600_000, b);
    assert.deepEqual(
      rig.api.status.gateways.map(({ name }) => name),
      ['b'],
    );
  });

  it('is written rarely while nothing changes, and soon when something does', async () => {
    const rig = new Rig();
    const a = rig.writer('a');
    await rig.pass(1_200_000, a);
    assert.ok(
      rig.api.writes.length <= 1 + 1_200_000 / REFRESH_INTERVAL_MS,
      `${rig.api.writes.length} writes`,
    );
    const before = rig.api.writes.length;
    for (let i = 0; i < 60; i++) {
      rig.told = { ...rig.told, routes: 10 + i };
      await rig.pass(10_000, a);
    }
    const often = rig.api.writes.length - before;
    assert.ok(often > 5 && often <= 1 + 600_000 / WRITE_INTERVAL_MS, `${often} writes`);
    rig.told = { ...rig.told, stale: true, reason: 'refused' };
    await rig.pass(10_000, a);
    assert.equal(conditionsOf(rig.api.status).find(({ type }) => type === 'Reachable')?.status, 'False');
  });
});

describe('a status that cannot be written', () => {
  it('is counted, and logged once for each reason', async () => {
    const rig = new Rig();
    const a = rig.writer('a');
    rig.api.refusal = new ApiError({
      method: 'PATCH',
      path: `${LIST}/west/status`,
      verb: 'patch',
      server: 'https://198.51.100.1:6443',
      status: 403,
      reason: 'Forbidden',
      detail: 'no',
    });
    await rig.pass(50_000, a);
    assert.deepEqual([a.state.errors, a.state.writes, rig.warned.length], [5, 0, 1]);
    assert.match(
      a.state.problem ?? '',
      /403 Forbidden.*the right to patch remoteclusters\.isthmus\.network\/status is missing/,
    );
    rig.api.refusal = undefined;
    await rig.pass(10_000, a);
    assert.deepEqual([a.state.writes, a.state.problem], [1, null]);
  });

  it('of one object does not keep another from being written', async () => {
    const rig = new Rig();
    const written: string[] = [];
    const writer = new StatusWriter({
      api: {
        async request(method, path) {
          const items = ['bad', 'good'].map((name) => ({ metadata: { name }, spec: {} }));
          if (method === 'GET') return { status: 200, body: { items, metadata: {} }, length: 0 };
          if (!path.includes('/bad/')) written.push(path);
          else
            throw new ApiError({
              ...{ method, path, verb: 'patch', server: 'https://198.51.100.1:6443' },
              ...{ status: 422, reason: 'Invalid', detail: 'no' },
            });
          return { status: 200, body: {}, length: 2 };
        },
      },
      gateway: 'a',
      report: () => rig.told,
      clock: rig.clock,
      logger: { debug() {}, info() {}, error() {}, warn() {} },
      random: () => 0,
    });
    assert.equal(await writer.look(new AbortController().signal), false);
    assert.deepEqual(written, [`${LIST}/good/status`]);
    assert.match(writer.state.problem ?? '', /422 Invalid/);
  });

  it('is nothing to speak of where there are no RemoteClusters', async () => {
    const rig = new Rig();
    const a = rig.writer('a');
    rig.api.refusal = new ApiError({
      method: 'GET',
      path: LIST,
      verb: 'list',
      server: 'https://198.51.100.1:6443',
      status: 404,
      reason: 'NotFound',
      detail: '',
    });
    await rig.pass(50_000, a);
    assert.deepEqual([a.state.errors, a.state.problem, rig.warned], [0, null, []]);
  });
});

it('a gateway with a long name has a field manager that the API server accepts', async () => {
  const rig = new Rig();
  const names = ['x', 'y'].map((last) => `${'n'.repeat(200)}${last}`);
  await rig.pass(10_000, ...names.map((name) => rig.writer(name)));
  assert.equal(new Set(rig.api.writes).size, 2);
  for (const manager of rig.api.writes) assert.equal(manager.length, 128);
});
