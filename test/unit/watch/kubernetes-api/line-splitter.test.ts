import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { LineSplitter, LineTooLong } from '../../../../src/watch/kubernetes-api/line-splitter.ts';

describe('lines of a stream', () => {
  it('are the same wherever its chunks end, inside characters too', () => {
    const lines = fc.array(
      fc.string({ unit: 'grapheme', minLength: 1 }).map((text) => JSON.stringify(text)),
      { maxLength: 8 },
    );
    const cuts = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 });
    fc.assert(
      fc.property(lines, cuts, (wanted, sizes) => {
        const bytes = Buffer.from(wanted.map((line) => `${line}\n`).join(''));
        const splitter = new LineSplitter(1000);
        const got: string[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = sizes[i % sizes.length]!;
          got.push(...splitter.push(bytes.subarray(at, at + size)));
          at += size;
        }
        assert.deepEqual(got, wanted);
      }),
      { seed: 7 },
    );
  });

  it('may be as long as the limit and no longer', () => {
    const splitter = new LineSplitter(10);
    assert.deepEqual(splitter.push(Buffer.from('0123456789\n\r\n\nab')), ['0123456789', 'ab'].slice(0, 1));
    assert.deepEqual(splitter.push(Buffer.from('cdefghij\n')), ['abcdefghij']);
    splitter.push(Buffer.from('01234'));
    assert.throws(() => splitter.push(Buffer.from('56789a')), LineTooLong);
  });
});
