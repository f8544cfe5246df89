import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAddress, parseCidr, prefixMask } from '../../../../src/base/address.ts';
import { GATEWAY_WEIGHT_MAX, LOCAL_CIDRS_MAX } from '../../../../src/base/limits.ts';
import { decodeRecord, encodeRecord, recordKey } from '../../../../src/watch/etcd/record.ts';

const PREFIX = '/isthmus/';
const KEY = recordKey(PREFIX, 'west', 'gw-1');

test('what a gateway announces is what others read', () => {
  const address = fc.nat({ max: 0xffff_ffff });
  const cidr = fc
    .tuple(address, fc.nat({ max: 32 }))
    .map(([bits, prefixLength]) => ({ address: (bits & prefixMask(prefixLength)) >>> 0, prefixLength }));
  const record = fc.tuple(address, fc.nat({ max: GATEWAY_WEIGHT_MAX }), fc.array(cidr, { maxLength: 20 }));
  fc.assert(
    fc.property(record, ([from, weight, cidrs]) => {
      const value = encodeRecord({ address: from, weight, cidrs });
      const read = { cluster: 'west', gateway: 'gw-1', address: from, weight, cidrs };
      assert.deepEqual(decodeRecord(PREFIX, KEY, value), read);
    }),
    { seed: 14 },
  );
});

test('the form of a record is that of the documentation', () => {
  assert.equal(KEY, '/isthmus/v1/clusters/west/gateways/gw-1');
  assert.equal(
    encodeRecord({ address: parseAddress('172.31.0.2'), weight: 1, cidrs: [parseCidr('10.1.0.0/16')] }),
    '{"address":"172.31.0.2","weight":1,"cidrs":["10.1.0.0/16"]}',
  );
});

test('a weight that is left out is 1, CIDRs are of both families, and fields that are not known are passed over', () => {
  const value = '{"address":"172.31.0.2","cidrs":["2001:db8::/32","10.1.0.0/16"],"since":2026}';
  assert.deepEqual(decodeRecord(PREFIX, KEY, value), {
    ...{ cluster: 'west', gateway: 'gw-1', address: parseAddress('172.31.0.2'), weight: 1 },
    cidrs: [parseCidr('2001:db8::/32'), parseCidr('10.1.0.0/16')],
  });
});

for (const [value, problem] of [
  ['', 'expected JSON such as {"address":"172.31.0.2","cidrs":["10.2.0.0/16"]}, got ""'],
  ['[]', 'expected a JSON object, got []'],
  ['null', 'expected a JSON object, got null'],
  ['{"cidrs":[]}', 'address: expected text, got nothing'],
  [
    '{"address":"2001:db8:::1","cidrs":[]}',
    'address: "2001:db8:::1" is not an IPv6 address such as fd00:1::2',
  ],
  [
    '{"address":"1.2.3.4","weight":1.5,"cidrs":[]}',
    'weight: expected a whole number from 0 to 1000, got 1.5',
  ],
  [
    '{"address":"1.2.3.4","weight":1001,"cidrs":[]}',
    'weight: expected a whole number from 0 to 1000, got 1001',
  ],
  ['{"address":"1.2.3.4","cidrs":"10.0.0.0/8"}', 'cidrs: expected a list of CIDRs, got "10.0.0.0/8"'],
  ['{"address":"1.2.3.4","cidrs":["10.0.0.0/8",7]}', 'cidrs[1]: expected text, got 7'],
  [
    '{"address":"1.2.3.4","cidrs":["10.0.0.1/8"]}',
    'cidrs[0]: "10.0.0.1/8" has host bits set; did you mean 10.0.0.0/8?',
  ],
] as const) {
  test(`a record ${value === '' ? 'without content' : value} is named with its key and what is wrong with it`, () => {
    assert.deepEqual(decodeRecord(PREFIX, KEY, value), { problem: `${KEY}: ${problem}` });
  });
}

test('a record has at most as many CIDRs as a gateway', () => {
  const value = (count: number): string =>
    JSON.stringify({ address: '1.2.3.4', cidrs: Array.from({ length: count }, () => '10.0.0.0/8') });
  const most = decodeRecord(PREFIX, KEY, value(LOCAL_CIDRS_MAX));
  assert.ok(most !== undefined && !('problem' in most));
  assert.deepEqual(decodeRecord(PREFIX, KEY, value(LOCAL_CIDRS_MAX + 1)), {
    problem: `${KEY}: cidrs: expected at most ${LOCAL_CIDRS_MAX} CIDRs, got ${LOCAL_CIDRS_MAX + 1}`,
  });
});

test('a cluster name that could not be configured is a problem; keys of another form are somebody else’s', () => {
  const value = '{"address":"1.2.3.4","cidrs":[]}';
  const odd = recordKey(PREFIX, 'West!', 'gw-1');
  assert.deepEqual(decodeRecord(PREFIX, odd, value), {
    problem: `${odd}: expected the name of a cluster (lower-case letters, digits and inner hyphens), got "West!"`,
  });
  for (const other of ['west', 'west/dns', 'west/gateways/', 'west/gateways/a/b', 'west/routers/a'])
    assert.equal(decodeRecord(PREFIX, `/isthmus/v1/clusters/${other}`, value), undefined);
});
