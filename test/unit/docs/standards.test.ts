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
    ['G', 10],
    ['F', 5],
    ['R', 2],
    ['V', 6],
    ['W', 12],
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
    for (const shown of cells.at(-1)!.split('<br>')) {
      const [, file, title] = /^`([^`]+)`: (.+)$/.exec(shown) ?? [];
      assert.ok(file !== undefined && title !== undefined, `${id} names no test: ${shown}`);
      const path = new URL(`test/${file}.test.ts`, root);
      assert.ok(existsSync(path), `${id}: ${file} is no file`);
      // A title ends, or goes on behind a space: E1 is not E12.
      const isThere = new RegExp(`'${title}[ ':,]`).test(readFileSync(path, 'utf8'));
      assert.ok(isThere, `${id}: no test "${title}" in ${file}`);
    }
  }
});

test('every row of the page that a test of the standards is named by is that of the test, and the other way round', () => {
  const files = ['encapsulation', 'decapsulation', 'icmp-relay', 'icmp-generation', 'fragmentation'];
  const named = files.flatMap((file) => {
    const source = readFileSync(new URL(`test/unit/standards/${file}.test.ts`, root), 'utf8');
    return [...source.matchAll(/^test\(\s*'([A-Z]\d+) /gm)].map((match) => match[1]!);
  });
  const own = rows.filter(({ cells }) => cells.at(-1)!.includes('`unit/standards/'));
  assert.deepEqual(named.toSorted(), own.map(({ id }) => id).toSorted());
});

test('every cell of the table of ECN fields is a test', () => {
  const columns = ['Not-ECT', 'ECT(0)', 'ECT(1)', 'CE'];
  const cells = columns.flatMap((inner) => {
    const line = page.split('\n').find((text) => text.startsWith(`| ${inner} |`)) ?? '';
    const outgoing = line.split(' | ').slice(1, 5);
    return outgoing.map((cell, i) => {
      const result = cell.replace(/^drop/, 'dropped').replace(/ !.*$/, ', counted').replace(/ \|$/, '');
      return `ECN inner ${inner}, outer ${columns[i]}: ${result}`;
    });
  });
  const source = readFileSync(new URL('test/unit/standards/ecn.test.ts', root), 'utf8');
  const titles = [...source.matchAll(/'(ECN inner [^']+)'/g)].map((match) => match[1]!);
  assert.deepEqual(cells, titles);
});

test('each deviation that a row points to is explained', () => {
  const pointed = new Set([...page.matchAll(/differs \((\d+)\)/g)].map((match) => match[1]!));
  const explained = [...page.matchAll(/^(\d+)\. \*\*/gm)].map((match) => match[1]!);
  assert.deepEqual([...pointed].toSorted(), explained.toSorted());
});
