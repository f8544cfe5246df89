import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DeviceFacts, NEAR_DEVICES_MAX, nearDevices } from '../../../src/host/nat-devices.ts';
import type { Link } from '../../../src/io/netlink-link.ts';

const link = (name: string, kind: string): Link =>
  ({ name, kind, index: 1, mtuBytes: 1500, txQueueLength: 1000, isUp: true, hasCarrier: true }) as Link;

function near(links: readonly Link[], facts: Partial<DeviceFacts> = {}): string[] {
  return nearDevices({ links, away: new Set(), ports: () => undefined, ...facts });
}

test('ends of pairs whose other end is in a pod are near', () => {
  assert.deepEqual(near([link('lxc1', 'netkit'), link('cali1', 'veth')]), ['cali1', 'lxc1']);
});

for (const [name, kind] of [
  ['eth0', ''],
  ['bond0', 'bond'],
  ['eth0.5', 'vlan'],
  ['tunl0', 'ipip'],
  ['flannel.1', 'vxlan'],
  ['genev_sys_6081', 'geneve'],
  ['wg0', 'wireguard'],
  ['ovn-k8s-mp0', 'openvswitch'],
  ['isthmus0', 'tun'],
  ['new0', 'to-be-invented'],
  ['cilium_host', 'veth'],
  ['weave', 'bridge'],
  ['vethwe-bridge', 'veth'],
] as const) {
  test(`${name} of kind "${kind}" may lead to another node`, () => {
    assert.deepEqual(near([link(name, kind)], { ports: () => [] }), []);
  });
}

test('a bridge is near when all its ports are, and as far as can be known', () => {
  const links = [link('cni0', 'bridge'), link('veth1', 'veth'), link('eth1', ''), link('br1', 'bridge')];
  const ports = (bridge: string) => (bridge === 'cni0' ? ['veth1'] : ['veth1', 'eth1']);
  assert.deepEqual(near(links, { ports }), ['cni0', 'veth1']);
  assert.deepEqual(near(links), ['veth1']);
});

test('a pair that the underlay or the default route goes by is no pod, nor is a bridge with it', () => {
  const links = [link('eth0', 'veth'), link('veth1', 'veth'), link('br0', 'bridge'), link('br1', 'bridge')];
  const facts = { away: new Set(['eth0', 'br1']), ports: () => ['eth0'] };
  assert.deepEqual(near(links, facts), ['veth1']);
  assert.deepEqual(near(links, { ...facts, ports: () => ['veth1'] }), ['br0', 'veth1']);
});

test('a name that nft would read otherwise is left out', () => {
  assert.deepEqual(near([link('a"b', 'veth'), link('a*', 'veth'), link('a\\', 'veth'), link('ok', 'veth')]), [
    'ok',
  ]);
});

test('at most so many devices are near', () => {
  const links = Array.from({ length: NEAR_DEVICES_MAX + 1 }, (_, i) => link(`v${i}`, 'veth'));
  assert.equal(near(links.slice(1)).length, NEAR_DEVICES_MAX);
  assert.equal(near(links).length, NEAR_DEVICES_MAX);
});
