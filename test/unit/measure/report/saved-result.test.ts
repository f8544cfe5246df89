import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import {
  FILE_BYTES_MAX,
  parseSavedResult,
  readSavedResult,
} from '../../../../src/measure/report/saved-result.ts';
import { fixture } from './fixture.ts';
import { results } from './results.ts';

const folder = mkdtempSync(join(tmpdir(), 'isthmus-saved-'));
after(() => rmSync(folder, { recursive: true }));

function refusal(text: string): string {
  try {
    parseSavedResult(text, 'run.json');
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'ISTHMUS_ERR_USAGE');
    return (error as Error).message;
  }
  assert.fail('accepted');
}

const changed = (change: object): string => JSON.stringify({ ...fixture(1, ['64']), ...change });

test('what was written is read again', () => {
  fc.assert(
    fc.property(results(), (result) => {
      assert.deepEqual(
        parseSavedResult(JSON.stringify(result), 'run.json'),
        JSON.parse(JSON.stringify(result)),
      );
    }),
    { seed: 20261124, numRuns: 60 },
  );
});

test('text that is no JSON is refused with the name of the file', () => {
  assert.match(refusal('{'), /^run\.json is no result of isthmus bench --json: .*JSON/);
});

test('a result of another schema is refused with its number', () => {
  assert.match(
    refusal(changed({ schema: 2 })),
    /its schema is 2, and this version of isthmus reads schema 1 only$/,
  );
});

test('a missing field is named', () => {
  const { run } = fixture(1, ['64']);
  assert.match(refusal(changed({ run: { ...run, rounds: undefined } })), /: run\.rounds: /);
  assert.match(refusal('{}'), /: schema: .*; program: /);
  assert.match(refusal('[]'), /: the whole: .*received array$/);
});

test('a wrong value is named with its place', () => {
  const [first] = fixture(1, ['64']).paths;
  for (const value of [-1, 'x', null, 1e13]) {
    assert.match(
      refusal(changed({ paths: [{ ...first, tcpSingle: [1, value] }] })),
      /: paths\.0\.tcpSingle\.1: /,
    );
  }
  const flood = [{ size: '<b>', values: [] }];
  assert.match(
    refusal(changed({ paths: [{ ...first, flood }] })),
    /: paths\.0\.flood\.0\.size: expected bytes or imix$/,
  );
});

test('two paths of one name, and one size twice, are refused', () => {
  const [first] = fixture(1, ['64']).paths;
  assert.match(refusal(changed({ paths: [first, first] })), /: paths: two paths have the same name$/);
  const lossFree = [
    { size: '64', values: [] },
    { size: '64', values: [] },
  ];
  assert.match(
    refusal(changed({ paths: [{ ...first, lossFree }] })),
    /: paths\.0\.lossFree: a size stands here twice$/,
  );
});

test('64 paths are read, 65 are not', () => {
  const [first] = fixture(1, ['64']).paths;
  const paths = (count: number) => Array.from({ length: count }, (_, at) => ({ ...first, name: `p${at}` }));
  assert.equal(parseSavedResult(changed({ paths: paths(64) }), 'run.json').paths.length, 64);
  assert.match(refusal(changed({ paths: paths(65) })), /: paths: /);
});

test('a file that is not there, or too large, is refused by name', () => {
  const missing = join(folder, 'missing.json');
  assert.throws(() => readSavedResult(missing), {
    code: 'ISTHMUS_ERR_USAGE',
    message: new RegExp(`^cannot read ${missing}: ENOENT`),
  });
  const large = join(folder, 'large.json');
  writeFileSync(large, ' '.repeat(FILE_BYTES_MAX + 1));
  assert.throws(() => readSavedResult(large), {
    message: `cannot read ${large}: it has more than ${FILE_BYTES_MAX} bytes`,
  });
});

test('a file of the largest size is read', () => {
  const file = join(folder, 'full.json');
  writeFileSync(file, changed({}).padEnd(FILE_BYTES_MAX));
  assert.equal(readSavedResult(file).schema, 1);
});
