import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatCidr, parseAddress, parseCidr, parseCidr4 } from '../../../src/base/address.ts';
import { GATEWAYS_MAX } from '../../../src/base/limits.ts';
import { type TunnelMode, waysTo } from '../../../src/host/direct-routes.ts';
import { RouteInstaller } from '../../../src/host/route-installer.ts';
import { NEAR_GATEWAYS_MAX, Segment } from '../../../src/host/segment.ts';
import { FakeKernel, link, METRIC, NIC, PROTOCOL, route, TABLE, TUN, UNDERLAY } from './fake-kernel.ts';

const NEAR = '172.31.0.3';
const NEAR_TOO = '172.31.0.4';
const FAR = '172.31.9.9';

function makeInstaller(kernel: FakeKernel, mode: TunnelMode, metric: number) {
  const segment = new Segment(kernel.netlink, UNDERLAY);
  const base = { netlink: kernel.netlink, deviceIndex: TUN, table: TABLE, protocol: PROTOCOL, source: 0 };
  return { segment, installer: new RouteInstaller({ ...base, metric, mode, segment, onIpv6() {} }) };
}

function setup(mode: TunnelMode = 'cross-subnet', metric = METRIC) {
  const kernel = new FakeKernel();
  for (const address of [NEAR, NEAR_TOO]) kernel.place(address, true);
  return { kernel, ...makeInstaller(kernel, mode, metric) };
}

function started(mode: TunnelMode = 'cross-subnet', metric = METRIC) {
  const made = setup(mode, metric);
  made.installer.reconcile();
  return made;
}

describe('routes past the tunnel', () => {
  test('a route whose gateways are all on the segment lies over the one to the tunnel, with a better metric', () => {
    const { kernel, installer } = started();
    installer.add([route('10.2.0.0/16', NEAR), route('10.3.0.0/16', FAR), route('10.4.0.0/16', NEAR, FAR)]);
    assert.deepEqual(kernel.direct, [`10.2.0.0/16 via ${NEAR}`]);
    assert.deepEqual(
      kernel.rows.map((row) => [formatCidr(row.cidr), row.metric]),
      [
        ['10.2.0.0/16', METRIC],
        ['10.3.0.0/16', METRIC],
        ['10.4.0.0/16', METRIC],
        ['10.2.0.0/16', METRIC - 1],
      ],
    );
    assert.equal(installer.direct.installed.size, 1);
    assert.equal(formatCidr(installer.direct.mixed!), '10.4.0.0/16');
  });

  test('several gateways share by their weights, and one of weight 0 has no say', () => {
    const { kernel, installer } = started();
    installer.add([
      route('10.2.0.0/16', `${NEAR}*3`, NEAR_TOO),
      route('10.3.0.0/16', NEAR, `${FAR}*0`),
      route('10.4.0.0/16', `${NEAR}*0`),
    ]);
    assert.deepEqual(kernel.direct, [`10.2.0.0/16 via ${NEAR}*3 ${NEAR_TOO}*1`, `10.3.0.0/16 via ${NEAR}`]);
  });

  test('mode always makes none', () => {
    const { kernel, installer } = started('always');
    installer.add([route('10.2.0.0/16', NEAR)]);
    assert.deepEqual(kernel.direct, []);
    assert.deepEqual(kernel.asked, [parseAddress('192.0.2.1')]);
  });

  test('on the way back the route past the tunnel goes and the one to the tunnel is not touched', () => {
    const { kernel, installer } = started();
    installer.add([route('10.2.0.0/16', NEAR)]);
    kernel.calls.length = 0;
    kernel.place(NEAR, false);
    installer.direct.review([parseCidr4('172.31.0.0/24')]);
    assert.deepEqual(
      [kernel.calls, kernel.direct, kernel.cidrs],
      [['remove 10.2.0.0/16'], [], ['10.2.0.0/16']],
    );
    kernel.place(NEAR, true);
    installer.direct.review('everything');
    assert.deepEqual(kernel.direct, [`10.2.0.0/16 via ${NEAR}`]);
  });

  test('another set of gateways replaces the route in its place', () => {
    const { kernel, installer } = started();
    installer.add([route('10.2.0.0/16', NEAR)]);
    kernel.calls.length = 0;
    installer.add([route('10.2.0.0/16', NEAR, NEAR_TOO)]);
    assert.deepEqual(kernel.calls, ['replace 10.2.0.0/16']);
    installer.add([route('10.2.0.0/16', NEAR_TOO, NEAR)]);
    installer.add([route('10.2.0.0/16', NEAR, FAR)]);
    assert.deepEqual(kernel.direct, []);
  });

  test('a withdrawn route leaves the direct way first, and neither stays', () => {
    const { kernel, installer } = started();
    installer.add([route('10.2.0.0/16', NEAR)]);
    installer.remove([parseCidr('10.2.0.0/16')]);
    assert.deepEqual(kernel.rows, []);
    assert.equal(installer.direct.installed.size, 0);
  });

  test('a successor adopts what is right, replaces what is not, and removes what nobody wants', () => {
    const { kernel, installer } = started();
    installer.add([route('10.2.0.0/16', NEAR), route('10.3.0.0/16', NEAR), route('10.4.0.0/16', NEAR)]);
    const next = makeInstaller(kernel, 'cross-subnet', METRIC).installer;
    kernel.calls.length = 0;
    next.add([route('10.2.0.0/16', NEAR), route('10.3.0.0/16', NEAR, NEAR_TOO)]);
    assert.equal(kernel.calls.length, 0, 'before the first reconcile nothing is installed');
    next.reconcile();
    assert.deepEqual(kernel.direct, [`10.2.0.0/16 via ${NEAR}`, `10.3.0.0/16 via ${NEAR}*1 ${NEAR_TOO}*1`]);
    assert.ok(!kernel.calls.includes('add 10.2.0.0/16') && !kernel.calls.includes('remove 10.2.0.0/16'));
    assert.equal(next.reconcile(), 0);
  });

  test('a successor in mode always removes them all', () => {
    const { kernel, installer } = started();
    installer.add([route('10.2.0.0/16', NEAR)]);
    const next = makeInstaller(kernel, 'always', METRIC).installer;
    next.add([route('10.2.0.0/16', NEAR)]);
    next.reconcile();
    assert.deepEqual([kernel.direct, kernel.cidrs], [[], ['10.2.0.0/16']]);
  });

  test('what another gateway with our protocol number makes later is left alone', () => {
    const { kernel, installer } = started();
    const other = makeInstaller(kernel, 'cross-subnet', METRIC).installer;
    other.reconcile();
    other.add([route('10.5.0.0/16', NEAR)]);
    assert.equal(installer.reconcile(), 1, 'the route to the tunnel of the same device, and no other');
    assert.deepEqual(kernel.direct, [`10.5.0.0/16 via ${NEAR}`]);
  });

  test('what the kernel took away is put back, and known as missing when it is announced', () => {
    const { kernel, installer } = started();
    installer.add([route('10.2.0.0/16', NEAR), route('10.3.0.0/16', FAR)]);
    const [gone] = kernel.netlink.routes({ protocol: PROTOCOL }).filter((one) => one.gateway !== undefined);
    kernel.rows = kernel.rows.filter((row) => row.gateway === undefined);
    assert.equal(installer.isMissed(gone!), true);
    assert.equal(installer.isMissed({ ...gone!, cidr: parseCidr('10.3.0.0/16') }), false);
    assert.equal(installer.reconcile(), 1);
    assert.deepEqual(kernel.direct, [`10.2.0.0/16 via ${NEAR}`]);
  });

  test('the mode changes while it runs', () => {
    const { kernel, installer } = started('always');
    const routes = [route('10.2.0.0/16', NEAR)];
    installer.add(routes);
    installer.direct.setMode('cross-subnet', () => routes);
    assert.deepEqual(kernel.direct, [`10.2.0.0/16 via ${NEAR}`]);
    installer.direct.setMode('always', () => assert.fail('needs no routes'));
    assert.deepEqual([kernel.direct, kernel.cidrs], [[], ['10.2.0.0/16']]);
  });

  test('at the end all of ours are gone and a foreign route with a gateway stays', () => {
    const { kernel, installer } = started();
    installer.add([route('10.2.0.0/16', NEAR, NEAR_TOO)]);
    const foreign = { cidr: parseCidr('10.9.0.0/16'), deviceIndex: NIC, gateway: parseAddress(NEAR) };
    kernel.rows.push({ ...foreign, table: TABLE, metric: METRIC - 1, protocol: 12 });
    installer.clear();
    assert.deepEqual(kernel.cidrs, ['10.9.0.0/16']);
  });

  test('what the kernel refuses stays in the tunnel, is named, and is tried again', () => {
    const { kernel, installer } = started();
    kernel.refuses.set('10.2.0.0/16', 'ENETUNREACH');
    installer.add([route('10.2.0.0/16', NEAR)]);
    assert.match(installer.direct.problem ?? '', /10\.2\.0\.0\/16 \(ENETUNREACH\).*take the tunnel/);
    assert.deepEqual([installer.direct.installed.size, installer.isHopeless], [0, false]);
    kernel.refuses.clear();
    installer.direct.reviewSome(1);
    assert.equal(installer.direct.problem, undefined);
    assert.deepEqual(kernel.direct, [`10.2.0.0/16 via ${NEAR}`]);
  });

  test('a route that cannot be replaced is taken away: its old gateway may be gone', () => {
    const { kernel, installer } = started();
    installer.add([route('10.2.0.0/16', NEAR)]);
    kernel.refuses.set('10.2.0.0/16', 'ENETUNREACH');
    installer.add([route('10.2.0.0/16', NEAR_TOO)]);
    assert.deepEqual([kernel.direct, kernel.cidrs], [[], ['10.2.0.0/16']]);
  });

  test('a foreign route in the way is named with the metric to change', () => {
    const { kernel, installer } = started();
    const foreign = { cidr: parseCidr('10.2.0.0/16'), deviceIndex: NIC, table: TABLE, protocol: 12 };
    kernel.rows.push({ ...foreign, metric: METRIC - 1 });
    installer.add([route('10.2.0.0/16', NEAR)]);
    assert.match(installer.direct.problem ?? '', /metric 99 .*routes\.metric/);
  });

  test('metric 0 leaves none better, and that is said', () => {
    const { kernel, installer } = started('cross-subnet', 0);
    installer.add([route('10.2.0.0/16', NEAR)]);
    assert.deepEqual(kernel.direct, []);
    assert.match(installer.direct.problem ?? '', /routes\.metric is 0/);
  });

  test('the kernel sending past the tunnel to a gateway of ours is no bypass; past it to anybody else is', () => {
    const { installer } = started();
    installer.add([route('10.2.0.0/16', NEAR)]);
    const way = { source: undefined, isLocal: false, deviceIndex: NIC };
    assert.equal(installer.isOurWay({ ...way, gateway: parseAddress(NEAR) }), true);
    assert.equal(installer.isOurWay({ ...way, gateway: parseAddress('172.31.0.1') }), false);
    assert.equal(installer.isOurWay({ ...way, gateway: undefined }), false);
    assert.equal(installer.isOurWay({ ...way, deviceIndex: TUN, gateway: undefined }), true);
  });

  test('the underlay on another device: routes over the old one are replaced or withdrawn', () => {
    const { kernel, installer, segment } = started();
    installer.add([route('10.2.0.0/16', NEAR), route('10.3.0.0/16', NEAR_TOO)]);
    kernel.links.push(link(4, 'eth1'));
    kernel.ways.set(parseAddress(NEAR), {
      ...{ source: parseAddress('172.31.0.8'), deviceIndex: 4, gateway: undefined, isLocal: false },
    });
    segment.moveTo({ ...UNDERLAY, deviceName: 'eth1', deviceIndex: 4 });
    installer.reconcile();
    assert.deepEqual(kernel.direct, [`10.2.0.0/16 via ${NEAR}`]);
    assert.equal(kernel.rows.find((row) => row.gateway !== undefined)?.deviceIndex, 4);
  });
});

describe('the segment', () => {
  test('a point-to-point device, one that is down, and a default route without a next hop have no neighbours', () => {
    const near = { source: UNDERLAY.address, deviceIndex: NIC, gateway: undefined, isLocal: false };
    for (const spoil of [
      (kernel: FakeKernel) => kernel.links.splice(0, 1, link(NIC, 'ppp0', { isShared: false })),
      (kernel: FakeKernel) => kernel.links.splice(0, 1, link(NIC, 'eth0', { isUp: false })),
      (kernel: FakeKernel) => {
        kernel.defaultWay = near;
      },
    ]) {
      const { kernel, segment } = setup();
      assert.equal(segment.isOnLink(parseAddress(NEAR)), true);
      spoil(kernel);
      assert.equal(segment.review('everything'), true);
      assert.equal(segment.isOnLink(parseAddress(NEAR)), false);
    }
  });

  test('our own address and one behind another device are not near', () => {
    const { kernel, segment } = setup();
    kernel.ways.set(1, { source: 1, deviceIndex: NIC, gateway: undefined, isLocal: true });
    kernel.ways.set(2, { source: 1, deviceIndex: 9, gateway: undefined, isLocal: false });
    kernel.ways.set(3, undefined);
    assert.deepEqual(
      [1, 2, 3].map((address) => segment.isOnLink(address)),
      [false, false, false],
    );
  });

  test('asks once for each gateway, and again only for those in doubt', () => {
    const { kernel, segment } = setup();
    for (let turn = 0; turn < 3; turn++)
      for (const gateway of [NEAR, NEAR_TOO, FAR]) segment.isOnLink(parseAddress(gateway));
    assert.equal(kernel.asked.length, 4);
    kernel.asked.length = 0;
    assert.equal(segment.review([parseCidr4('172.31.9.0/24')]), false);
    assert.deepEqual(kernel.asked, [parseAddress(FAR)]);
  });

  test('a part of the gateways is asked at a time, and all of them in turn', () => {
    const { kernel, segment } = setup();
    for (const gateway of [NEAR, NEAR_TOO, FAR]) segment.isOnLink(parseAddress(gateway));
    kernel.place(FAR, true);
    assert.deepEqual([segment.reviewSome(2), segment.reviewSome(2)], [false, true]);
    assert.equal(segment.isOnLink(parseAddress(FAR)), true);
  });

  test('no more gateways are near than the kernel bears, and one that goes makes room', () => {
    const { kernel, segment } = setup();
    kernel.defaultWay = undefined;
    const near = { source: UNDERLAY.address, deviceIndex: NIC, gateway: undefined, isLocal: false };
    const gateways = Array.from({ length: NEAR_GATEWAYS_MAX + 1 }, (_, at) => 0xac20_0000 + at);
    for (const gateway of gateways) kernel.ways.set(gateway, near);
    const isNear = gateways.map((gateway) => segment.isOnLink(gateway));
    assert.deepEqual([isNear.at(0), isNear.at(-2), isNear.at(-1)], [true, true, false]);
    kernel.ways.delete(gateways[0]!);
    assert.equal(segment.review('everything'), true);
    assert.equal(segment.isOnLink(gateways.at(-1)!), true);
    segment.keepOnly(new Set(gateways.slice(-2)));
    assert.equal(segment.isOnLink(0xac20_0000), false);
    assert.equal(segment.size, 3);
  });

  test('gateways that no route has any more are forgotten', () => {
    const { installer, segment } = started();
    installer.add([route('10.2.0.0/16', NEAR), route('10.3.0.0/16', NEAR_TOO)]);
    installer.remove([parseCidr('10.3.0.0/16')]);
    installer.direct.review('everything');
    assert.equal(segment.size, 1);
  });
});

test('weights beyond what the kernel holds are scaled, and none becomes nothing', () => {
  const weights = (...given: number[]) =>
    waysTo(given.map((weight, address) => ({ address, weight }))).map((way) => way.weight);
  assert.deepEqual(weights(1, 2, 256), [1, 2, 256]);
  assert.deepEqual(weights(1000, 500, 1), [256, 128, 1]);
  assert.deepEqual(weights(1000), [1]);
  assert.equal(weights(...new Array<number>(GATEWAYS_MAX).fill(7)).length, GATEWAYS_MAX);
});

test('what is of IPv6 always takes the tunnel', () => {
  const { kernel, installer } = started();
  installer.add([route('fd00:2::/48', NEAR), route('10.2.0.0/16', NEAR)]);
  assert.deepEqual(kernel.direct, ['10.2.0.0/16 via 172.31.0.3']);
  assert.deepEqual(kernel.cidrs, ['10.2.0.0/16', '10.2.0.0/16', 'fd00:2::/48']);
  installer.remove([parseCidr('fd00:2::/48')]);
  assert.deepEqual(kernel.cidrs, ['10.2.0.0/16', '10.2.0.0/16']);
});
