import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type StandardsRow, standardsRows, titlesIn } from './standards-table.ts';

const ROOT = new URL('../../../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8');
const ROWS = standardsRows(read('docs/standards.md'));

/** Those of RFC 6040, Figure 4: inner and outer in each of the four states. */
const CODEPOINTS = ['Not-ECT', 'ECT(0)', 'ECT(1)', 'CE'];
const numbered = (letter: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${letter}${i + 1}`);

const IDS = [
  ...numbered('E', 12),
  ...numbered('D', 8),
  ...CODEPOINTS.flatMap((inner) => CODEPOINTS.map((outer) => `ECN inner ${inner}, outer ${outer}`)),
  ...['ECN log', 'ECN normal mode', 'ECN compatibility mode'],
  ...['3/0', '3/1', '3/2', '3/3', '3/4', '3/5', '4', '5', '11'].map((what) => `ICMP ${what}`),
  ...['ICMP 12 copied field', 'ICMP 12 other field', 'ICMP other'],
  ...numbered('S', 5),
  ...numbered('G', 10),
  ...numbered('F', 6),
  ...numbered('P', 2),
  ...numbered('M', 4),
];

const idsOf = (rows: readonly StandardsRow[]): string[] => rows.map(({ id }) => id);

test('docs/standards.md has each row once, and no other', () => {
  assert.deepEqual(idsOf(ROWS), IDS);
});

test('every row of docs/standards.md says how it stands, and is shown by a test or says why not', () => {
  const STATES = ['implemented', 'deviates', 'not applicable', 'not yet'];
  assert.deepEqual(idsOf(ROWS.filter(({ state }) => !STATES.includes(state))), []);
  const isShown = ({ state, tests, shownBy }: StandardsRow): boolean => {
    if (state === 'implemented') return tests.length > 0;
    if (state === 'deviates') return tests.length > 0 || shownBy.startsWith('none: ');
    return shownBy === '—';
  };
  assert.deepEqual(idsOf(ROWS.filter((row) => !isShown(row))), []);
});

test('every test that docs/standards.md names is there', () => {
  const missing = ROWS.flatMap(({ tests }) => tests).filter(
    ({ file, title }) => !titlesIn(read(file)).some((found) => found === title || found === `${title} `),
  );
  assert.deepEqual(missing, []);
});

test('every test of the standards is named in docs/standards.md', () => {
  const folder = 'test/unit/standards/';
  const files = readdirSync(new URL(folder, ROOT)).filter((name) => name.endsWith('.test.ts'));
  const named = new Set(ROWS.flatMap(({ tests }) => tests.map(({ file, title }) => `${file}: ${title}`)));
  const unnamed = [...files.map((name) => folder + name), 'test/system/standards.test.ts'].flatMap((file) =>
    titlesIn(read(file))
      .map((title) => `${file}: ${title}`)
      .filter((title) => !named.has(title)),
  );
  assert.deepEqual(unnamed, []);
});

test('docs/standards.md explains each deviation', () => {
  const text = read('docs/standards.md');
  const explained = [...text.matchAll(/^\*\*(.+?)\*\* /gm)].map(([, id = '']) => id);
  const deviating = idsOf(ROWS.filter(({ state }) => state === 'deviates'));
  assert.deepEqual(explained.toSorted(), deviating.toSorted());
});
