import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseCidr } from '../../../../src/base/address.ts';
import type { Claim, ClaimUpdate } from '../../../../src/table/claim.ts';
import { AwayWatcher, amended } from '../../../../src/watch/kubernetes/child-watchers.ts';
import { claim, gateway } from '../../table/fixtures.ts';
import { linesOf, ToldClaims } from '../told-claims.ts';

const SEED = 20_260_419;

function saying(...updates: ClaimUpdate[]) {
  return {
    name: 'kubernetes:local/west',
    async *watch() {
      yield* updates;
    },
  };
}

async function heard(watcher: {
  watch(signal: AbortSignal): AsyncIterable<ClaimUpdate>;
}): Promise<ClaimUpdate[]> {
  const words: ClaimUpdate[] = [];
  for await (const word of watcher.watch(new AbortController().signal)) words.push(word);
  return words;
}

test('a cluster that cannot be read is stale for that reason, until it is told to end', async () => {
  const abort = new AbortController();
  const words = new AwayWatcher('kubernetes:local/west', 'no Secret').watch(abort.signal);
  assert.deepEqual((await words.next()).value, { kind: 'stale', reason: 'no Secret' });
  const end = words.next();
  abort.abort();
  assert.equal((await end).done, true);
});

test('a watcher that nothing is added to is left alone', () => {
  const watcher = saying();
  assert.equal(amended(watcher, { cluster: 'west', cidrs: [], gateways: undefined }), watcher);
});

test('what is stale or fresh stays so, whatever is added', async () => {
  const amendment = { cluster: 'west', cidrs: [parseCidr('10.9.0.0/16')], gateways: [gateway('172.31.0.9')] };
  const words = await heard(
    amended(
      saying(
        { kind: 'stale', reason: 'away' },
        { kind: 'replace', claims: [claim('west', '10.2.0.0/16')], stale: 'in part' },
        { kind: 'remove', ids: ['west:10.2.0.0/16'], stale: 'in part' },
        { kind: 'fresh' },
      ),
      amendment,
    ),
  );
  assert.deepEqual(
    words.map((word) => [
      word.kind,
      word.kind === 'stale' ? word.reason : word.kind === 'fresh' || word.stale,
    ]),
    [
      ['stale', 'away'],
      ['replace', 'in part'],
      ['remove', 'in part'],
      ['fresh', true],
    ],
  );
});

test('CIDRs without gateways of their own are behind those of all other claims, after any sequence of changes', async () => {
  const id = fc.integer({ min: 0, max: 7 });
  const claimed = fc.record({ id, by: fc.integer({ min: 1, max: 5 }), also: fc.integer({ min: 1, max: 5 }) });
  const asClaim = (made: { id: number; by: number; also: number }): Claim =>
    claim(
      'west',
      `10.2.${made.id}.0/24`,
      [...new Set([made.by, made.also])].map((last) => `172.31.0.${last}`).join(' '),
      `Node/${made.id}`,
    );
  const update = fc.oneof(
    fc.uniqueArray(claimed, { selector: (made) => made.id, maxLength: 8 }).map(
      (made): ClaimUpdate => ({
        kind: 'replace',
        claims: made.map(asClaim),
      }),
    ),
    fc.uniqueArray(claimed, { selector: (made) => made.id, maxLength: 3 }).map(
      (made): ClaimUpdate => ({
        kind: 'upsert',
        claims: made.map(asClaim),
      }),
    ),
    fc.uniqueArray(id, { maxLength: 3 }).map(
      (ids): ClaimUpdate => ({
        kind: 'remove',
        ids: ids.map((one) => `Node/${one}`),
      }),
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(update, { maxLength: 20 }), async (updates) => {
      const all: ClaimUpdate[] = [{ kind: 'replace', claims: [] }, ...updates];
      const words = await heard(
        amended(saying(...all), { cluster: 'west', cidrs: [parseCidr('10.9.0.0/16')], gateways: undefined }),
      );
      const told = new ToldClaims();
      for (const word of words) told.apply(word);
      assert.deepEqual(told.lines, fromScratch(all));
    }),
    { seed: SEED, numRuns: 200 },
  );
});

function fromScratch(updates: readonly ClaimUpdate[]): string[] {
  const claims = new Map<string, Claim>();
  for (const update of updates) {
    if (update.kind === 'replace') claims.clear();
    if (update.kind === 'replace' || update.kind === 'upsert')
      for (const made of update.claims) claims.set(made.id, made);
    if (update.kind === 'remove') for (const gone of update.ids) claims.delete(gone);
  }
  const addresses = new Map(
    [...claims.values()].flatMap(({ gateways }) => gateways).map((one) => [one.address, one]),
  );
  const own = claim('west', '10.9.0.0/16', '', 'RemoteCluster/west:10.9.0.0/16');
  return linesOf([...claims.values(), { ...own, gateways: [...addresses.values()] }]);
}
