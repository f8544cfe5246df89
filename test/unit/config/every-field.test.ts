import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Document, type Scalar } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { type SchemaField, walkSchema } from '../../../src/config/schema-walk.ts';
import { configurationRows } from './documented.ts';
import { EVERY_FIELD } from './example.ts';

const FIELDS = [...walkSchema(configSchema)];
/** As an anchor, because a comment on an empty list is written on the next line. */
const MARK = 'the-wrong-one';

/** `clusters[].name` of the schema as the path of the first such field in a document. */
function stepsOf(path: string): (string | number)[] {
  return path
    .replaceAll('[]', '.0')
    .split('.')
    .map((step) => (step === '0' ? 0 : step));
}

function written(path: string): string {
  return path.replaceAll('[]', '[0]');
}

/** The document with one value exchanged, and the line on which that value stands. */
function withWrong(path: string, wrong: unknown): { text: string; line: number } {
  const document = new Document(EVERY_FIELD);
  const node = document.createNode(wrong) as Scalar;
  node.anchor = MARK;
  document.setIn(stepsOf(path), node);
  const text = document.toString();
  const line = text.split('\n').findIndex((each) => each.includes(`&${MARK} `)) + 1;
  assert.ok(line > 0, `the mark is in\n${text}`);
  return { text, line };
}

/** Values that no field of the kind can have, except those named in ACCEPTED. */
const WRONG: Record<SchemaField['kind'], readonly unknown[]> = {
  value: [null, {}, [], -1.5, 99_999_999_999, 'not a value !', '', true],
  list: [null, {}, 'not a list', 5],
  mapping: [null, [], 'not a mapping', 5],
};

const ACCEPTED: Record<string, readonly unknown[]> = {
  'watch[].path': ['not a value !'],
  'tunnel.clampMss': [true],
  'tunnel.keepOnExit': [true],
};

test('the example has every field of the schema and is valid', () => {
  const document = new Document(EVERY_FIELD);
  for (const { path } of FIELDS) assert.ok(document.hasIn(stepsOf(path)), path);
  assert.equal(parseConfig(document.toString(), 'east.yaml').problems, undefined);
});

for (const { path, kind } of FIELDS) {
  test(`${path}: each wrong value is reported with its field, its line and what was expected`, () => {
    for (const wrong of WRONG[kind].filter((value) => !ACCEPTED[path]?.includes(value))) {
      const { text, line } = withWrong(path, wrong);
      const { problems = [] } = parseConfig(text, 'east.yaml');
      const shown = JSON.stringify(wrong);
      assert.deepEqual(
        problems.map((problem) => [problem.file, problem.field, problem.line]),
        [['east.yaml', written(path), line]],
        `${shown} in\n${text}\n${JSON.stringify(problems)}`,
      );
      assert.match(problems[0]?.message ?? '', /^expected .+, got .+/, shown);
    }
  });
}

for (const { path, kind, required } of FIELDS) {
  if (path.endsWith('[]')) continue;
  test(`${path}: is ${required ? 'reported when it is missing' : 'not needed'}`, () => {
    const document = new Document(EVERY_FIELD);
    document.deleteIn(stepsOf(path));
    const { problems } = parseConfig(document.toString(), 'east.yaml');
    if (!required) assert.equal(problems, undefined);
    else {
      assert.deepEqual(
        problems?.map(({ field }) => field),
        [written(path)],
      );
      assert.match(problems?.[0]?.message ?? '', /^expected /);
    }
  });
  if (kind !== 'mapping') continue;
  test(`${path}: a field that it does not have is reported with its line`, () => {
    assertUnknownReported(path);
  });
}

for (const list of ['clusters', 'clusters[].gateways', 'watch']) {
  test(`${list}: a field that its elements do not have is reported with its line`, () => {
    assertUnknownReported(`${list}[]`);
  });
}

function assertUnknownReported(path: string): void {
  const document = new Document(EVERY_FIELD);
  document.setIn([...stepsOf(path), 'zzzzz'], 1);
  const text = document.toString();
  const { problems } = parseConfig(text, 'east.yaml');
  assert.deepEqual(
    problems?.map(({ field, line }) => [field, line]),
    [[`${written(path)}.zzzzz`, text.split('\n').findIndex((line) => line.includes('zzzzz')) + 1]],
  );
  assert.match(problems?.[0]?.message ?? '', /^expected one of the fields .+, got "zzzzz"$/);
}

test('every field wrong at once gives one problem for each', () => {
  // The kind of a source decides on its other fields, so with a wrong kind nothing can be said about them.
  const leaves = FIELDS.filter(
    ({ kind, path }) => kind === 'value' && !path.endsWith('[]') && path !== 'watch[].kind',
  );
  const document = new Document(EVERY_FIELD);
  for (const { path } of leaves) document.setIn(stepsOf(path), null);
  const { problems = [] } = parseConfig(document.toString(), 'east.yaml');
  assert.deepEqual(
    problems.map(({ field }) => field),
    leaves.map(({ path }) => written(path)),
  );
});

test('every field is in docs/configuration.md, as the schema says it', () => {
  const page = readFileSync(new URL('../../../../docs/configuration.md', import.meta.url), 'utf8');
  const lines = new Set(page.split('\n'));
  assert.deepEqual(
    configurationRows().filter((row) => !lines.has(row)),
    [],
    'rows that the page lacks',
  );
  const documented = page.match(/^\| `[^`]+` \|/gm)?.length;
  assert.equal(documented, configurationRows().length, 'the page has no other rows');
});

test('every field says what it means', () => {
  for (const { path, kind, description, expected } of FIELDS) {
    if (kind === 'value') assert.notEqual(expected, '', path);
    if (kind !== 'mapping' && !path.endsWith('[]')) assert.notEqual(description, '', path);
  }
});
