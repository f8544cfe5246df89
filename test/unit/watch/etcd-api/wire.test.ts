import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decode, encode, rangeEnd, shaped } from '../../../../src/watch/etcd-api/wire.ts';

test('the end of a prefix is the prefix with its last byte raised', () => {
  assert.equal(decode(rangeEnd('/isthmus/')), '/isthmus0');
  assert.deepEqual([...Buffer.from(rangeEnd(''), 'base64')], [0]);
});

test('exactly the keys that begin with a prefix lie in its range', () => {
  // Few letters, so that keys often begin alike; the last two are the ends of what UTF-8 says in two and in four bytes.
  const unit = fc.constantFrom('/', '0', 'a', '\u07ff', '\u{10ffff}');
  const text = fc.string({ unit, maxLength: 4 });
  const prefixes = fc.string({ unit, minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(prefixes, text, fc.boolean(), (prefix, rest, within) => {
      const [from, end] = [Buffer.from(prefix), Buffer.from(rangeEnd(prefix), 'base64')];
      const key = Buffer.from(within ? prefix + rest : rest);
      const lies = Buffer.compare(from, key) <= 0 && Buffer.compare(key, end) < 0;
      assert.equal(lies, key.subarray(0, from.length).equals(from));
    }),
    { seed: 12 },
  );
});

test('what etcd leaves out is the default of its type', () => {
  const answer = shaped('range', { header: { cluster_id: '1', revision: '5' } });
  assert.deepEqual(answer, { header: { cluster_id: '1', revision: 5 }, kvs: [], more: false, count: 0 });
  const line = shaped('watch', {
    result: { header: { revision: '6' }, events: [{ kv: { key: encode('a') } }] },
  });
  assert.ok('result' in line);
  assert.deepEqual(line.result.events, [
    { type: 'PUT', kv: { key: encode('a'), value: '', mod_revision: 0, version: 0, lease: '0' } },
  ]);
  assert.equal(shaped('keepAlive', { result: { ID: '1' } }).result.TTL, 0);
});

test('an answer that is not as the API says names the field', () => {
  assert.throws(
    () => shaped('range', { header: { revision: 'soon' } }),
    /answer to range is not as its API says: header\.revision/,
  );
  assert.throws(() => shaped('token', {}), /token/);
  assert.throws(() => shaped('watch', { result: { header: {}, events: [{ type: 'MOVE' }] } }), /watch/);
});

test('a revision beyond what a number holds exactly is refused', () => {
  const range = (revision: number | bigint) => ({ header: { revision: String(revision) } });
  assert.equal(shaped('range', range(Number.MAX_SAFE_INTEGER)).header.revision, Number.MAX_SAFE_INTEGER);
  assert.throws(() => shaped('range', range(2n ** 53n)), /header\.revision/);
});
