import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type CidrKey, cidrKey, formatCidr } from '../../../src/base/address.ts';
import type { Claim, ClaimUpdate } from '../../../src/table/claim.ts';
import type { ForwardedRoute, Route } from '../../../src/table/route.ts';
import { Table } from '../../../src/table/table.ts';
import { claim, gateway, options, SETTINGS } from './fixtures.ts';
import { NaiveModel } from './naive-model.ts';

/** Another seed, for a longer search: ISTHMUS_TEST_SEED=n. */
const SEED = Number(process.env.ISTHMUS_TEST_SEED ?? 2003);

/** Few enough that claims meet; nested, some local or martian, and some that hold gateways of the list below. */
const CIDRS = [
  '10.0.0.0/8',
  '10.2.0.0/16',
  '10.2.3.0/24',
  '10.2.3.4/32',
  '10.1.7.0/24',
  '172.31.0.0/24',
  '172.16.0.0/12',
  '127.0.0.0/8',
  'fd00:2::/48',
  'fd00:2:0:3::/64',
  'fe80:1::/64',
];
const GATEWAYS = [
  '172.31.0.2',
  '172.31.0.3',
  '172.31.0.3*5',
  '172.31.1.9',
  '10.2.3.4',
  '10.9.9.9',
  '172.31.0.1',
  '192.0.2.1',
];
const PRIORITIES = { a: 0, b: 0, c: 7 };
const SOURCES = Object.keys(PRIORITIES) as (keyof typeof PRIORITIES)[];

const claims = fc
  .record({
    id: fc.nat(7).map((id) => `id${id}`),
    cluster: fc.constantFrom('west', 'north', 'south'),
    cidr: fc.constantFrom(...CIDRS),
    gateways: fc.array(fc.constantFrom(...GATEWAYS), { maxLength: 2 }),
  })
  .map(
    ({ id, cluster, cidr, gateways }): Claim => ({
      ...claim(cluster, cidr, '', id),
      gateways: gateways.map(gateway),
    }),
  );

const updates: fc.Arbitrary<ClaimUpdate> = fc.oneof(
  {
    arbitrary: fc
      .array(claims, { maxLength: 5 })
      .map((list): ClaimUpdate => ({ kind: 'upsert', claims: list })),
    weight: 4,
  },
  {
    arbitrary: fc
      .array(claims, { maxLength: 8 })
      .map((list): ClaimUpdate => ({ kind: 'replace', claims: lastOfEachId(list) })),
    weight: 2,
  },
  {
    arbitrary: fc
      .array(fc.nat(7), { maxLength: 4 })
      .map((ids): ClaimUpdate => ({ kind: 'remove', ids: ids.map((id) => `id${id}`) })),
    weight: 2,
  },
  { arbitrary: fc.constant<ClaimUpdate>({ kind: 'stale', reason: 'away' }), weight: 1 },
  { arbitrary: fc.constant<ClaimUpdate>({ kind: 'fresh' }), weight: 1 },
);

const steps = fc.array(
  fc.record({
    source: fc.constantFrom(...SOURCES),
    update: updates,
    take: fc.boolean(),
    restart: fc.nat(9).map((n) => n === 0),
  }),
  { maxLength: 40, size: 'max' },
);

/** In a `replace` each id stands once; upserts keep their doubles, which are changes one after another. */
function lastOfEachId(list: readonly Claim[]): Claim[] {
  return [...new Map(list.map((one) => [one.id, one])).values()];
}

function newTable(): Table {
  const table = new Table(SETTINGS);
  for (const name of SOURCES) table.addSource(name, options({ priority: PRIORITIES[name], holdMs: 0 }));
  return table;
}

function textOf({ cidr, cluster, gateways }: ForwardedRoute): string {
  return `${formatCidr(cidr)} ${cluster} ${gateways.map(({ address, weight }) => `${address}*${weight}`).join(' ')}`;
}

const sortedTexts = (routes: Iterable<Route>) => Array.from(routes, textOf).sort();

describe('any sequence of updates', () => {
  it('gives the routes that the rules written down naively give, across restarts too', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const model = new NaiveModel(PRIORITIES);
        let table = newTable();
        for (const { source, update, restart } of sequence) {
          table.apply(source, update, 0, 0);
          model.apply(source, update);
          if (restart) {
            const text = table.snapshot();
            table = newTable();
            table.restore(text, 0, 0);
          }
          assert.deepEqual(sortedTexts(table.routes()), model.routes());
        }
      }),
      { seed: SEED, numRuns: 150 },
    );
  });

  it('gives changes that lead a mirror to the routes, whenever they are taken, and never one that changes nothing', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const table = newTable();
        const mirror = new Map<CidrKey, string>();
        for (const { source, update, take } of [
          ...sequence,
          { source: 'a' as const, update: { kind: 'fresh' } as const, take: true },
        ]) {
          table.apply(source, update, 0, 0);
          if (!take) continue;
          const { set, removed } = table.takeChanges();
          for (const route of set) {
            assert.notEqual(
              mirror.get(cidrKey(route.cidr)),
              textOf(route),
              'a route that is set is new or different',
            );
            mirror.set(cidrKey(route.cidr), textOf(route));
          }
          for (const cidr of removed)
            assert.ok(mirror.delete(cidrKey(cidr)), 'a route that is removed was there');
          assert.deepEqual([...mirror.values()].sort(), sortedTexts(table.routes()));
        }
      }),
      { seed: SEED, numRuns: 150 },
    );
  });

  it('never takes a CIDR from a cluster that can still make a route for it', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const model = new NaiveModel(PRIORITIES);
        const table = newTable();
        for (const { source, update } of sequence) {
          const before = [...table.routes()];
          table.apply(source, update, 0, 0);
          model.apply(source, update);
          const able = new Set(
            model.able().map(({ claim: { cidr, cluster } }) => `${formatCidr(cidr)} ${cluster}`),
          );
          for (const { cidr, cluster } of before) {
            if (!able.has(`${formatCidr(cidr)} ${cluster}`)) continue;
            assert.equal(
              table.route(cidr)?.cluster,
              cluster,
              `${formatCidr(cidr)} flapped away from ${cluster}`,
            );
          }
        }
      }),
      { seed: SEED, numRuns: 150 },
    );
  });

  it('accounts for every claim: it makes a route, is outranked by a higher priority, or is refused once with a reason', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const table = newTable();
        for (const { source, update } of sequence) table.apply(source, update, 0, 0);
        const refused = table.refused();
        const used = Array.from(table.routes(), ({ origins }) => origins).flat();
        const names = [...refused.map(({ source, id }) => `${source}/${id}`), ...used];
        assert.equal(new Set(names).size, names.length, 'no claim is in two places');
        const counts = table.sources();
        const claimed = counts.reduce((sum, source) => sum + source.claims, 0);
        assert.equal(
          counts.reduce((sum, source) => sum + source.refused, 0),
          refused.length,
        );
        assert.ok(names.length <= claimed);
        assert.equal(
          refused.filter(({ reason }) => reason === 'conflict').length > 0,
          table.conflicts().length > 0,
        );
        assert.deepEqual(
          {
            routes: [...table.routes()].length,
            refused: refused.length,
            conflicts: table.conflicts().length,
            shadows: table.shadows().length,
          },
          table.counts(),
        );
      }),
      { seed: SEED, numRuns: 150 },
    );
  });

  it('leaves nothing behind when all sources have taken everything back', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const table = newTable();
        for (const { source, update } of sequence) table.apply(source, update, 0, 0);
        for (const source of SOURCES) table.apply(source, { kind: 'replace', claims: [] }, 0, 0);
        assert.deepEqual(table.counts(), { routes: 0, refused: 0, conflicts: 0, shadows: 0 });
        assert.match(table.snapshot(), /"gateways":\[\],"gatewayLists":\[\]/);
      }),
      { seed: SEED, numRuns: 100 },
    );
  });
});
