import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printable } from '../../../src/base/printable.ts';
import { type Column, formatPairs, formatTable } from '../../../src/cli/table.ts';
import { piped, screen } from './fake-terminal.ts';

interface Row {
  readonly name: string;
  readonly size: number;
  readonly note: string;
}

const COLUMNS: readonly Column<Row>[] = [
  { title: 'NAME', cell: ({ name }) => name },
  { title: 'SIZE', cell: ({ size }) => String(size), align: 'right' },
  {
    title: 'NOTE',
    cell: ({ note }) => note,
    isFlexible: true,
    style: ({ note }) => (note === 'bad' ? 'red' : undefined),
  },
];

const ROWS: readonly Row[] = [
  { name: 'a', size: 5, note: 'bad' },
  { name: 'longer-name', size: 12_345, note: 'a note that is rather long' },
];

test('columns are aligned, numbers to the right, without blanks at the end of a line', () => {
  assert.equal(
    formatTable(piped(), COLUMNS, ROWS),
    [
      'NAME          SIZE  NOTE',
      'a                5  bad',
      'longer-name  12345  a note that is rather long',
      '',
    ].join('\n'),
  );
});

test('without rows there is the header', () => {
  assert.equal(formatTable(piped(), COLUMNS, []), 'NAME  SIZE  NOTE\n');
});

test('on a narrow screen the flexible column is cut, in a pipe nothing is', () => {
  const lines = formatTable(screen(35), COLUMNS, ROWS).split('\n');
  assert.equal(lines[2], 'longer-name  12345  a note that is…');
  assert.ok(lines.every((line) => line.length <= 35));
  assert.match(formatTable(piped(), COLUMNS, ROWS), /rather long/);
});

test('a screen too narrow for everything gets lines that wrap, with every number whole', () => {
  assert.equal(formatTable(screen(10), COLUMNS, ROWS).split('\n')[2], 'longer-name  12345  a note that…');
});

test('on a colour screen the header is bold and a marked cell is coloured', () => {
  const [header = '', first = ''] = formatTable(screen(80, true), COLUMNS, ROWS).split('\n');
  assert.ok(header.startsWith('\u001b[1mNAME'));
  assert.ok(first.includes('\u001b[31mbad\u001b[39m'));
});

test('control characters in a name cannot move the cursor', () => {
  assert.equal(printable('a\u001b[2Jb\nc\u202ed\u2028e'), 'a?[2Jb?c?d?e');
  const row = { name: '\u001b[31mx', size: 1, note: 'a\nb' };
  assert.equal(formatTable(piped(), COLUMNS, [row]).split('\n')[1], '?[31mx     1  a?b');
});

test('pairs are aligned on their values', () => {
  assert.equal(
    formatPairs(piped(), [
      ['a', '1'],
      ['name', 'x\u0007'],
    ]),
    'a     1\nname  x?\n',
  );
});
