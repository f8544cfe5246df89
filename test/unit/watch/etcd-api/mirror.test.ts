import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Mirror } from '../../../../src/watch/etcd-api/mirror.ts';
import type { EtcdEvent } from '../../../../src/watch/etcd-api/watch-messages.ts';

function mirrorOf(): Mirror<string> {
  const mirror = new Mirror<string>((_key, value) => (value === 'hidden' ? undefined : value));
  mirror.replace(0, 'store', new Map(), 0);
  return mirror;
}

function put(key: string, value: string, modRevision: number, version = 1): EtcdEvent {
  return { key, value, modRevision, version };
}

function gone(key: string, modRevision: number): EtcdEvent {
  return { key, value: undefined, modRevision, version: 0 };
}

test('the changes that are told lead from each state to the next, whatever came between', () => {
  const write = fc.record({
    key: fc.constantFrom('a', 'b', 'c'),
    value: fc.constantFrom('1', '2', 'hidden', undefined),
    isTaken: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(write, { maxLength: 40 }), (writes) => {
      const mirror = mirrorOf();
      const store = new Map<string, { value: string; version: number }>();
      const told = new Map<string, string>();
      let revision = 0;
      for (const { key, value, isTaken } of writes) {
        if (value === undefined) {
          // etcd tells of deletions only where there was something.
          if (store.delete(key)) mirror.apply([gone(key, ++revision)]);
        } else {
          const version = (store.get(key)?.version ?? 0) + 1;
          store.set(key, { value, version });
          mirror.apply([put(key, value, ++revision, version)]);
        }
        if (!isTaken) continue;
        const change = mirror.takeChange();
        if (change?.kind !== 'change') continue;
        for (const [changed, now] of change.upserts) {
          assert.notEqual(told.get(changed), now, 'what did not change is not told');
          told.set(changed, now);
        }
        for (const removed of change.removed) assert.ok(told.delete(removed));
      }
      const change = mirror.takeChange();
      if (change?.kind === 'change') {
        for (const [changed, now] of change.upserts) told.set(changed, now);
        for (const removed of change.removed) told.delete(removed);
      }
      const shown = [...store]
        .filter(([, { value }]) => value !== 'hidden')
        .map(([key, { value }]) => [key, value]);
      assert.deepEqual(new Map(told), new Map(shown as [string, string][]));
      assert.deepEqual(mirror.objects(), told);
      assert.equal(mirror.keys, store.size);
      assert.equal(mirror.nextRevision, revision + 1);
    }),
    { seed: 13 },
  );
});

test('events of a revision that is known already are passed over', () => {
  const mirror = mirrorOf();
  mirror.apply([put('a', '1', 5), put('b', '1', 5)]);
  mirror.apply([put('a', '1', 5), gone('b', 5)]);
  assert.equal(mirror.keys, 2);
  assert.equal(mirror.nextRevision, 6);
  mirror.confirm(9);
  mirror.confirm(7);
  assert.equal(mirror.nextRevision, 10);
});
