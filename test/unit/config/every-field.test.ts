import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Document, type Scalar } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { type SchemaField, walkSchema } from '../../../src/config/schema-walk.ts';
import { configurationRows } from './documented.ts';
import { EVERY_FIELD, stepsOf } from './example.ts';

const FIELDS = [...walkSchema(configSchema)];
/** As an anchor, because a comment on an empty list is written on the next line. */
const MARK = 'the-wrong-one';

/** As a problem names the field. */
function written(field: Pick<SchemaField, 'path' | 'kinds'>): string {
  return stepsOf(field)
    .map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`))
    .join('')
    .slice(1);
}

/** The document with one value exchanged, and the line on which that value stands. */
function withWrong(field: SchemaField, wrong: unknown): { text: string; line: number } {
  const document = new Document(EVERY_FIELD);
  const node = document.createNode(wrong) as Scalar;
  node.anchor = MARK;
  document.setIn(stepsOf(field), node);
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
  ...Object.fromEntries(
    ['path', 'kubeconfig', 'context', 'username', 'passwordFile', 'caFile', 'certFile', 'keyFile'].map(
      (name) => [`watch[].${name}`, ['not a value !']],
    ),
  ),
  'watch[].pods': [true],
  'watch[].register': [true],
  'watch[].remoteClusters': [true],
  'health.pathMtu': [true],
  'services.keepSource': [true],
  'tunnel.clampMss': [true],
  'tunnel.keepOnExit': [true],
};

test('the example has every field of the schema and is valid', () => {
  const document = new Document(EVERY_FIELD);
  for (const field of FIELDS) assert.ok(document.hasIn(stepsOf(field)), field.path);
  assert.equal(parseConfig(document.toString(), 'east.yaml').problems, undefined);
});

for (const field of FIELDS) {
  const { path, kind } = field;
  test(`${path}: each wrong value is reported with its field, its line and what was expected`, () => {
    for (const wrong of WRONG[kind].filter((value) => !ACCEPTED[path]?.includes(value))) {
      const { text, line } = withWrong(field, wrong);
      const { problems = [] } = parseConfig(text, 'east.yaml');
      const shown = JSON.stringify(wrong);
      assert.deepEqual(
        problems.map((problem) => [problem.file, problem.field, problem.line]),
        [['east.yaml', written(field), line]],
        `${shown} in\n${text}\n${JSON.stringify(problems)}`,
      );
      assert.match(problems[0]?.message ?? '', /^expected .+, got .+/, shown);
    }
  });
}

/** Needed by the values that other fields have in the example. */
const NEEDED_BY_OTHERS = new Set([
  'cluster.cidrs',
  'watch[].endpoints',
  'watch[].certFile',
  'watch[].keyFile',
]);

for (const field of FIELDS) {
  const { path, kind } = field;
  const required = field.required || NEEDED_BY_OTHERS.has(path);
  if (path.endsWith('[]')) continue;
  test(`${path}: is ${required ? 'reported when it is missing' : 'not needed'}`, () => {
    const document = new Document(EVERY_FIELD);
    document.deleteIn(stepsOf(field));
    const { problems } = parseConfig(document.toString(), 'east.yaml');
    if (!required) assert.equal(problems, undefined);
    else {
      assert.deepEqual(
        problems?.map(({ field }) => field),
        [written(field)],
      );
      assert.match(problems?.[0]?.message ?? '', /^expected /);
    }
  });
  if (kind !== 'mapping') continue;
  test(`${path}: a field that it does not have is reported with its line`, () => {
    assertUnknownReported(field);
  });
}

for (const list of ['clusters', 'clusters[].gateways', 'watch']) {
  test(`${list}: a field that its elements do not have is reported with its line`, () => {
    assertUnknownReported({ path: `${list}[]`, kinds: [] });
  });
}

function assertUnknownReported(field: Pick<SchemaField, 'path' | 'kinds'>): void {
  const document = new Document(EVERY_FIELD);
  document.setIn([...stepsOf(field), 'zzzzz'], 1);
  const text = document.toString();
  const { problems } = parseConfig(text, 'east.yaml');
  assert.deepEqual(
    problems?.map(({ field, line }) => [field, line]),
    [[`${written(field)}.zzzzz`, text.split('\n').findIndex((line) => line.includes('zzzzz')) + 1]],
  );
  assert.match(problems?.[0]?.message ?? '', /^expected one of the fields .+, got "zzzzz"$/);
}

test('every field wrong at once gives one problem for each', () => {
  // The kind of a source decides on its other fields, so with a wrong kind nothing can be said about them.
  const leaves = FIELDS.filter(
    ({ kind, path }) => kind === 'value' && !path.endsWith('[]') && path !== 'watch[].kind',
  );
  const document = new Document(EVERY_FIELD);
  for (const field of leaves) document.setIn(stepsOf(field), null);
  const { problems = [] } = parseConfig(document.toString(), 'east.yaml');
  assert.deepEqual(
    problems.map(({ field }) => field),
    leaves.map(written),
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
