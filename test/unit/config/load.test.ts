import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadConfig, parseClusterFile } from '../../../src/config/load.ts';
import { ConfigError, formatProblem } from '../../../src/config/problem.ts';
import { MINIMAL } from './example.ts';

const folder = mkdtempSync(join(tmpdir(), 'isthmus-config-'));
after(() => rmSync(folder, { recursive: true }));

function write(name: string, content: string | Uint8Array): string {
  const file = join(folder, name);
  writeFileSync(file, content);
  return file;
}

function refusal(file: string): ConfigError {
  try {
    loadConfig(file);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error;
  }
  return assert.fail(`${file} was accepted`);
}

test('a file is loaded with its text, its defaults and absolute watch paths', () => {
  const text = `${MINIMAL}watch: [{kind: file, path: clusters.d/}, {kind: file, path: /etc/x.yaml}]\n`;
  const { config, source } = loadConfig(write('good.yaml', text));
  assert.equal(source, text);
  assert.deepEqual(config.cluster, {
    name: 'east',
    cidrs: [{ address: 0x0a01_0000, prefixLength: 16 }],
    gateway: 'auto',
  });
  assert.deepEqual(
    config.watch.map((source) => source.kind === 'file' && source.path),
    [join(folder, 'clusters.d'), '/etc/x.yaml'],
  );
  assert.equal(config.watch[0]?.staleAfter, Number.POSITIVE_INFINITY);
  assert.equal(config.watch[0]?.massWithdrawalHold, 30_000);
  assert.equal(config.tunnel.receiveBuffer, 8 * 2 ** 20);
  assert.equal(config.tunnel.address, null);
  assert.deepEqual(config.admin, { listen: '127.0.0.1:9461' });
});

test('all problems are in the error, one line each, and it leads to exit code 2', () => {
  const file = write('bad.yaml', 'cluster: {name: East, cidrs: []}\nlog: {level: loud}\n');
  const error = refusal(file);
  assert.equal(error.exitCode, 2);
  assert.equal(error.problems.length, 3);
  assert.equal(error.message, error.problems.map(formatProblem).join('\n'));
  assert.match(error.message, /bad\.yaml:2:14: log\.level: expected debug, info, warn or error, got "loud"$/);
});

test('a file that is not there, and a folder, are named with the reason', () => {
  assert.match(refusal(join(folder, 'none.yaml')).message, /none\.yaml: does not exist$/);
  assert.match(refusal(folder).message, /: expected a file, got a folder$/);
});

test('bytes that are no UTF-8 are a problem and not replaced in silence', () => {
  assert.match(
    refusal(write('binary.yaml', Uint8Array.of(0x63, 0xff, 0xfe))).message,
    /expected a readable file of UTF-8 text, but: /,
  );
});

const WEST = '{name: west, cidrs: [10.2.0.0/16], gateways: [{address: 172.31.0.2}]}';

for (const [shape, text] of [
  ['a mapping with clusters', `clusters:\n- ${WEST}\n`],
  ['a mapping behind a comment and a document marker', `# west\n%YAML 1.2\n---\nclusters: [${WEST}]\n`],
  ['a bare list', `- ${WEST}\n`],
  ['an indented bare list behind comments', `\n# west\n\n  - ${WEST}\n`],
  ['a bare list behind a marker on its line', `--- [${WEST}]\n`],
  ['a JSON list', '[{"name": "west", "cidrs": ["10.2.0.0/16"], "gateways": [{"address": "172.31.0.2"}]}]'],
  [
    'a JSON mapping',
    '{"clusters": [{"name": "west", "cidrs": ["10.2.0.0/16"], "gateways": [{"address": "172.31.0.2"}]}]}',
  ],
] as const) {
  test(`a watched file may be ${shape}`, () => {
    assert.deepEqual(parseClusterFile(text, 'west.yaml'), {
      value: [
        {
          name: 'west',
          cidrs: [{ address: 0x0a02_0000, prefixLength: 16 }],
          gateways: [{ address: 0xac1f_0002, weight: 1 }],
        },
      ],
    });
  });
}

test('a watched file of no clusters says so; an empty or cut one is a problem', () => {
  assert.deepEqual(parseClusterFile('clusters: []\n', 'x').value, []);
  assert.deepEqual(parseClusterFile('[]', 'x').value, []);
  for (const text of [
    '',
    '\n',
    '# only a comment\n',
    'clusters:\n',
    'clust',
    'clusters:\n- {name: west, cid',
  ]) {
    assert.ok((parseClusterFile(text, 'x').problems?.length ?? 0) > 0, JSON.stringify(text));
  }
});

test('a problem in a watched file has its place and its field', () => {
  const { problems } = parseClusterFile(`- ${WEST}\n- ${WEST}\n`, 'west.yaml');
  assert.deepEqual(problems?.map(formatProblem), [
    'west.yaml:2:10: [1].name: expected each cluster once, got "west" again (first at element 0); put its CIDRs and gateways together',
  ]);
});
