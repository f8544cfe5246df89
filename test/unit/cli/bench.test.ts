import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runCommandLine } from '../../../src/cli/program.ts';
import { renderHtml } from '../../../src/measure/report/html.ts';
import { renderTable } from '../../../src/measure/report/table.ts';
import { fixture } from '../measure/report/fixture.ts';
import { piped, screen } from './fake-terminal.ts';

const folder = mkdtempSync(join(tmpdir(), 'isthmus-bench-'));
after(() => rmSync(folder, { recursive: true }));

const saved = join(folder, 'run.json');
writeFileSync(saved, JSON.stringify(fixture()));

test('a saved result is shown as the table that the run has printed', async () => {
  const terminal = piped();
  assert.equal(await runCommandLine(['bench', 'report', saved], terminal), 0);
  assert.equal(
    terminal.stdout(),
    renderTable(fixture(), { columns: Number.POSITIVE_INFINITY, colour: false }),
  );
  assert.equal(terminal.stderr(), '');
});

test('on a screen the table has its width and colours', async () => {
  const terminal = screen(80, true);
  assert.equal(await runCommandLine(['bench', 'report', saved], terminal), 0);
  assert.equal(terminal.stdout(), renderTable(fixture(), { columns: 80, colour: true }));
});

test('--json prints the result as it is', async () => {
  const terminal = piped();
  assert.equal(await runCommandLine(['bench', 'report', saved, '--json'], terminal), 0);
  assert.deepEqual(JSON.parse(terminal.stdout()), fixture());
});

test('--report writes the page and says where, on stderr', async () => {
  const terminal = piped();
  const page = join(folder, 'run.html');
  assert.equal(await runCommandLine(['bench', 'report', saved, '--json', '--report', page], terminal), 0);
  assert.equal(readFileSync(page, 'utf8'), renderHtml(fixture()));
  assert.equal(terminal.stderr(), `report: ${page}\n`);
  assert.deepEqual(JSON.parse(terminal.stdout()), fixture());
});

test('a file that is no result is wrong usage, and says why', async () => {
  const terminal = piped();
  const wrong = join(folder, 'wrong.json');
  writeFileSync(wrong, '{"schema": 2}');
  assert.equal(await runCommandLine(['bench', 'report', wrong], terminal), 2);
  assert.equal(
    terminal.stderr(),
    `isthmus: ${wrong} is no result of isthmus bench --json: its schema is 2, and this version of isthmus reads schema 1 only\n`,
  );
});

test('a report that cannot be written is refused before anything is measured', async () => {
  const terminal = piped();
  const page = join(folder, 'none', 'run.html');
  assert.equal(await runCommandLine(['bench', 'local', '--report', page], terminal), 2);
  assert.equal(
    terminal.stderr(),
    `isthmus: cannot write the report ${page}: there is no folder ${join(folder, 'none')}\n`,
  );
  assert.equal(terminal.stdout(), '');
  assert.equal(existsSync(page), false);
});

test('wrong sizes, rounds and seconds are named', async () => {
  for (const [option, value, message] of [
    ['--sizes', '64,large', /"large"/],
    ['--rounds', '0', /whole number from 1/],
    ['--seconds', 'x', /whole number from 1/],
  ] as const) {
    const terminal = piped();
    assert.equal(await runCommandLine(['bench', 'local', option, value], terminal), 2, option);
    assert.match(terminal.stderr(), message);
  }
});
