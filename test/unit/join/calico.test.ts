import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { entriesOf, mergeExternalNodes } from '../../../src/join/calico.ts';

test('what somebody else put on the list stays, and is not taken for ours', () => {
  assert.deepEqual(mergeExternalNodes(['a', 'b'], [], [], ['b', 'c']), {
    list: ['a', 'b', 'c'],
    ours: ['c'],
  });
});

test('an entry of ours that is needed no more goes', () => {
  assert.deepEqual(mergeExternalNodes(['a', 'b', 'c'], ['b', 'c'], [], ['c']), {
    list: ['a', 'c'],
    ours: ['c'],
  });
});

test('an entry that another cluster needs as well stays until that one leaves', () => {
  assert.deepEqual(mergeExternalNodes(['b'], [], ['b'], ['b']), { list: ['b'], ours: ['b'] });
  assert.deepEqual(mergeExternalNodes(['b'], ['b'], ['b'], []), { list: ['b'], ours: [] });
  assert.deepEqual(mergeExternalNodes(['b'], ['b'], [], []), { list: [], ours: [] });
});

test('joining any number of clusters and leaving them in any order restores the list', () => {
  const entry = fc.constantFrom('a', 'b', 'c', 'd', 'e');
  const entries = fc.uniqueArray(entry);
  fc.assert(
    fc.property(
      entries,
      fc.array(entries, { minLength: 1, maxLength: 4 }),
      fc.nat(),
      (before, peers, turn) => {
        const recorded: string[][] = peers.map(() => []);
        let list: readonly string[] = before;
        const change = (peer: number, wanted: readonly string[]): void => {
          const others = recorded.filter((_, other) => other !== peer).flat();
          const merged = mergeExternalNodes(list, recorded[peer]!, others, wanted);
          list = merged.list;
          recorded[peer] = [...merged.ours];
          for (const needed of wanted) assert.ok(list.includes(needed));
        };
        for (const [peer, wanted] of peers.entries()) {
          change(peer, wanted);
          const first = list;
          change(peer, wanted);
          assert.deepEqual(list, first);
        }
        for (const n of peers.keys()) change((n + turn) % peers.length, []);
        assert.deepEqual(list, before);
      },
    ),
    { seed: 3 },
  );
});

test('a list of gateways is taken up to its limit and refused beyond', () => {
  const gateways = (count: number) => Array.from({ length: count }, (_, n) => `10.0.${n >> 8}.${n & 255}`);
  assert.equal(entriesOf(gateways(4096), 'west').length, 4096);
  assert.throws(() => entriesOf(gateways(4097), 'west'), /west has 4097 gateways.*at most 4096/);
});
