import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseCidr } from '../../../src/base/address.ts';
import type { Claim } from '../../../src/table/claim.ts';
import { ClaimLedger } from '../../../src/watch/claim-ledger.ts';
import { linesOf, ToldClaims } from './told-claims.ts';

function claim(id: string, cidr: string, ...gateways: number[]): Claim {
  return {
    id,
    cidr: parseCidr(cidr),
    cluster: 'west',
    gateways: gateways.map((address) => ({ address, weight: 1 })),
  };
}

test('tells only what differs from what was told', () => {
  const ledger = new ClaimLedger();
  ledger.put('n', [claim('a', '10.1.0.0/24', 1)]);
  assert.deepEqual(
    ledger.all().map(({ id }) => id),
    ['a'],
  );
  ledger.put('n', [claim('a', '10.1.0.0/24', 1)]);
  assert.deepEqual(ledger.changes(), []);
  ledger.put('n', [claim('a', '10.1.0.0/24', 2)]);
  assert.deepEqual(ledger.changes(), [{ kind: 'upsert', claims: [claim('a', '10.1.0.0/24', 2)] }]);
  ledger.put('n', []);
  assert.deepEqual(ledger.changes(), [{ kind: 'remove', ids: ['a'] }]);
  assert.deepEqual(ledger.changes(), []);
});

test('tells what takes over a CIDR before what gives it up', () => {
  const ledger = new ClaimLedger();
  ledger.put('old', [claim('old', '10.1.0.0/24', 1)]);
  ledger.all();
  ledger.put('old', []);
  ledger.put('new', [claim('new', '10.1.0.0/24', 2)]);
  assert.deepEqual(
    ledger.changes().map(({ kind }) => kind),
    ['upsert', 'remove'],
  );
});

test('what was told is at any time what all owners claim', () => {
  const step = fc.record({
    owner: fc.constantFrom('a', 'b', 'c'),
    claims: fc.uniqueArray(
      fc.record({ n: fc.integer({ min: 0, max: 3 }), gateway: fc.integer({ min: 1, max: 2 }) }),
      {
        selector: ({ n }) => n,
        maxLength: 3,
      },
    ),
    word: fc.constantFrom('changes', 'all', 'none'),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const ledger = new ClaimLedger();
      const told = new ToldClaims();
      const owners = new Map<string, Claim[]>();
      for (const { owner, claims, word } of steps) {
        const put = claims.map(({ n, gateway }) => claim(`${owner}${n}`, `10.${n}.0.0/24`, gateway));
        ledger.put(owner, put);
        owners.set(owner, put);
        if (word === 'none') continue;
        if (word === 'all') told.apply({ kind: 'replace', claims: ledger.all() });
        else for (const update of ledger.changes()) told.apply(update);
        assert.deepEqual(told.lines, linesOf([...owners.values()].flat()));
      }
    }),
    { seed: 20 },
  );
});
