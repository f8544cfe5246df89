import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatCidr, parseAddress, parseCidr } from '../../../../src/base/address.ts';
import type { Claim, Gateway } from '../../../../src/table/claim.ts';
import { CiliumClaims } from '../../../../src/watch/cilium/cilium-claims.ts';
import type { CiliumNode } from '../../../../src/watch/cilium/cilium-node.ts';
import { linesOf, ToldClaims } from '../told-claims.ts';

const NAMES = ['a', 'b', 'c', 'd'];

const step = fc.record({
  name: fc.constantFrom(...NAMES),
  /** Of the name, so that no two nodes share an address. */
  cidrs: fc.uniqueArray(fc.integer({ min: 0, max: 3 }), { maxLength: 3 }),
  hasAddress: fc.boolean(),
  matches: fc.boolean(),
  what: fc.constantFrom('upsert', 'upsert', 'remove', 'break', 'relist'),
  tell: fc.boolean(),
});

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function nodeOf({ name, cidrs, hasAddress, matches }: Step): CiliumNode {
  const ranges = cidrs.map((n) => parseCidr(`10.${NAMES.indexOf(name)}.${n}.0/24`));
  return {
    ranges: ranges.map((cidr) => ({ id: `CiliumNode/${name}:${formatCidr(cidr)}`, cidr })),
    address: hasAddress ? parseAddress(`10.0.0.${NAMES.indexOf(name) + 1}`) : undefined,
    matches,
    ready: true,
  };
}

function claimsOf(nodes: Iterable<CiliumNode>, selection: 'all' | 'labels'): Claim[] {
  const all = [...nodes];
  const gatewayOf = ({ address }: CiliumNode): Gateway[] =>
    address === undefined ? [] : [{ address, weight: 1 }];
  const chosen = all.filter(({ matches }) => matches).flatMap(gatewayOf);
  return all.flatMap((node) =>
    node.ranges.map((range) => ({
      ...range,
      cluster: 'west',
      gateways: selection === 'all' ? gatewayOf(node) : chosen,
    })),
  );
}

for (const selection of ['all', 'labels'] as const) {
  test(`gateways ${selection}: after any changes the told claims are those computed from scratch`, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const derived = new CiliumClaims({ local: false, cluster: 'west', selection });
        const good = new Map<string, CiliumNode>();
        const told = new ToldClaims();
        for (const taken of steps) {
          const { name, what } = taken;
          const say = (event: object) =>
            derived.apply({ stream: 'nodes', event } as Parameters<CiliumClaims['apply']>[0]);
          if (what === 'break') {
            say({ kind: 'change', upserts: new Map([[name, { problem: 'wrong' }]]), removed: [] });
          } else {
            if (what === 'remove' || (what === 'relist' && good.has(name))) good.delete(name);
            else good.set(name, nodeOf(taken));
            if (what === 'relist') say({ kind: 'replace', objects: new Map(good) });
            else if (what === 'remove') say({ kind: 'change', upserts: new Map(), removed: [name] });
            else say({ kind: 'change', upserts: new Map([[name, nodeOf(taken)]]), removed: [] });
          }
          if (!taken.tell) continue;
          derived.settle();
          if (what === 'relist') told.apply({ kind: 'replace', claims: derived.ledger.all() });
          else for (const update of derived.ledger.changes()) told.apply(update);
          assert.deepEqual(told.lines, linesOf(claimsOf(good.values(), selection)));
        }
      }),
      { seed: 11 },
    );
  });
}
