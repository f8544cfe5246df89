import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const root = new URL('../../../../', import.meta.url);
const page = readFileSync(new URL('docs/standards.md', root), 'utf8');

interface Row {
  readonly id: string;
  readonly cells: readonly string[];
}

const rows: readonly Row[] = page
  .split('\n')
  .filter((line) => /^\| [A-Z]\d+ \|/.test(line))
  .map((line) =>
    line
      .slice(1, -1)
      .split(' | ')
      .map((cell) => cell.trim()),
  )
  .map((cells) => ({ id: cells[0]!, cells }));

/** Every row of the checklist that the gateway was built by. */
const EXPECTED = [
  ...([
    ['E', 12],
    ['D', 8],
    ['I', 12],
    ['S', 5],
    ['G', 8],
    ['F', 5],
    ['R', 2],
  ] as const),
].flatMap(([letter, count]) => Array.from({ length: count }, (_, i) => `${letter}${i + 1}`));

test('docs/standards.md has every row, once', () => {
  assert.deepEqual(
    rows.map(({ id }) => id),
    EXPECTED,
  );
});

test('every row names a test that there is', () => {
  for (const { id, cells } of rows) {
    const [, file, title] = /^`([^`]+)`: (.+)$/.exec(cells.at(-1)!) ?? [];
    assert.ok(file !== undefined && title !== undefined, `${id} names no test: ${cells.at(-1)}`);
    const path = new URL(`test/${file}.test.ts`, root);
    assert.ok(existsSync(path), `${id}: ${file} is no file`);
    const source = readFileSync(path, 'utf8');
    // A title in quotes is that of a row of a table of cases.
    const wanted = title.startsWith("'") ? new RegExp(`\\[\\s*${title},`) : new RegExp(`'${title}`);
    const isThere = wanted.test(source);
    assert.ok(isThere, `${id}: no test "${title}" in ${file}`);
  }
});

test('every row of the page that a test of the standards is named by is that of the test, and the other way round', () => {
  const files = ['encapsulation', 'decapsulation', 'icmp-generation', 'fragmentation'];
  const named = files.flatMap((file) => {
    const source = readFileSync(new URL(`test/unit/standards/${file}.test.ts`, root), 'utf8');
    return [...source.matchAll(/^test\('([EDGF]\d+) /gm)].map((match) => match[1]!);
  });
  const own = rows.filter(
    ({ cells }) => cells.at(-1)!.includes('`unit/standards/') && !cells[0]!.startsWith('R'),
  );
  assert.deepEqual(named.toSorted(), own.map(({ id }) => id).toSorted());
});

test('each deviation that a row points to is explained', () => {
  const pointed = new Set([...page.matchAll(/differs \((\d)\)/g)].map((match) => match[1]!));
  const explained = [...page.matchAll(/^(\d)\. \*\*/gm)].map((match) => match[1]!);
  assert.deepEqual([...pointed].toSorted(), explained);
});
