import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseConfig } from '../../../src/config/load.ts';
import { formatProblem } from '../../../src/config/problem.ts';
import { underlayFamily } from '../../../src/config/underlay-family.ts';

function problemsOf(text: string): string[] {
  return (parseConfig(text, 'east.yaml').problems ?? []).map(formatProblem);
}

describe('the underlay is of one family', () => {
  const CLUSTER = 'cluster: {name: east, cidrs: [10.1.0.0/16]}\n';
  const gateways = (...addresses: string[]): string =>
    `clusters:\n  - {name: west, cidrs: [10.2.0.0/16], gateways: [${addresses.map((text) => `{address: "${text}"}`).join()}]}\n`;
  const familyIn = (text: string): string => {
    const read = parseConfig(CLUSTER + text, 'east.yaml');
    assert.deepEqual(read.problems ?? [], []);
    return underlayFamily(read.value!);
  };

  test('that of underlay.address, or what underlay.family says', () => {
    assert.equal(familyIn(''), 'ipv4');
    assert.equal(familyIn('underlay: {address: "2001:db8::1"}\n'), 'ipv6');
    assert.equal(familyIn('underlay: {family: ipv6}\n'), 'ipv6');
    assert.equal(familyIn(`underlay: {family: ipv6}\n${gateways('2001:db8::2')}`), 'ipv6');
  });

  test('addresses of the other family are named with their place', () => {
    const problems = (text: string): string[] => problemsOf(CLUSTER + text);
    assert.match(
      problems('underlay: {address: "2001:db8::1", family: ipv4}')[0]!,
      /underlay\.address.*expected IPv4/,
    );
    assert.match(
      problems(gateways('172.31.0.2', '2001:db8::2'))[0]!,
      /gateways\[1\]\.address: expected IPv4.*2001:db8::2/,
    );
    assert.match(
      problems(`underlay: {family: ipv6}\n${gateways('172.31.0.2')}`)[0]!,
      /gateways\[0\]\.address: expected IPv6.*172\.31\.0\.2/,
    );
    assert.match(
      problems('security: {decapsulateFrom: ["2001:db8::/64"]}')[0]!,
      /decapsulateFrom\[0\]: expected IPv4/,
    );
    assert.deepEqual(
      problems('underlay: {family: ipv6}\nsecurity: {decapsulateFrom: ["2001:db8::/64"]}'),
      [],
    );
  });

  test('what IPv4 alone has is refused with IPv6', () => {
    for (const choice of [
      'encapsulation: fou',
      'mode: cross-subnet',
      'transmit: packet',
      'underlaySocket: raw-socket',
      'fragment: outer',
    ]) {
      const [problem, ...more] = problemsOf(`${CLUSTER}underlay: {family: ipv6}\ntunnel: {${choice}}`);
      assert.match(
        problem ?? '',
        new RegExp(`tunnel\\.${choice.split(':')[0]}: expected .* with an IPv6 underlay`),
      );
      assert.deepEqual(more, []);
      assert.deepEqual(problemsOf(`${CLUSTER}tunnel: {${choice}}`), []);
    }
  });

  test('an address that no gateway can have is refused', () => {
    for (const text of [
      '::',
      '::1',
      'fe80::1',
      'ff02::1',
      '::ffff:10.0.0.1',
      '2001:db8::2/64',
      '2001:db8:::2',
    ])
      assert.match(
        problemsOf(`${CLUSTER}underlay: {family: ipv6}\n${gateways(text)}`)[0] ?? '',
        /gateways\[0\]\.address: expected an address/,
        text,
      );
  });
});
