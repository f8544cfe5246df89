import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, parseAddress } from '../../../src/base/address.ts';
import { GatewayError } from '../../../src/base/errors.ts';
import type { GatewaySelection } from '../../../src/watch/gateway-selection.ts';
import {
  type GatewayNode,
  matcherOf,
  NodeGateways,
  type TunnelGateway,
  tunnelGatewayOf,
} from '../../../src/watch/node-gateways.ts';

const node = (address: string | undefined, changes: Partial<GatewayNode> = {}): GatewayNode => ({
  address: address === undefined ? undefined : parseAddress(address),
  matches: false,
  ready: true,
  ...changes,
});

const object = (changes: Partial<TunnelGateway>): TunnelGateway => ({
  node: undefined,
  address: undefined,
  weight: 1,
  serves: true,
  ...changes,
});

function chosen(gateways: NodeGateways): string[] {
  return gateways
    .chosen()
    .map(({ address, weight }) => `${formatAddress(address)}*${weight}`)
    .sort();
}

function withNodes(kind: GatewaySelection['kind']): NodeGateways {
  const gateways = new NodeGateways(kind);
  gateways.setNode('a', node('10.0.0.1', { matches: true }));
  gateways.setNode('b', node('10.0.0.2'));
  gateways.setNode('c', node(undefined, { matches: true }));
  return gateways;
}

test('all: every node with an address is a gateway, as long as it is there', () => {
  const gateways = withNodes('all');
  assert.deepEqual(chosen(gateways), ['10.0.0.1*1', '10.0.0.2*1']);
  gateways.setNode('a', undefined);
  gateways.setNode('b', node(undefined));
  assert.deepEqual(chosen(gateways), []);
});

test('labels: nodes that match, while they do', () => {
  const gateways = withNodes('labels');
  assert.deepEqual(chosen(gateways), ['10.0.0.1*1']);
  gateways.setNode('b', node('10.0.0.2', { matches: true }));
  gateways.setNode('a', node('10.0.0.1', { matches: false }));
  assert.deepEqual(chosen(gateways), ['10.0.0.2*1']);
});

test('objects: by the node that they name, or by their own address; a node that comes later counts', () => {
  const gateways = withNodes('objects');
  assert.deepEqual(chosen(gateways), []);
  gateways.setObject('one', object({ node: 'a', weight: 3 }));
  gateways.setObject('two', object({ address: parseAddress('172.31.0.9') }));
  gateways.setObject('three', object({ node: 'd' }));
  gateways.setObject('four', object({ address: parseAddress('172.31.0.10'), serves: false }));
  assert.deepEqual(chosen(gateways), ['10.0.0.1*3', '172.31.0.9*1']);
  assert.deepEqual(
    [...gateways.problems()],
    ['TunnelGateway/three: spec.nodeName is "d", and there is no such node'],
  );
  gateways.setNode('d', node('10.0.0.4'));
  assert.deepEqual(chosen(gateways), ['10.0.0.1*3', '10.0.0.4*1', '172.31.0.9*1']);
  gateways.setNode('a', node('10.0.0.7'));
  gateways.setObject('two', undefined);
  assert.deepEqual(chosen(gateways), ['10.0.0.4*1', '10.0.0.7*3']);
  gateways.setNode('d', node(undefined));
  assert.deepEqual(chosen(gateways), ['10.0.0.7*3']);
  assert.match([...gateways.problems()].join(), /three.*no IPv4 address/);
});

test('a TunnelGateway without clusters serves all, otherwise those that it names', () => {
  const read = (spec: object) => tunnelGatewayOf({ spec }, 'gw', 'east', 'ipv4');
  assert.deepEqual(read({ nodeName: 'a' }), { node: 'a', address: undefined, weight: 1, serves: true });
  assert.deepEqual(read({ address: '10.0.0.1', weight: 5, clusters: ['west', 'east'] }), {
    node: undefined,
    address: parseAddress('10.0.0.1'),
    weight: 5,
    serves: true,
  });
  const other = read({ nodeName: 'a', clusters: ['west'] });
  assert.equal(other && 'serves' in other && other.serves, false);
  assert.equal(read({ address: 'fd00::1' }), undefined);
});

test('a TunnelGateway that makes no sense is said to', () => {
  const problem = (spec: object) => {
    const read = tunnelGatewayOf({ spec }, 'gw', 'east', 'ipv4');
    return read !== undefined && 'problem' in read ? read.problem : undefined;
  };
  assert.equal(
    problem({}),
    'TunnelGateway/gw: spec.nodeName is missing, expected the name of a node, or spec.address',
  );
  assert.match(problem({ address: '10.0.0' }) ?? '', /spec\.address is "10\.0\.0"/);
  for (const weight of [-1, 1001, 1.5, 'x'])
    assert.match(problem({ nodeName: 'a', weight }) ?? '', /spec\.weight is .* from 0 to 1000/);
  assert.match(problem({ nodeName: 'a', clusters: 'west' }) ?? '', /spec\.clusters is "west"/);
});

test('a selector that cannot be understood is refused with the name of the source', () => {
  assert.throws(
    () => matcherOf('calico:west', { kind: 'labels', selector: 'a in (b)' }),
    (thrown: unknown) =>
      thrown instanceof GatewayError &&
      thrown.code === 'ISTHMUS_ERR_CONFIG' &&
      /calico:west: gateways is "a in \(b\)"/.test(thrown.message),
  );
  assert.equal(matcherOf('calico:west', { kind: 'labels', selector: 'a=b' })({ a: 'b' }), true);
});
