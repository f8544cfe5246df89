import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatCidr } from '../../../src/base/address.ts';
import { FILE_BYTES_MAX, PROBLEMS_MAX, parseDocument } from '../../../src/config/document.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { formatProblem } from '../../../src/config/problem.ts';
import { clustersSchema, configSchema } from '../../../src/config/schema.ts';
import { VALUES_MAX } from '../../../src/config/yaml-value.ts';
import { MINIMAL } from './example.ts';

function problemsOf(text: string): string[] {
  return (parseConfig(text, 'east.yaml').problems ?? []).map(formatProblem);
}

test('a CIDR with host bits is reported where it stands, with the CIDR that was probably meant', () => {
  const text = 'cluster:\n  name: east\n  cidrs:\n    - 10.96.0.0/16\n    - 10.1.2.3/16\n';
  assert.deepEqual(problemsOf(text), [
    'east.yaml:5:7: cluster.cidrs[1]: expected a CIDR such as 10.1.0.0/16 or fd00:1::/48, got "10.1.2.3/16" (host bits set; did you mean 10.1.0.0/16?)',
  ]);
});

for (const [cidr, remark] of [
  ['10.1.0.0', 'a prefix length is missing'],
  ['10.1.0.0/33', '"33" is not a prefix length from 0 to 32'],
  ['10.1.0.0/', '"" is not a prefix length from 0 to 32'],
  ['10.1.0.256/24', '"10.1.0.256" is not an IPv4 address'],
  ['fd00:1::/129', '"129" is not a prefix length from 0 to 128'],
  ['fd00:g::/64', '"fd00:g::" is not an IPv6 address'],
  ['fd00:1::1/64', 'host bits set; did you mean fd00:1::/64?'],
] as const) {
  test(`${cidr} is no CIDR because ${remark}`, () => {
    assert.deepEqual(problemsOf(`cluster: {name: east, cidrs: ["${cidr}"]}`), [
      `east.yaml:1:31: cluster.cidrs[0]: expected a CIDR such as 10.1.0.0/16 or fd00:1::/48, got "${cidr}" (${remark})`,
    ]);
  });
}

test('a misspelt field is reported at its name, with the one that was probably meant', () => {
  assert.deepEqual(problemsOf(`${MINIMAL}tunel:\n  mtu: 1400\ntunnel:\n  adress: none\n`), [
    'east.yaml:2:1: tunel: expected a known field, got "tunel"; did you mean tunnel?',
    'east.yaml:5:3: tunnel.adress: expected a known field, got "adress"; did you mean address?',
  ]);
});

test('a field that stands there twice is reported at its second place', () => {
  assert.deepEqual(problemsOf(`${MINIMAL}log: {level: info}\nlog: {level: debug}\n`), [
    'east.yaml:3:1: log: expected each field once, got it again',
  ]);
});

test('a field called __proto__ is unknown like any other and changes nothing', () => {
  assert.match(
    problemsOf(`${MINIMAL}__proto__: {admin: {listen: none}}\n`).join(),
    /:2:1: __proto__: expected one of the fields/,
  );
  assert.equal(({} as { admin?: unknown }).admin, undefined);
});

test('an empty section says that it is empty', () => {
  assert.match(
    problemsOf(`${MINIMAL}log:\n`).join(),
    /^east.yaml:2:5: log: expected a mapping with the fields level, got nothing \(the value is empty\)$/,
  );
});

test('text that is no YAML is reported with its place, once for each place', () => {
  const problems = problemsOf('cluster: [1\nadmin: {listen: none\n');
  assert.ok(problems.length > 0);
  for (const problem of problems) assert.match(problem, /^east\.yaml:\d+:\d+: expected valid YAML, but: /);
  assert.equal(new Set(problems.map((problem) => problem.split(' ')[0])).size, problems.length);
});

test('a second document in the file is reported', () => {
  assert.match(
    problemsOf(`${MINIMAL}---\n${MINIMAL}`).join(),
    /east\.yaml:2:\d+: expected valid YAML, but: .*documents/,
  );
});

test('a tag that YAML does not know is reported', () => {
  assert.match(
    problemsOf('cluster: {name: !secret east, cidrs: [10.1.0.0/16]}').join(),
    /east\.yaml:1:17: expected valid YAML, but: Unresolved tag/,
  );
});

for (const [what, text] of [
  ['empty', ''],
  ['of comments', '# nothing here\n'],
  ['of null', '~'],
] as const) {
  test(`a file ${what} is no configuration`, () => {
    assert.match(
      problemsOf(text).join(),
      /^east\.yaml:1:\d+: expected a mapping with the fields cluster, .*got nothing/,
    );
  });
}

test('JSON is read as well', () => {
  const { value } = parseConfig('{"cluster": {"name": "east", "cidrs": ["10.1.0.0/16"]}}', 'east.json');
  assert.equal(value?.cluster.name, 'east');
});

test('line ends of Windows and a byte order mark do not shift places', () => {
  const text = '\uFEFFcluster:\r\n  name: east\r\n  cidrs: [x]\r\n';
  assert.match(problemsOf(text).join(), /^east\.yaml:3:11: cluster\.cidrs\[0\]: /);
});

test('an alias stands for what it names, and problems inside are reported', () => {
  const shared =
    'clusters:\n  - name: a\n    cidrs: &c [10.2.0.0/16]\n    gateways: &g [{address: 172.31.0.2}]\n';
  const { value } = parseConfig(`${MINIMAL}${shared}  - {name: b, cidrs: *c, gateways: *g}\n`, 'x');
  assert.deepEqual(value?.clusters[1]?.gateways, value?.clusters[0]?.gateways);
  const wrong = problemsOf(
    `${MINIMAL}${shared.replace('10.2.0.0/16', '10.2.0.1/16')}  - {name: b, cidrs: *c, gateways: *g}\n`,
  );
  assert.deepEqual(
    wrong.map((problem) => problem.split(' ', 2).join(' ')),
    ['east.yaml:4:16: clusters[0].cidrs[0]:', 'east.yaml:4:16: clusters[1].cidrs[0]:'],
  );
});

test('an alias of itself and an alias of nothing are reported', () => {
  assert.match(
    problemsOf('cluster: &a [*a]').join(),
    /:14: cluster\[0\]: expected an alias of something before it, got \*a/,
  );
  assert.match(problemsOf('cluster: *b').join(), /\*?b/);
});

test('aliases that would expand without end are refused before anything is built', () => {
  const levels = [...'bcdefghijk'].map(
    (name, i) => `${name}: &${name} [${Array(10).fill(`*${'abcdefghij'[i]}`).join(', ')}]`,
  );
  const problems = problemsOf(`a: &a [${Array(10).fill('x').join(', ')}]\n${levels.join('\n')}\n`);
  assert.equal(problems.length, 1);
  assert.match(
    problems[0] ?? '',
    new RegExp(`expected at most ${VALUES_MAX} values, got more through the alias`),
  );
});

test('a file at the size limit is read, one byte more is refused', () => {
  const filled = (bytes: number) => `${MINIMAL}#${'x'.repeat(bytes - MINIMAL.length - 1)}`;
  assert.equal(parseDocument(filled(FILE_BYTES_MAX), 'x', configSchema).problems, undefined);
  assert.match(
    parseDocument(filled(FILE_BYTES_MAX + 1), 'x', configSchema).problems?.[0]?.message ?? '',
    /^expected at most \d+ bytes, got \d+$/,
  );
});

for (const [what, text] of [
  ['lists', '['.repeat(20_000)],
  ['mappings', '{a: '.repeat(20_000)],
  ['closed lists', `${'['.repeat(20_000)}${']'.repeat(20_000)}`],
  ['block lists', '- '.repeat(5000)],
] as const) {
  test(`${what} nested thousands deep are reported and do not end the process`, () => {
    assert.match(problemsOf(text).join('\n'), /nested too deeply|fewer levels|got a list|valid YAML/);
  });
}

test(`of more than ${PROBLEMS_MAX} problems the rest is counted`, () => {
  const cidrs = (count: number) => `cluster: {name: east, cidrs: [${Array(count).fill('x').join(', ')}]}`;
  assert.equal(problemsOf(cidrs(PROBLEMS_MAX)).length, PROBLEMS_MAX);
  const more = problemsOf(cidrs(PROBLEMS_MAX + 7));
  assert.equal(more.length, PROBLEMS_MAX + 1);
  assert.match(more.at(-1) ?? '', /: and 7 more problems$/);
});

test('problems come in the order of the file', () => {
  const problems =
    parseConfig('log: {level: x}\ncluster: {cidrs: [], name: X}\nadmin: {listen: 5}\n', 'x').problems ?? [];
  assert.deepEqual(
    problems.map(({ field }) => field),
    ['log.level', 'cluster.cidrs', 'cluster.name', 'admin.listen'],
  );
});

test('100,000 CIDRs are all read', () => {
  const cidrs = Array.from(
    { length: 100_000 },
    (_, i) => `      - ${20 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.0/24\n`,
  );
  const text = `- name: west\n  gateways: [{address: 172.31.0.2}]\n  cidrs:\n${cidrs.join('')}`;
  const { value } = parseDocument(text, 'x', clustersSchema);
  assert.equal(value?.[0]?.cidrs.length, 100_000);
  assert.deepEqual(value?.[0]?.cidrs.at(-1), {
    address: (21 * 2 ** 24 + (99_999 - 65_536) * 256) >>> 0,
    prefixLength: 24,
  });
});

test('no text makes the reader throw', () => {
  const base = `${MINIMAL}clusters: [{name: w, cidrs: &a [10.2.0.0/16], gateways: [{address: 172.31.0.2}]}]\n`;
  const piece = fc.constantFrom(...'{}[]:-\n !"\'#\t?|\0', '&a ', '*a', '<<', '%YAML 1.1\n---\n');
  const mutated = fc
    .array(fc.record({ at: fc.nat(base.length), piece }), { maxLength: 6 })
    .map((edits) =>
      edits.reduce((text, edit) => text.slice(0, edit.at) + edit.piece + text.slice(edit.at + 1), base),
    );
  fc.assert(
    fc.property(fc.oneof(fc.string(), mutated), (text) => {
      const parsed = parseConfig(text, 'x');
      for (const problem of parsed.problems ?? []) {
        assert.ok(problem.line >= 1 && problem.column >= 1 && problem.message !== '');
      }
      assert.ok(parsed.value !== undefined || (parsed.problems?.length ?? 0) > 0);
    }),
    { seed: 9, numRuns: 400 },
  );
});

test('CIDRs of both families stand side by side, but not where services are meant', () => {
  const text =
    'cluster: {name: east, cidrs: [10.1.0.0/16, "fd00:1::/48"]}\nsecurity: {protect: ["fd00:9::7"]}';
  const read = parseConfig(text, 'east.yaml');
  assert.deepEqual(read.value?.cluster.cidrs.map(formatCidr), ['10.1.0.0/16', 'fd00:1::/48']);
  assert.deepEqual(read.value?.security.protect.map(formatCidr), ['fd00:9::7/128']);
  assert.match(
    problemsOf('cluster: {name: east, cidrs: [10.1.0.0/16]}\nservices: {cidrs: ["fd00:1::/48"]}')[0]!,
    /it is of IPv6/,
  );
});

test('a tunnel.address outside of our CIDRs is told also where some of them are of IPv6', () => {
  const of = (address: string) =>
    problemsOf(`cluster: {name: east, cidrs: ["fd00:1::/48", 10.1.0.0/16]}\ntunnel: {address: ${address}}`);
  assert.deepEqual(of('10.1.0.1'), []);
  assert.match(of('10.2.0.1')[0] ?? '', /expected an address in one of cluster\.cidrs/);
});
