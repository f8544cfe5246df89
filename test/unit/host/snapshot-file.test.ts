import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { GatewayError } from '../../../src/base/errors.ts';
import { readSnapshotFile, writeFileAtomically } from '../../../src/host/snapshot-file.ts';
import { many, tableWith } from '../table/fixtures.ts';

const root = mkdtempSync(join(tmpdir(), 'isthmus-snapshot-'));
let file = '';
let round = 0;

after(() => rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  file = join(root, String(round++), 'state', 'table.json');
});

function textOf(count: number): string {
  const table = tableWith();
  table.apply('a', { kind: 'replace', claims: many(count) }, 0, 0);
  return table.snapshot();
}

const isStateError = (pattern: RegExp) => (thrown: unknown) =>
  thrown instanceof GatewayError &&
  thrown.code === 'ISTHMUS_ERR_STATE' &&
  thrown.message.includes(file) &&
  pattern.test(thrown.message);

describe('the snapshot file', () => {
  it('is nothing before the first write, and then what was written last', () => {
    assert.equal(readSnapshotFile(file), undefined);
    for (const count of [3, 50, 1]) {
      writeFileAtomically(file, textOf(count));
      assert.equal(readSnapshotFile(file), textOf(count));
    }
    assert.deepEqual(readdirSync(join(file, '..')), ['table.json'], 'nothing is left beside it');
    assert.equal(statSync(file).mode & 0o007, 0, 'it is not for everybody');
  });

  it('is the old one when the process died between write and rename', () => {
    writeFileAtomically(file, textOf(3));
    writeFileSync(`${file}.new`, textOf(50).slice(0, 400));
    assert.equal(readSnapshotFile(file), textOf(3));
    writeFileAtomically(file, textOf(4));
    assert.equal(readSnapshotFile(file), textOf(4));
    assert.equal(existsSync(`${file}.new`), false);
  });

  it('is refused when truncated, by name, and put aside', () => {
    const text = textOf(5);
    for (const length of [0, 1, 100, text.length - 1]) {
      writeFileAtomically(file, text);
      writeFileSync(file, text.slice(0, length));
      assert.throws(
        () => readSnapshotFile(file),
        isStateError(/is not used: the snapshot cannot be used.*kept as .*\.bad/),
      );
      assert.equal(readFileSync(`${file}.bad`, 'utf8').length, length);
      assert.equal(readSnapshotFile(file), undefined, 'the gateway goes on without');
    }
  });

  it('is refused when a bit is flipped, also one that makes it no UTF-8', () => {
    const bytes = Buffer.from(textOf(5));
    for (const bit of [0, 7]) {
      const damaged = Buffer.from(bytes);
      damaged[200] = (damaged[200] ?? 0) ^ (1 << bit);
      writeFileAtomically(file, '');
      writeFileSync(file, damaged);
      assert.throws(() => readSnapshotFile(file), isStateError(/is not used/));
    }
  });

  it('cannot be read when it is a folder, and says so', () => {
    mkdirSync(file, { recursive: true });
    assert.throws(() => readSnapshotFile(file), isStateError(/cannot read .*EISDIR/));
  });

  it('keeps the old text when the new one cannot be written', () => {
    writeFileAtomically(file, textOf(3));
    mkdirSync(`${file}.new`);
    assert.throws(() => writeFileAtomically(file, textOf(4)), isStateError(/cannot write .*EISDIR/));
    assert.equal(readSnapshotFile(file), textOf(3));
    rmSync(`${file}.new`, { recursive: true });
    renameSync(file, `${file}.old`);
    mkdirSync(join(file, 'in-the-way'), { recursive: true });
    assert.throws(() => writeFileAtomically(file, textOf(4)), isStateError(/cannot write/));
    assert.equal(existsSync(`${file}.new`), false, 'no remains');
  });
});
