import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, formatCidr } from '../../../src/base/address.ts';
import {
  addressOf,
  cidrOf,
  fieldAt,
  listAt,
  textAt,
  truthAt,
  wellFormed,
} from '../../../src/watch/object-fields.ts';

function problemOf(read: () => unknown): string {
  const result = wellFormed('Thing/a', () => ({ read: read() }));
  assert.ok('problem' in result);
  return result.problem as string;
}

test('a field that is missing anywhere on its path, or null, is undefined', () => {
  const object = { spec: { nothing: null, list: [{ a: 1 }], text: 'x' } };
  for (const path of [
    'spec.other',
    'status.other',
    'spec.nothing',
    'spec.nothing.more',
    'spec.list.0',
    'spec.text.length',
  ])
    assert.equal(fieldAt(object, path), undefined, path);
  assert.equal(fieldAt(object, 'spec.text'), 'x');
  assert.equal(fieldAt('text', 'spec'), undefined);
});

test('a sentence names object, field, what is there and what was expected', () => {
  assert.equal(
    problemOf(() => cidrOf('10.1.0.0', 'spec.cidr')),
    'Thing/a: spec.cidr is "10.1.0.0", expected a CIDR such as 192.168.12.64/26 or fd00:10:1::/64',
  );
  assert.match(
    problemOf(() => cidrOf('10.1.2.3/16', 'spec.cidr')),
    /"10\.1\.2\.3\/16".*\(its host bits are set\)/,
  );
  assert.match(
    problemOf(() => cidrOf(undefined, 'spec.cidr')),
    /spec\.cidr is missing/,
  );
  assert.match(
    problemOf(() => textAt({ spec: { node: 7 } }, 'spec.node', 'a name')),
    /spec\.node is 7, expected a name/,
  );
  assert.match(
    problemOf(() => listAt({ a: {} }, 'a', 'a list of CIDRs')),
    /a is \{\}, expected a list of CIDRs/,
  );
  assert.match(
    problemOf(() => truthAt({ a: 'yes' }, 'a')),
    /a is "yes", expected true or false/,
  );
});

test('a sentence quotes no more than the beginning of a long value', () => {
  assert.ok(problemOf(() => cidrOf('x'.repeat(10_000), 'spec.cidr')).length < 200);
});

test('what is no misfit but a fault of ours is not taken for one', () => {
  assert.throws(() => wellFormed('Thing/a', () => JSON.parse('{')), SyntaxError);
});

test('true, false and their names are understood, and what is missing is false', () => {
  const read = (value: unknown) => truthAt({ value }, 'value');
  assert.deepEqual([true, 'true', false, 'false', '', null, undefined].map(read), [
    ...[true, true],
    ...[false, false, false, false, false],
  ]);
});

test('an address may have a prefix length behind it; that of IPv6 is passed over', () => {
  const read = (text: string) => {
    const address = addressOf(text, 'a', 'ipv4');
    return address === undefined ? undefined : formatAddress(address);
  };
  assert.deepEqual(['10.0.0.5', '10.0.0.5/24', 'fd00::5', 'fd00::5/64'].map(read), [
    '10.0.0.5',
    '10.0.0.5',
    undefined,
    undefined,
  ]);
  for (const text of ['', '10.0.0', '10.0.0.5/33', '10.0.0.5/', '10.0.0.5/24/1', '10.0.0.256'])
    assert.match(
      problemOf(() => addressOf(text, 'a', 'ipv4')),
      /expected an IPv4 address/,
      text,
    );
});

test('a CIDR is of either family', () => {
  for (const text of ['fd00::/64', '10.1.0.0/16']) assert.equal(formatCidr(cidrOf(text, 'a')), text);
});
