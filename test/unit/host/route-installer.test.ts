import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr } from '../../../src/base/address.ts';
import { RouteInstaller } from '../../../src/host/route-installer.ts';
import { Segment } from '../../../src/host/segment.ts';
import { type RouteRow, shownMetric } from '../../../src/io/netlink-route.ts';
import { FakeKernel, METRIC, PROTOCOL, route, TABLE, TUN, UNDERLAY } from './fake-kernel.ts';

function setup() {
  const kernel = new FakeKernel();
  const admitted: number[] = [];
  const installer = new RouteInstaller({
    netlink: kernel.netlink,
    deviceIndex: TUN,
    table: TABLE,
    metric: METRIC,
    protocol: PROTOCOL,
    source: 0,
    mode: 'always',
    segment: new Segment(kernel.netlink, UNDERLAY),
    onIpv6: () => admitted.push(kernel.rows.length),
  });
  const row = (cidr: string, change: Partial<RouteRow> = {}): RouteRow => ({
    cidr: parseCidr(cidr),
    deviceIndex: TUN,
    table: TABLE,
    metric: METRIC,
    protocol: PROTOCOL,
    source: 0,
    ...change,
  });
  return { kernel, installer, row, admitted };
}

test('adopts what a predecessor left, removes what nobody wants, adds what is missing, and touches no foreign route', () => {
  const { kernel, installer, row } = setup();
  const kept = row('10.2.0.0/16');
  kernel.rows.push(
    kept,
    row('10.9.0.0/16'),
    row('10.8.0.0/16', { protocol: 12 }),
    row('10.7.0.0/16', { deviceIndex: 9 }),
  );
  installer.add([route('10.2.0.0/16'), route('10.3.0.0/16')]);
  assert.equal(kernel.rows.length, 4, 'before the first reconcile nothing is installed');
  assert.equal(installer.reconcile(), 2);
  assert.deepEqual(kernel.cidrs, ['10.2.0.0/16', '10.3.0.0/16', '10.7.0.0/16', '10.8.0.0/16']);
  assert.ok(kernel.rows.includes(kept), 'the adopted route was not made anew');
  assert.equal(installer.problem, undefined);
});

test('a route of ours with another metric or source is replaced', () => {
  const { kernel, installer, row } = setup();
  kernel.rows.push(row('10.2.0.0/16', { metric: 5 }));
  installer.add([route('10.2.0.0/16')]);
  installer.reconcile();
  assert.deepEqual(
    kernel.rows.map((found) => found.metric),
    [100],
  );
});

test('a foreign route in the way is named as a problem until it or the wish goes', () => {
  const { kernel, installer, row } = setup();
  kernel.rows.push(row('10.2.0.0/16', { protocol: 12, deviceIndex: 3 }));
  installer.reconcile();
  installer.add([route('10.2.0.0/16')]);
  assert.match(installer.problem ?? '', /10\.2\.0\.0\/16 .*metric 100/);
  installer.remove([parseCidr('10.2.0.0/16')]);
  assert.equal(installer.problem, undefined);
  assert.deepEqual(kernel.cidrs, ['10.2.0.0/16'], 'the foreign route is still there');
});

test('puts back what somebody else removed, and clears only its own', () => {
  const { kernel, installer, row } = setup();
  installer.reconcile();
  installer.add([route('10.2.0.0/16'), route('10.3.0.0/16')]);
  kernel.rows.splice(0, 1);
  assert.equal(installer.reconcile(), 1);
  assert.deepEqual(kernel.cidrs, ['10.2.0.0/16', '10.3.0.0/16']);
  kernel.rows.push(row('10.8.0.0/16', { protocol: 4 }));
  installer.clear();
  assert.deepEqual(kernel.cidrs, ['10.8.0.0/16']);
});

test('more routes than fit one call are installed and removed', () => {
  const { kernel, installer } = setup();
  installer.reconcile();
  const routes = Array.from({ length: 5000 }, (_, i) => route(`20.${i >> 8}.${i & 255}.0/24`));
  installer.add(routes);
  assert.equal(kernel.rows.length, 5000);
  installer.remove(routes.map(({ cidr }) => cidr));
  assert.equal(kernel.rows.length, 0);
});

test('a route that is there already is not installed again when only its gateways changed', () => {
  const { kernel, installer } = setup();
  installer.reconcile();
  installer.add([route('10.2.0.0/16')]);
  installer.add([route('10.2.0.0/16'), route('10.3.0.0/16')]);
  assert.equal(installer.problem, undefined);
  assert.deepEqual(kernel.cidrs, ['10.2.0.0/16', '10.3.0.0/16']);
});

test('a route of ours in a table that was configured before is removed', () => {
  const { kernel, installer, row } = setup();
  kernel.rows.push(row('10.2.0.0/16', { table: 100 }));
  installer.add([route('10.2.0.0/16')]);
  installer.reconcile();
  assert.deepEqual(
    kernel.rows.map((found) => found.table),
    [254],
  );
});

test('counts what it changed, not what it tried, and says when nothing of ours leads to the device', () => {
  const { kernel, installer, row } = setup();
  kernel.rows.push(row('10.2.0.0/16', { protocol: 12, deviceIndex: 3 }));
  installer.add([route('10.2.0.0/16')]);
  assert.equal(installer.reconcile(), 0);
  assert.equal(installer.isHopeless, true);
  installer.add([route('10.3.0.0/16')]);
  assert.equal(installer.isHopeless, false);
});

test('a route of IPv6 has no source and the metric that the kernel shows, and the device is asked to take it before', () => {
  const { kernel, installer, row, admitted } = setup();
  kernel.rows.push(row('fd00:2::/48'), row('fd00:9::/48'));
  installer.add([route('fd00:2::/48', '172.31.0.3')]);
  assert.equal(installer.reconcile(), 1);
  assert.deepEqual([kernel.cidrs, admitted], [['fd00:2::/48'], []]);
  installer.add([route('fd00:3::/48', '172.31.0.3'), route('10.3.0.0/16', '172.31.0.3')]);
  assert.deepEqual([kernel.cidrs, admitted], [['10.3.0.0/16', 'fd00:2::/48', 'fd00:3::/48'], [1]]);
  assert.equal(installer.hasIpv6, true);
  assert.equal(installer.reconcile(), 0);
  installer.remove([parseCidr('fd00:2::/48'), parseCidr('fd00:3::/48')]);
  assert.deepEqual([kernel.cidrs, installer.hasIpv6], [['10.3.0.0/16'], false]);
  assert.deepEqual(shownMetric(parseCidr('fd00:2::/48'), 0), 1024);
  assert.deepEqual(shownMetric(parseCidr('10.3.0.0/16'), 0), 0);
});
