import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import fc from 'fast-check';
import { LineReader } from '../../../../src/measure/remote/line-reader.ts';
import { ProtocolError } from '../../../../src/measure/remote/protocol.ts';

const LINE_MAX = 64;

test('however a stream is cut into chunks, its lines come out', () => {
  const line = fc.string({ unit: 'binary', maxLength: 8 }).map((text) => `"${text.replaceAll('\n', ' ')}"`);
  const cuts = fc.array(fc.nat(200), { maxLength: 10 });
  fc.assert(
    fc.property(fc.array(line, { maxLength: 10 }), cuts, (lines, at) => {
      const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
      const bounds = [0, ...at.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
      const reader = new LineReader(LINE_MAX);
      const taken = bounds.slice(1).flatMap((end, index) => reader.take(bytes.subarray(bounds[index], end)));
      // Lone surrogates have no UTF-8.
      assert.deepEqual(
        taken,
        lines.map((text) => Buffer.from(text).toString()),
      );
    }),
    { seed: 11 },
  );
});

test('a line that does not end is refused before it fills the memory, and what it held is gone', () => {
  const reader = new LineReader(LINE_MAX);
  assert.deepEqual(reader.take(Buffer.from('x'.repeat(LINE_MAX))), []);
  assert.throws(() => reader.take(Buffer.from('x')), ProtocolError);
  assert.deepEqual(reader.take(Buffer.from('next\n\n')), ['next']);
});
