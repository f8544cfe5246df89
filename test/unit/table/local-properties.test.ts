import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Cidr, cidrContains, cidrHolds, formatCidr, parseCidr } from '../../../src/base/address.ts';
import type { Claim, ClaimUpdate } from '../../../src/table/claim.ts';
import { Cover } from '../../../src/table/cover.ts';
import { Table } from '../../../src/table/table.ts';
import { claim, learnedOf, localClaim, options, routesOf, SETTINGS } from './fixtures.ts';
import { NaiveLocalModel } from './naive-local-model.ts';

/** Another seed, for a longer search: ISTHMUS_TEST_SEED=n. */
const SEED = Number(process.env.ISTHMUS_TEST_SEED ?? 2003);

/** All the ways in which a few CIDRs can hold, halve and miss one another. */
const CIDRS = [
  '10.0.0.0/8',
  '10.2.0.0/22',
  '10.2.0.0/23',
  '10.2.2.0/23',
  '10.2.0.0/24',
  '10.2.1.0/24',
  '10.2.2.0/24',
  '10.2.3.0/24',
  '10.2.1.0/25',
  '10.2.1.128/25',
  '10.1.7.0/24',
  '10.9.0.0/16',
  'fd00:2::/47',
  'fd00:2::/48',
  'fd00:2:1::/49',
  'fd00:2:1:8000::/49',
  'fd00:2:0:7::/64',
];
const CONFIGURED = [
  ['10.1.0.0/16'],
  ['10.1.0.0/16', '10.2.3.0/24', 'fd00:2::/48'],
  ['10.2.0.0/24', '10.2.2.0/23'],
].map((list) => list.map(parseCidr));
const SOURCES = ['a', 'b'];

const claims: fc.Arbitrary<Claim> = fc
  .record({
    id: fc.nat(9).map((id) => `id${id}`),
    cidr: fc.constantFrom(...CIDRS),
    owner: fc.constantFrom('ours', 'ours', 'west', 'north'),
  })
  .map(({ id, cidr, owner }) =>
    owner === 'ours' ? localClaim(cidr, 'pods', id) : claim(owner, cidr, '172.31.0.2', id),
  );

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      source: fc.constantFrom(...SOURCES),
      update: fc
        .array(claims, { maxLength: 4 })
        .map((list): ClaimUpdate => ({ kind: 'upsert', claims: list })),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      source: fc.constantFrom(...SOURCES),
      update: fc
        .uniqueArray(claims, { maxLength: 7, selector: ({ id }) => id })
        .map((list): ClaimUpdate => ({ kind: 'replace', claims: list })),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      source: fc.constantFrom(...SOURCES),
      update: fc
        .array(fc.nat(9), { maxLength: 4 })
        .map((ids): ClaimUpdate => ({ kind: 'remove', ids: ids.map((id) => `id${id}`) })),
    }),
  },
  { weight: 1, arbitrary: fc.record({ configured: fc.constantFrom(...CONFIGURED) }) },
  { weight: 1, arbitrary: fc.constant('restart' as const) },
);

function newTable(configured: readonly Cidr[]): Table {
  const table = new Table({ ...SETTINGS, local: configured });
  for (const name of SOURCES) table.addSource(name, options({ holdMs: 0 }));
  return table;
}

/** Plays the steps on a table and on the model, and calls `check` after each. */
function play(
  steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[],
  check: (table: Table, model: NaiveLocalModel, configured: readonly Cidr[], restarted: boolean) => void,
): void {
  let configured = CONFIGURED[0]!;
  let table = newTable(configured);
  const model = new NaiveLocalModel(SOURCES, configured);
  for (const what of steps) {
    if (what === 'restart') {
      const text = table.snapshot();
      table = newTable(configured);
      table.restore(text, 0, 0);
    } else if ('configured' in what) {
      configured = what.configured;
      table.reconfigure({ ...SETTINGS, local: configured }, 0, 0);
      model.configure(configured);
    } else {
      table.apply(what.source, what.update, 0, 0);
      model.apply(what.source, what.update);
    }
    check(table, model, configured, what === 'restart');
  }
}

const steps = fc.array(step, { maxLength: 40, size: 'max' });

describe('any sequence of own CIDRs and routes', () => {
  it('gives what the rules written down naively give, across restarts and other configurations too', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        play(sequence, (table, model) => {
          assert.deepEqual(learnedOf(table), model.learned());
          assert.deepEqual(routesOf(table), model.routes());
        });
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  it('makes ours exactly what is configured or stands, and leaves no route inside it', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        play(sequence, (table, model, configured) => {
          const each = [...configured.map(formatCidr), ...learnedOf(table)].map(parseCidr);
          const joined = table.local();
          for (const text of CIDRS) {
            const cidr = parseCidr(text);
            assert.equal(
              joined.some((ours) => cidrContains(ours, cidr)),
              model.isOurs(cidr),
              text,
            );
            assert.equal(
              table.isLocal(cidr.address),
              each.some((ours) => cidrHolds(ours, cidr.address)),
              text,
            );
          }
          for (const { cidr } of table.routes())
            assert.ok(!joined.some((ours) => cidrContains(ours, cidr)), `${formatCidr(cidr)} is ours`);
          for (const a of joined) for (const b of joined) assert.ok(a === b || !cidrContains(a, b));
        });
      }),
      { seed: SEED, numRuns: 150 },
    );
  });

  it('tells what is ours whenever it has changed, and never when it has not', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        let told = '';
        play(sequence, (table, _model, _configured, restarted) => {
          const { local } = table.takeChanges();
          const now = table.local().map(formatCidr).join();
          if (local !== undefined) assert.equal(local.map(formatCidr).join(), now);
          assert.equal(restarted || local !== undefined, restarted || now !== told);
          told = now;
        });
      }),
      { seed: SEED, numRuns: 100 },
    );
  });

  it('accounts for every claim once, as standing or as refused', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        play(sequence, (table) => {
          const refused = table.refused();
          const standing = table
            .localCidrs()
            .flatMap(({ origins }) => origins.filter((name) => name !== 'config'));
          const routed = Array.from(table.routes(), ({ origins }) => origins).flat();
          const names = [...refused.map(({ source, id }) => `${source}/${id}`), ...standing, ...routed];
          assert.equal(new Set(names).size, names.length);
          assert.equal(
            names.length,
            table.sources().reduce((sum, source) => sum + source.claims, 0),
          );
          assert.equal(
            refused.some(({ reason }) => reason === 'conflict'),
            table.conflicts().length > 0,
          );
          assert.equal(table.counts().conflicts, table.conflicts().length);
        });
      }),
      { seed: SEED, numRuns: 150 },
    );
  });
});

describe('the addresses that a set of CIDRs holds', () => {
  const short = fc.nat(255).chain((bits) =>
    fc.integer({ min: 0, max: 8 }).map(
      (length): Cidr => ({
        address: ((bits >> (8 - length)) << (8 - length)) + 0x0a02_0300,
        prefixLength: 24 + length,
      }),
    ),
  );

  it('are joined to the fewest CIDRs that a comparison of all addresses finds, whatever is added and removed', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(short, fc.nat(2)), { maxLength: 60 }), (changes) => {
        const cover = new Cover();
        const added: Cidr[] = [];
        for (const [cidr, what] of changes) {
          const gone = what === 0 ? added.shift() : undefined;
          if (gone === undefined) {
            added.push(cidr);
            cover.add(cidr);
          } else cover.remove(gone);
          assert.deepEqual(cover.joined().map(formatCidr), fewest(added));
        }
      }),
      { seed: SEED, numRuns: 200 },
    );
  });

  /** The largest aligned blocks of one /24 whose every address is held. */
  function fewest(cidrs: readonly Cidr[]): string[] {
    const held = Array.from({ length: 256 }, (_, i) =>
      cidrs.some((cidr) => cidrHolds(cidr, 0x0a02_0300 + i)),
    );
    const blocks: string[] = [];
    for (let at = 0; at < 256; ) {
      let size = 0;
      for (let next = 1; next <= 256 && at % next === 0; next *= 2) {
        if (at + next <= 256 && held.slice(at, at + next).every(Boolean)) size = next;
      }
      if (size > 0)
        blocks.push(formatCidr({ address: 0x0a02_0300 + at, prefixLength: 32 - Math.log2(size) }));
      at += Math.max(1, size);
    }
    return blocks;
  }
});
