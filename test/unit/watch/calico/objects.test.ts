import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, formatCidr } from '../../../../src/base/address.ts';
import {
  blockOf,
  blockOfKey,
  etcdNodeOf,
  type NodeReading,
  nodeOf,
  poolOf,
} from '../../../../src/watch/calico/objects.ts';

const READING: NodeReading = {
  family: 'ipv4',
  matches: (labels) => labels?.role === 'edge',
  readiness: true,
};

/** `undefined`: passed over; `! …`: the problem. */
function block(read: ReturnType<typeof blockOf>): string | undefined {
  if (read === undefined) return undefined;
  return 'problem' in read ? `! ${read.problem}` : `${read.name} ${formatCidr(read.cidr)} ${read.node}`;
}

function affinity(spec: object): string | undefined {
  const whole = {
    cidr: '192.168.12.64/26',
    node: 'node-a',
    state: 'confirmed',
    deleted: 'false',
    type: 'host',
  };
  return block(blockOf({ spec: { ...whole, ...spec } }, 'node-a-192-168-12-64-26'));
}

const HELD = 'node-a-192-168-12-64-26 192.168.12.64/26 node-a';

test('a block counts in the shapes of both API groups', () => {
  assert.equal(affinity({}), HELD);
  assert.equal(affinity({ deleted: false }), HELD);
  assert.equal(affinity({ deleted: '', type: undefined }), HELD);
  assert.equal(affinity({ deleted: undefined, type: '' }), HELD);
});

test('a block counts only while a node holds it for its pods', () => {
  assert.equal(affinity({ state: 'pending' }), undefined);
  assert.equal(affinity({ state: 'pendingDeletion' }), undefined);
  assert.equal(affinity({ deleted: 'true' }), undefined);
  assert.equal(affinity({ deleted: true }), undefined);
  assert.equal(affinity({ type: 'virtual', node: 'load-balancer' }), undefined);
});

test('a block without a state is one of an older Calico, which wrote none', () => {
  assert.equal(affinity({ state: '' }), HELD);
  assert.equal(affinity({ state: undefined }), HELD);
});

test('a block of IPv6 counts like any other', () => {
  assert.equal(
    affinity({ cidr: 'fd00:10:244::40/122' }),
    'node-a-192-168-12-64-26 fd00:10:244::40/122 node-a',
  );
  assert.equal(
    block(blockOfKey('/calico/ipam/v2/host/node-a/ipv6/block/fd00:10:244::40-122', '{}')),
    'node-a-fd00-10-244--40-122 fd00:10:244::40/122 node-a',
  );
});

test('a block that makes no sense is said to', () => {
  const name = '! BlockAffinity/node-a-192-168-12-64-26:';
  assert.equal(
    affinity({ cidr: '192.168.12.65/26' }),
    `${name} spec.cidr is "192.168.12.65/26", expected a CIDR such as 192.168.12.64/26 or fd00:10:1::/64 (its host bits are set)`,
  );
  assert.equal(affinity({ node: '' }), `${name} spec.node is "", expected the name of a node`);
  assert.equal(affinity({ node: undefined }), `${name} spec.node is missing, expected the name of a node`);
  assert.equal(affinity({ deleted: 'perhaps' }), `${name} spec.deleted is "perhaps", expected true or false`);
  assert.match(affinity({ state: 3 }) ?? '', /spec\.state is 3, expected confirmed or another state$/);
  assert.match(affinity({ type: [] }) ?? '', /spec\.type is \[\], expected host or virtual$/);
});

const key = (node: string, cidr: string) => `/calico/ipam/v2/host/${node}/ipv4/block/${cidr}`;

test('a block of etcd has the name that the object in Kubernetes would have', () => {
  const value = JSON.stringify({ state: 'confirmed', deleted: false });
  assert.equal(block(blockOfKey(key('node-a', '192.168.12.64-26'), value)), HELD);
});

test('an empty value in etcd is a block of Calico before 3.0.7', () => {
  assert.equal(block(blockOfKey(key('node-a', '192.168.12.64-26'), '')), HELD);
  assert.equal(block(blockOfKey(key('node-a', '192.168.12.64-26'), '{}')), HELD);
});

test('a block of etcd that is being deleted, or not yet confirmed, is passed over', () => {
  for (const value of [
    { state: 'confirmed', deleted: true },
    { state: 'pending', deleted: false },
    { state: 'pendingDeletion', deleted: false },
  ])
    assert.equal(block(blockOfKey(key('node-a', '192.168.12.64-26'), JSON.stringify(value))), undefined);
});

test('other keys below the same prefix are passed over', () => {
  assert.equal(blockOfKey('/calico/ipam/v2/host/node-a/ipv5/block/10.0.0.0-26', '{}'), undefined);
  assert.equal(blockOfKey('/calico/ipam/v2/host/node-a', '{}'), undefined);
  assert.equal(blockOfKey('/calico/ipam/v2/virtual/lb/ipv4/block/10.0.0.0-26', '{}'), undefined);
});

test('a key of etcd that makes no sense is said to', () => {
  assert.match(
    block(blockOfKey(key('node-a', '192.168.12.64'), '')) ?? '',
    /^! \/calico\/ipam\/v2\/host\/node-a\/ipv4\/block\/192\.168\.12\.64: its last part is "192\.168\.12\.64", expected a CIDR/,
  );
  assert.match(
    block(blockOfKey(key('node-a', '192.168.12.64-26'), '{"state":')) ?? '',
    /: its value is "\{\\"state\\":", expected JSON$/,
  );
});

function pool(spec: object): string | undefined {
  const read = poolOf({ spec: { cidr: '192.168.0.0/16', ...spec } }, 'default-ipv4-ippool');
  if (read === undefined) return undefined;
  return 'problem' in read
    ? `! ${read.problem}`
    : `${formatCidr(read.cidr)}${read.disabled ? ' disabled' : ''}`;
}

test('a pool counts for pods and for tunnels, not for load balancers', () => {
  assert.equal(pool({}), '192.168.0.0/16');
  assert.equal(pool({ allowedUses: [] }), '192.168.0.0/16');
  assert.equal(pool({ allowedUses: ['Workload', 'Tunnel'], disabled: false }), '192.168.0.0/16');
  assert.equal(pool({ allowedUses: ['Tunnel'] }), '192.168.0.0/16');
  assert.equal(pool({ allowedUses: ['LoadBalancer'] }), undefined);
  assert.equal(pool({ disabled: true }), '192.168.0.0/16 disabled');
  assert.equal(pool({ cidr: 'fd00:10:244::/48' }), 'fd00:10:244::/48');
});

test('a pool that makes no sense is said to', () => {
  assert.match(pool({ cidr: undefined }) ?? '', /^! IPPool\/default-ipv4-ippool: spec\.cidr is missing/);
  assert.match(pool({ disabled: 7 }) ?? '', /spec\.disabled is 7/);
  assert.match(pool({ allowedUses: 'Workload' }) ?? '', /spec\.allowedUses is "Workload"/);
});

function node(object: object, read: typeof nodeOf = nodeOf, reading = READING): string {
  const result = read(object, 'a', reading);
  if ('problem' in result) return `! ${result.problem}`;
  const { gateways, matches, ready } = result;
  const words = [gateways.map(({ address }) => formatAddress(address)).join(' ') || 'nowhere'];
  return [...words, ...(matches ? ['edge'] : []), ...(ready ? [] : ['unready'])].join(' ');
}

const annotated = (address: string, more: object = {}) => ({
  metadata: { annotations: { 'projectcalico.org/IPv4Address': address } },
  status: { addresses: [{ type: 'InternalIP', address: '10.9.9.9' }] },
  ...more,
});

test('a node is where Calico found it, or at its InternalIP where Calico says nothing', () => {
  assert.equal(node(annotated('10.0.0.5/24')), '10.0.0.5');
  assert.equal(node(annotated('10.0.0.5')), '10.0.0.5');
  assert.equal(node(annotated('')), '10.9.9.9');
  assert.equal(
    node({
      metadata: {},
      status: {
        addresses: [
          { type: 'Hostname', address: 'a' },
          { type: 'InternalIP', address: 'fd00::9' },
          { type: 'InternalIP', address: '10.9.9.9' },
          { type: 'ExternalIP', address: '203.0.113.1' },
        ],
      },
    }),
    '10.9.9.9',
  );
  assert.equal(node({ metadata: {} }), 'nowhere');
});

test('a node whose address makes no sense is said to have it, whatever its InternalIP is', () => {
  assert.match(
    node(annotated('10.0.0.500/24')),
    /^! Node\/a: metadata\.annotations\["projectcalico\.org\/IPv4Address"\] is "10\.0\.0\.500\/24"/,
  );
  assert.match(
    node({ status: { addresses: [{ type: 'InternalIP' }] } }),
    /status\.addresses\[0\]\.address is missing/,
  );
});

test('a node that is not ready is known by its condition, where somebody asks', () => {
  const conditions = (status: string) => ({ status: { conditions: [{ type: 'Ready', status }] } });
  assert.equal(node(annotated('10.0.0.5/24', conditions('False'))), '10.0.0.5 unready');
  assert.equal(node(annotated('10.0.0.5/24', conditions('Unknown'))), '10.0.0.5 unready');
  assert.equal(node(annotated('10.0.0.5/24', conditions('True'))), '10.0.0.5');
  const nobodyAsks = { ...READING, readiness: false };
  assert.equal(node(annotated('10.0.0.5/24', conditions('False')), nodeOf, nobodyAsks), '10.0.0.5');
});

test("a node of Calico's etcd has its address where BGP speaks from, or among its addresses", () => {
  const labels = { metadata: { name: 'a', labels: { role: 'edge' } } };
  assert.equal(
    node({ ...labels, spec: { bgp: { ipv4Address: '10.0.0.5/24' } } }, etcdNodeOf),
    '10.0.0.5 edge',
  );
  assert.equal(
    node({ spec: { addresses: [{ address: '10.0.0.6', type: 'InternalIP' }] } }, etcdNodeOf),
    '10.0.0.6',
  );
  assert.equal(node({ spec: {} }, etcdNodeOf), 'nowhere');
  assert.match(node({ spec: { bgp: { ipv4Address: 5 } } }, etcdNodeOf), /spec\.bgp\.ipv4Address is 5/);
});
