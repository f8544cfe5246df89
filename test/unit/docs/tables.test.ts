import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERROR_CODES } from '../../../src/base/errors.ts';
import { DROP_REASONS } from '../../../src/packet/verdict.ts';
import { dropReasonRows, errorRows } from './tables.ts';

function page(name: string): string {
  return readFileSync(new URL(`../../../../docs/${name}`, import.meta.url), 'utf8');
}

/** The rows of the first table of a page whose first cell is code. */
function rowsOf(text: string): string[] {
  const start = text.indexOf('\n| `');
  const end = text.indexOf('\n\n', start);
  return text.slice(start + 1, end).split('\n');
}

test('docs/drop-reasons.md has exactly the drop reasons of the source', () => {
  assert.deepEqual(rowsOf(page('drop-reasons.md')), dropReasonRows());
});

test('docs/drop-reasons.md says for each reason what to do', () => {
  const text = page('drop-reasons.md');
  const without = DROP_REASONS.slice(1).filter(({ name }) => !text.includes(`\n**\`${name}\`**`));
  assert.deepEqual(
    without.map(({ name }) => name),
    [],
  );
});

test('docs/errors.md has exactly the error codes of the source', () => {
  assert.deepEqual(rowsOf(page('errors.md')), errorRows());
});

test('docs/errors.md says for each code what to do', () => {
  const text = page('errors.md');
  const without = Object.keys(ERROR_CODES).filter((code) => !text.includes(`\n**\`${code}\`**`));
  assert.deepEqual(without, []);
});
