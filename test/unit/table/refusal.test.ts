import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseAddress, parseCidr } from '../../../src/base/address.ts';
import { Table } from '../../../src/table/table.ts';
import {
  changesOf,
  claim,
  eventsOf,
  options,
  refusalsOf,
  routesOf,
  SETTINGS,
  tableWith,
} from './fixtures.ts';

const CASES: readonly [
  what: string,
  cidr: string,
  gateways: string,
  cluster: string,
  reason: string,
  detail: RegExp,
][] = [
  [
    'a local CIDR itself',
    '10.1.0.0/16',
    '172.31.0.2',
    'west',
    'inside-local',
    /inside 10\.1\.0\.0\/16, which is local/,
  ],
  ['a CIDR inside a local one', '10.96.3.0/24', '172.31.0.2', 'west', 'inside-local', /10\.96\.0\.0\/16/],
  ['a default route', '0.0.0.0/0', '172.31.0.2', 'west', 'default-route', /all traffic/],
  ['half a default route', '128.0.0.0/1', '172.31.0.2', 'west', 'too-short', /shorter than \/8/],
  ['a CIDR one bit shorter than /8', '12.0.0.0/7', '172.31.0.2', 'west', 'too-short', /12\.0\.0\.0\/7/],
  ['loopback', '127.3.0.0/16', '172.31.0.2', 'west', 'martian', /127\.0\.0\.0\/8 \(loopback\)/],
  ['network zero', '0.1.0.0/16', '172.31.0.2', 'west', 'martian', /0\.0\.0\.0\/8/],
  ['multicast', '224.0.0.0/4', '172.31.0.2', 'west', 'martian', /multicast/],
  ['reserved addresses', '250.1.0.0/16', '172.31.0.2', 'west', 'martian', /240\.0\.0\.0\/4 \(reserved\)/],
  ['the metadata service', '169.254.169.254/32', '172.31.0.2', 'west', 'martian', /link-local/],
  ['a CIDR around link-local', '169.0.0.0/8', '172.31.0.2', 'west', 'martian', /169\.254\.0\.0\/16/],
  ['a default route of IPv6', '::/0', '172.31.0.2', 'west', 'default-route', /all traffic/],
  ['all that is routed of IPv6', '2000::/3', '172.31.0.2', 'west', 'too-short', /shorter than \/20/],
  ['a CIDR one bit shorter than /20', '2001:2000::/19', '172.31.0.2', 'west', 'too-short', /\/19/],
  ['loopback of IPv6', '::1/128', '172.31.0.2', 'west', 'martian', /loopback/],
  ['the unspecified address', '::/128', '172.31.0.2', 'west', 'martian', /unspecified/],
  ['mapped IPv4', '::ffff:a02:0/112', '172.31.0.2', 'west', 'martian', /IPv4-mapped/],
  ['a CIDR around loopback', '::/64', '172.31.0.2', 'west', 'martian', /overlaps ::/],
  ['link-local of IPv6', 'fe80:0:0:7::/64', '172.31.0.2', 'west', 'martian', /link-local/],
  ['multicast of IPv6', 'ff02::/16', '172.31.0.2', 'west', 'martian', /multicast/],
  ['a claim of IPv6 without gateways', 'fd00:2::/48', '', 'west', 'no-gateways', /no gateway/],
  ['a claim without gateways', '10.2.0.0/16', '', 'west', 'no-gateways', /no gateway/],
  ['our underlay address as gateway', '10.2.0.0/16', '172.31.0.1', 'west', 'own-gateway', /172\.31\.0\.1/],
  [
    'another of our addresses as gateway',
    '10.2.0.0/16',
    '172.31.0.2 10.1.0.1',
    'west',
    'own-gateway',
    /10\.1\.0\.1/,
  ],
  ['a loopback gateway', '10.2.0.0/16', '127.0.0.1', 'west', 'martian', /gateway 127\.0\.0\.1/],
  [
    'a CIDR that holds its own gateway',
    '172.16.5.0/24',
    '172.16.5.9',
    'west',
    'gateway-inside',
    /172\.16\.5\.9/,
  ],
  [
    'a CIDR that holds our underlay address',
    '172.31.0.0/30',
    '192.0.2.9',
    'west',
    'gateway-inside',
    /our own underlay address/,
  ],
  ['our own cluster', '10.2.0.0/16', '172.31.0.2', 'east', 'own-cluster', /east is our own/],
];

describe('refusals', () => {
  for (const [what, cidr, gateways, cluster, reason, detail] of CASES) {
    it(`refuses ${what} as ${reason}`, () => {
      const table = tableWith();
      table.apply(
        'a',
        { kind: 'replace', claims: [claim(cluster, cidr, gateways, 'x'), claim('west', '10.9.0.0/16')] },
        0,
        0,
      );
      const [refusal, ...others] = table.refused();
      assert.equal(refusal?.reason, reason);
      assert.match(refusal?.detail ?? '', detail);
      assert.deepEqual(others, []);
      assert.deepEqual(routesOf(table), ['10.9.0.0/16 west'], 'the good claim beside it stands');
      assert.equal(table.sources()[0]?.refused, 1);
      assert.deepEqual(eventsOf(table), ['refusals-changed']);
    });
  }

  it('accepts what lies just inside the bounds', () => {
    const table = tableWith();
    const claims = [
      claim('west', '11.0.0.0/8'),
      claim('west', '10.0.0.0/8'),
      claim('west', '169.253.0.0/16'),
      claim('west', '223.255.255.0/24'),
      claim('west', '10.2.0.0/16', '169.254.7.1'),
    ];
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    assert.deepEqual(refusalsOf(table), []);
    assert.equal(routesOf(table).length, 5);
  });

  it('refuses the newcomer whose CIDR swallows a gateway in use, and takes it when that gateway is gone', () => {
    const table = tableWith();
    table.apply('a', { kind: 'replace', claims: [claim('west', '10.2.0.0/16', '192.168.7.2')] }, 0, 0);
    table.apply('b', { kind: 'replace', claims: [claim('north', '192.168.0.0/16', '172.31.0.3')] }, 0, 0);
    assert.deepEqual(refusalsOf(table), ['north:192.168.0.0/16 gateway-inside']);
    assert.match(table.refused()[0]?.detail ?? '', /192\.168\.7\.2/);
    table.apply('a', { kind: 'replace', claims: [claim('west', '10.2.0.0/16', '172.31.0.9')] }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.2.0.0/16 west', '192.168.0.0/16 north']);
    assert.deepEqual(refusalsOf(table), []);
  });

  it('refuses the newcomer whose gateway lies in a CIDR in use, and never the route that is in use', () => {
    const table = tableWith();
    table.apply('a', { kind: 'replace', claims: [claim('west', '10.2.0.0/16')] }, 0, 0);
    table.apply('b', { kind: 'replace', claims: [claim('north', '10.3.0.0/16', '10.2.0.5')] }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.2.0.0/16 west']);
    assert.match(table.refused()[0]?.detail ?? '', /10\.2\.0\.5 lies in 10\.2\.0\.0\/16 of west/);
    table.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.3.0.0/16 north'], 'with the CIDR gone its gateway is reachable');
  });

  it('judges claims that are long in force when a wide CIDR with an older place comes free of them', () => {
    const table = tableWith({ a: {}, b: {}, c: {} });
    table.apply('a', { kind: 'replace', claims: [claim('west', '20.0.0.0/8', '172.31.0.2')] }, 0, 0);
    table.apply('b', { kind: 'replace', claims: [claim('north', '10.3.0.0/16', '20.1.1.1')] }, 0, 0);
    table.apply('c', { kind: 'replace', claims: [claim('south', '20.0.0.0/8', '172.31.0.4')] }, 0, 0);
    assert.deepEqual(routesOf(table), ['20.0.0.0/8 west']);
    table.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.3.0.0/16 north'], 'north was there before south');
    assert.deepEqual(refusalsOf(table), ['south:20.0.0.0/8 gateway-inside']);
  });

  it('judges all claims again when our own addresses and CIDRs change', () => {
    const table = tableWith();
    const claims = [claim('west', '10.2.0.0/16'), claim('west', '10.3.0.0/16', '172.31.0.7')];
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    table.takeChanges();
    const moved = { ...SETTINGS, local: [parseCidr('10.2.0.0/15')] };
    table.reconfigure(moved, 0, 0);
    assert.deepEqual(refusalsOf(table).sort(), [
      'west:10.2.0.0/16 inside-local',
      'west:10.3.0.0/16 inside-local',
    ]);
    table.reconfigure({ ...SETTINGS, ownAddresses: [parseAddress('172.31.0.7')] }, 0, 0);
    assert.deepEqual(refusalsOf(table), ['west:10.3.0.0/16 own-gateway']);
    table.reconfigure(SETTINGS, 0, 0);
    assert.deepEqual(refusalsOf(table), []);
    assert.deepEqual(changesOf(table), { set: [], removed: [] }, 'it all ended where it began');
  });

  it('tells of refusals once a source and update, and when the last one is over', () => {
    const table = tableWith();
    const bad = ['10.1.1.0/24', '10.1.2.0/24', '10.1.3.0/24'].map((cidr) => claim('west', cidr));
    table.apply('a', { kind: 'replace', claims: bad }, 0, 0);
    const [event, ...more] = table.events();
    assert.deepEqual(more, []);
    assert.equal(event?.level, 'warn');
    assert.deepEqual([event?.fields.refused, event?.fields.added], [3, 3]);
    table.apply('a', { kind: 'replace', claims: bad }, 0, 0);
    assert.deepEqual(table.events(), [], 'nothing new, nothing said');
    table.apply('a', { kind: 'replace', claims: bad.slice(1) }, 0, 0);
    assert.match(table.events()[0]?.message ?? '', /2 claims of a are still refused/);
    table.apply('a', { kind: 'replace', claims: [] }, 0, 0);
    assert.match(table.events()[0]?.message ?? '', /no claim of a is refused/);
  });
});

describe('what is protected', () => {
  const guarded = { cidr: parseCidr('192.0.2.7/32'), what: 'a server that this gateway reads or writes' };
  const block = { cidr: parseCidr('10.250.0.0/24'), what: 'in security.protect' };
  const settings = { ...SETTINGS, protected: [guarded, block] };

  it('is claimed neither itself nor in part nor with what is around it; what is beside it is', () => {
    const table = new Table(settings);
    table.addSource('a', options());
    const claims = [
      '192.0.2.7/32',
      '192.0.2.0/24',
      '192.0.2.8/29',
      '10.250.0.128/25',
      '10.248.0.0/13',
      '10.250.1.0/24',
    ];
    table.apply('a', { kind: 'replace', claims: claims.map((cidr) => claim('west', cidr)) }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.250.1.0/24 west', '192.0.2.8/29 west']);
    assert.deepEqual(
      table.refused().map(({ reason }) => reason),
      ['protected', 'protected', 'protected', 'protected'],
    );
    assert.match(table.refused()[0]!.detail, /192\.0\.2\.7\/32, which is a server that this gateway reads/);
  });

  it('ends a route that stood before, and gives it back when it is not protected any more', () => {
    const table = new Table(SETTINGS);
    table.addSource('a', options());
    table.apply('a', { kind: 'replace', claims: [claim('west', '192.0.2.0/24')] }, 0, 0);
    assert.deepEqual(routesOf(table), ['192.0.2.0/24 west']);
    table.reconfigure(settings, 1, 1);
    assert.deepEqual(routesOf(table), []);
    table.reconfigure(SETTINGS, 2, 2);
    assert.deepEqual(routesOf(table), ['192.0.2.0/24 west']);
  });
});

describe('limits', () => {
  it('takes as many claims of a source as its limit and turns the next one away, visibly', () => {
    const table = new Table(SETTINGS, { claimsPerSource: 2 });
    table.addSource('a', options());
    const [x, y, z] = ['10.2.0.0/16', '10.3.0.0/16', '10.4.0.0/16'].map((cidr) => claim('west', cidr));
    assert.ok(x && y && z);
    table.apply('a', { kind: 'replace', claims: [x, y] }, 0, 0);
    assert.deepEqual(refusalsOf(table), []);
    table.apply('a', { kind: 'upsert', claims: [z] }, 0, 0);
    assert.deepEqual(refusalsOf(table), ['west:10.4.0.0/16 limit']);
    assert.deepEqual(eventsOf(table), ['claims-over-limit']);
    assert.deepEqual([table.counts().refused, table.sources()[0]?.refused], [1, 1]);
    table.apply('a', { kind: 'replace', claims: [y, z] }, 0, 0);
    assert.deepEqual(
      routesOf(table),
      ['10.3.0.0/16 west', '10.4.0.0/16 west'],
      'those that go make room in the same update',
    );
    assert.deepEqual(refusalsOf(table), []);
  });

  it('lets a route wait for room in the table', () => {
    const table = new Table(SETTINGS, { routes: 2 });
    table.addSource('a', options());
    const claims = ['10.2.0.0/16', '10.3.0.0/16', '10.4.0.0/16'].map((cidr) => claim('west', cidr));
    table.apply('a', { kind: 'replace', claims: claims.slice(0, 2) }, 0, 0);
    assert.deepEqual(refusalsOf(table), []);
    table.apply('a', { kind: 'replace', claims }, 0, 0);
    assert.deepEqual(refusalsOf(table), ['west:10.4.0.0/16 limit']);
    table.apply('a', { kind: 'remove', ids: ['west:10.2.0.0/16'] }, 0, 0);
    assert.deepEqual(routesOf(table), ['10.3.0.0/16 west', '10.4.0.0/16 west']);
    assert.deepEqual(refusalsOf(table), []);
  });

  it('lets a cluster wait for room among the clusters, and passes room on within one update', () => {
    const table = new Table(SETTINGS, { clusters: 1 });
    table.addSource('a', options());
    table.apply(
      'a',
      { kind: 'replace', claims: [claim('west', '10.2.0.0/16'), claim('north', '10.3.0.0/16')] },
      0,
      0,
    );
    assert.deepEqual(routesOf(table), ['10.2.0.0/16 west']);
    assert.deepEqual(refusalsOf(table), ['north:10.3.0.0/16 limit']);
    table.apply(
      'a',
      { kind: 'replace', claims: [claim('north', '10.2.0.0/16'), claim('north', '10.3.0.0/16')] },
      0,
      0,
    );
    assert.deepEqual(routesOf(table), ['10.2.0.0/16 north', '10.3.0.0/16 north']);
  });

  it('takes the gateways of a route up to the limit, and refuses the claim that leads beyond it', () => {
    const table = new Table(SETTINGS, { gatewaysPerRoute: 2 });
    for (const name of ['a', 'b', 'c']) table.addSource(name, options());
    table.apply('a', { kind: 'replace', claims: [claim('west', '10.2.0.0/16', '172.31.0.2', 'x')] }, 0, 0);
    table.apply(
      'b',
      { kind: 'replace', claims: [claim('west', '10.2.0.0/16', '172.31.0.2 172.31.0.3', 'y')] },
      0,
      0,
    );
    assert.deepEqual(refusalsOf(table), []);
    table.apply('c', { kind: 'replace', claims: [claim('west', '10.2.0.0/16', '172.31.0.4', 'z')] }, 0, 0);
    assert.deepEqual(refusalsOf(table), ['z limit']);
    assert.deepEqual(table.route(parseCidr('10.2.0.0/16'))?.origins, ['a/x', 'b/y']);
    table.apply(
      'c',
      { kind: 'replace', claims: [claim('south', '10.5.0.0/16', '172.31.0.4 172.31.0.5 172.31.0.6', 'z')] },
      0,
      0,
    );
    assert.match(table.refused()[0]?.detail ?? '', /3 gateways; a route has at most 2/);
  });
});
