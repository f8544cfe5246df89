import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, parseAddress, parseCidr } from '../../../../src/base/address.ts';
import { type KernelRoute, ROUTE_TYPE } from '../../../../src/io/netlink-route.ts';
import { claimsOfRoutes, type RouteReading } from '../../../../src/watch/kernel-routes/route-claims.ts';

const BIRD = 12;
const LOCAL: RouteReading = { protocols: [BIRD], within: [], cluster: 'east', isLocal: true, via: [] };
const REMOTE: RouteReading = { ...LOCAL, cluster: 'west', isLocal: false };

function route(
  cidr: string,
  gateways: readonly string[] = [],
  changed: Partial<KernelRoute> = {},
): KernelRoute {
  const hops = gateways.map((gateway) => ({
    deviceIndex: 2,
    gateway: parseAddress(gateway),
    isViaIpv6: false,
    weight: 1,
  }));
  const only = hops.length === 1 ? hops[0] : undefined;
  return {
    cidr: parseCidr(cidr),
    table: 254,
    protocol: BIRD,
    metric: 32,
    type: ROUTE_TYPE.UNICAST,
    source: undefined,
    deviceIndex: only?.deviceIndex ?? 0,
    gateway: only?.gateway,
    hops,
    nexthopId: 0,
    ...changed,
  };
}

function shown(routes: readonly KernelRoute[], reading: RouteReading): string[] {
  return claimsOfRoutes(routes, reading).map(
    ({ id, cluster, gateways, local }) =>
      `${id} ${cluster} ${local ?? '-'} ${gateways.map(({ address, weight }) => `${formatAddress(address)}*${weight}`).join(' ')}`,
  );
}

test('routes of the protocol become CIDRs of our own, blackholes and unreachable ones too', () => {
  const routes = [
    route('10.1.7.0/24', ['192.0.2.1']),
    route('10.1.8.0/24', [], { type: ROUTE_TYPE.BLACKHOLE }),
    route('10.1.9.0/24', [], { type: ROUTE_TYPE.UNREACHABLE }),
    route('10.1.10.0/24', [], { type: ROUTE_TYPE.PROHIBIT }),
    route('10.1.11.0/24', ['192.0.2.1'], { protocol: 4 }),
  ];
  assert.deepEqual(shown(routes, LOCAL), [
    'kernel:10.1.7.0/24 east routes ',
    'kernel:10.1.8.0/24 east routes ',
    'kernel:10.1.9.0/24 east routes ',
  ]);
});

test('routes to a remote cluster have their next hops as gateways, and blackholes lead nowhere', () => {
  const routes = [
    route('10.2.0.0/16', ['172.31.0.2']),
    route('10.2.1.0/24', [], { type: ROUTE_TYPE.BLACKHOLE }),
    route('10.2.2.0/24', ['172.31.0.2', '172.31.0.3', '172.31.0.2']),
    route('10.2.3.0/24', [], { hops: [{ deviceIndex: 3, gateway: undefined, isViaIpv6: true, weight: 1 }] }),
  ];
  assert.deepEqual(shown(routes, REMOTE), [
    'kernel:10.2.0.0/16 west - 172.31.0.2*1',
    'kernel:10.2.2.0/24 west - 172.31.0.2*2 172.31.0.3*1',
    'kernel:10.2.3.0/24 west - ',
  ]);
});

test('gateways that the configuration names stand in for the next hops', () => {
  const via = [{ address: parseAddress('172.31.0.9'), weight: 3 }];
  assert.deepEqual(shown([route('10.2.0.0/16', ['192.0.2.1'])], { ...REMOTE, via }), [
    'kernel:10.2.0.0/16 west - 172.31.0.9*3',
  ]);
});

test('of several routes for a prefix the one with the lowest metric counts, in whatever order they come', () => {
  const better = route('10.2.0.0/16', ['172.31.0.2'], { metric: 10 });
  const worse = route('10.2.0.0/16', ['172.31.0.3'], { metric: 20 });
  for (const routes of [
    [better, worse],
    [worse, better],
  ])
    assert.deepEqual(shown(routes, REMOTE), ['kernel:10.2.0.0/16 west - 172.31.0.2*1']);
});

test('only routes inside the given CIDRs count where some are given', () => {
  const routes = [route('10.2.0.0/16'), route('10.2.4.0/24'), route('10.3.0.0/24'), route('10.0.0.0/8')];
  const within = [parseCidr('10.2.0.0/16')];
  assert.deepEqual(
    claimsOfRoutes(routes, { ...LOCAL, within }).map(({ id }) => id),
    ['kernel:10.2.0.0/16', 'kernel:10.2.4.0/24'],
  );
});

test('a route of IPv6 is our own, or behind the gateways that are named: its own next hop is none', () => {
  const six = route('fd00:7::/48', [], {
    hops: [{ deviceIndex: 2, gateway: undefined, isViaIpv6: true, weight: 1 }],
  });
  assert.deepEqual(shown([six], LOCAL), ['kernel:fd00:7::/48 east routes ']);
  const remote = { ...LOCAL, cluster: 'west', isLocal: false };
  assert.deepEqual(shown([six], remote), ['kernel:fd00:7::/48 west - ']);
  const via = [{ address: parseAddress('172.31.0.2'), weight: 1 }];
  assert.deepEqual(shown([six], { ...remote, via }), ['kernel:fd00:7::/48 west - 172.31.0.2*1']);
  const within = [parseCidr('10.0.0.0/8'), parseCidr('fd00::/16')];
  assert.deepEqual(shown([six], { ...LOCAL, within }), ['kernel:fd00:7::/48 east routes ']);
  assert.deepEqual(shown([six], { ...LOCAL, within: [parseCidr('10.0.0.0/8')] }), []);
});
