import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { buildProgram } from '../../../src/cli/program.ts';
import { piped } from '../cli/fake-terminal.ts';
import { fixture } from '../measure/report/fixture.ts';

const PAGE = readFileSync(new URL('../../../../docs/bench.md', import.meta.url), 'utf8');

test('docs/bench.md has every command of isthmus bench and every option', () => {
  const bench = buildProgram(piped()).commands.find((command) => command.name() === 'bench');
  assert.ok(bench !== undefined);
  const missing = bench.commands.flatMap((command) => [
    ...(PAGE.includes(`isthmus bench ${command.name()}`) ? [] : [command.name()]),
    ...command.options.map(({ long }) => long ?? '').filter((option) => !PAGE.includes(`\`${option}`)),
  ]);
  assert.deepEqual(missing, []);
});

test('docs/bench.md has every field of the JSON', () => {
  const { paths, run, machine, ...whole } = fixture(1, ['64']);
  const names = [whole, run, machine, ...paths.slice(0, 1)].flatMap((of) => Object.keys(of));
  const trips = Object.keys(paths[0]?.roundTrip ?? {});
  const missing = [...names, ...trips].filter(
    (name) => !new RegExp(`\`(?:paths\\[\\])?\\.?${name}\``).test(PAGE),
  );
  assert.deepEqual(missing, []);
});
