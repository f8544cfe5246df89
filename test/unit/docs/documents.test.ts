import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ERROR_CODES } from '../../../src/base/errors.ts';
import { loadConfig, parseClusterFile, parseConfig } from '../../../src/config/load.ts';
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

test('every dependency has a page in docs/adr that says why', () => {
  const folder = new URL('../../../../docs/adr/', import.meta.url);
  const pages = readdirSync(folder).map((name) => readFileSync(new URL(name, folder), 'utf8'));
  const explained = pages.flatMap((text) =>
    [...(/^Packages: (.*)$/m.exec(text)?.[1] ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1]),
  );
  const manifest = JSON.parse(
    readFileSync(new URL('../../../../package.json', import.meta.url), 'utf8'),
  ) as Record<string, object | undefined>;
  const used = ['dependencies', 'optionalDependencies', 'devDependencies'].flatMap((kind) =>
    Object.keys(manifest[kind] ?? {}),
  );
  assert.deepEqual(explained.toSorted(), used.toSorted());
});

test('every link between the documents leads somewhere', () => {
  const root = new URL('../../../../', import.meta.url);
  const files = [
    ...readdirSync(root).filter((name) => name.endsWith('.md')),
    ...readdirSync(new URL('docs/', root), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md'))
      .map((name) => `docs/${name}`),
  ];
  const dead = files.flatMap((file) => {
    const from = new URL(file, root);
    const links = [...readFileSync(from, 'utf8').matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)];
    return links.filter(([, to = '']) => !existsSync(new URL(to, from))).map(([, to]) => `${file}: ${to}`);
  });
  assert.deepEqual(dead, []);
});

test('every source file that ARCHITECTURE.md names is there', () => {
  const root = new URL('../../../../', import.meta.url);
  const text = readFileSync(new URL('ARCHITECTURE.md', root), 'utf8');
  const named = [...text.matchAll(/`((?:[a-z-]+\/)*[a-z-]+\.(?:ts|c))`/g)].map(([, path = '']) => path);
  assert.ok(named.length > 40);
  const missing = named.filter(
    (path) => !existsSync(new URL(path, root)) && !existsSync(new URL(`src/${path}`, root)),
  );
  assert.deepEqual(missing, []);
});

test('every example configuration is valid', () => {
  const folder = new URL('../../../../deploy/examples/', import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith('.yaml'));
  assert.ok(files.length >= 4);
  for (const name of files) loadConfig(fileURLToPath(new URL(name, folder)));
  const west = new URL('clusters.d/west.yaml', folder);
  assert.equal(parseClusterFile(readFileSync(west, 'utf8'), 'west.yaml').problems, undefined);
});

test('every whole configuration in the documents is valid', () => {
  const root = new URL('../../../../', import.meta.url);
  for (const name of ['README.md', 'docs/install-vm.md', 'docs/configuration.md']) {
    const blocks = [...readFileSync(new URL(name, root), 'utf8').matchAll(/^```yaml.*\n([\s\S]*?)^```$/gm)];
    const whole = blocks.map(([, text = '']) => text).filter((text) => /^cluster:/m.test(text));
    assert.ok(whole.length > 0, `${name} has none`);
    for (const text of whole) assert.equal(parseConfig(text, name).problems, undefined, text);
  }
});
