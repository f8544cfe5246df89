import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkReportFile, writeReportFile } from '../../../../src/measure/report/report-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'isthmus-report-'));
after(() => rmSync(folder, { recursive: true }));

test('a report takes the place of the one before and leaves nothing beside it', () => {
  const file = join(folder, 'report.html');
  writeReportFile(file, 'one');
  writeReportFile(file, 'two');
  assert.equal(readFileSync(file, 'utf8'), 'two');
  assert.deepEqual(readdirSync(folder), ['report.html']);
});

test('a folder that does not exist is named before anything is measured', () => {
  const file = join(folder, 'none', 'report.html');
  assert.throws(() => checkReportFile(file), {
    code: 'ISTHMUS_ERR_USAGE',
    message: `cannot write the report ${file}: there is no folder ${join(folder, 'none')}`,
  });
});

test('a file in the place of the folder, and a folder in the place of the file, are refused', () => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  assert.throws(() => checkReportFile(join(file, 'report.html')), /is not a folder$/);
  mkdirSync(join(folder, 'there'));
  assert.throws(() => checkReportFile(join(folder, 'there')), /: it is a folder$/);
});

test('a report that cannot be written leaves nothing behind', () => {
  const name = 'x'.repeat(250);
  const before = readdirSync(folder);
  assert.throws(() => writeReportFile(join(folder, name), 'text'), /: ENAMETOOLONG/);
  assert.deepEqual(readdirSync(folder), before);
});
