import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EtcdError } from '../../../../src/watch/etcd-api/error.ts';
import { JsonLines } from '../../../../src/watch/etcd-api/json-lines.ts';

test('lines come out whole, wherever the chunks end', () => {
  const arbitrary = fc.tuple(fc.array(fc.string({ unit: 'grapheme' })), fc.array(fc.nat({ max: 200 })));
  fc.assert(
    fc.property(arbitrary, ([values, cuts]) => {
      const bytes = Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join('\n'));
      const lines = new JsonLines();
      const seen: unknown[] = [];
      let from = 0;
      for (const cut of [...cuts, bytes.length]) {
        const end = Math.min(bytes.length, from + cut);
        seen.push(...lines.push(bytes.subarray(from, end)));
        from = end;
      }
      assert.deepEqual(seen, values);
    }),
    { seed: 11 },
  );
});

test('a line of the largest size is taken, one more byte is not', () => {
  const line = Buffer.from('"12345678"\n');
  assert.deepEqual(new JsonLines(10).push(line), ['12345678']);
  assert.throws(() => new JsonLines(9).push(line), /a line of more than 9 bytes/);
  const lines = new JsonLines(9);
  lines.push(line.subarray(0, 5));
  assert.throws(() => lines.push(line.subarray(5, 10)), EtcdError, 'also when its end is not there yet');
});

test('what is no JSON is shown', () => {
  assert.throws(
    () => new JsonLines().push(Buffer.from('<html>proxy</html>\n')),
    /expected JSON from etcd, got "<html>proxy/,
  );
});
