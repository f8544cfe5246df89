import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCidr4 } from '../../../src/base/address.ts';
import {
  type NatWish,
  natTableName,
  nearScript,
  needsNat,
  removalScript,
  tableScript,
} from '../../../src/host/nat-table.ts';

const WISH: NatWish = {
  masquerade: 'auto',
  services: [parseCidr4('10.96.0.0/16')],
  local: ['10.1.0.0/16', '10.96.0.0/16'].map(parseCidr4),
  keepSource: false,
  underlayDevice: 'eth0',
};

const rulesOf = (wish: Partial<NatWish>) =>
  tableScript('isthmus0', { ...WISH, ...wish }, ['cali1', 'cali2'])
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => /counter|jump/.test(line));

const HANDED_OVER =
  'iifname "isthmus0" ct original ip daddr @services ip daddr != @services jump handed-over';

test('the whole table is replaced in one transaction, before the chains of kube-proxy', () => {
  assert.equal(
    tableScript('isthmus0', { ...WISH, keepSource: true }, ['cali1', 'cali2']),
    `table ip isthmus
delete table ip isthmus
table ip isthmus {
  set services { type ipv4_addr; flags interval; auto-merge; elements = { 10.96.0.0/16 }; }
  set local { type ipv4_addr; flags interval; auto-merge; elements = { 10.1.0.0/16, 10.96.0.0/16 }; }
  set near { type ifname; elements = { "cali1", "cali2" }; }
  chain handed-over {
    oifname @near rt ip nexthop @local counter snat to ip saddr
    counter masquerade fully-random
  }
  chain sources {
    type nat hook postrouting priority srcnat - 10; policy accept;
    iifname "isthmus0" ct original ip daddr @services ip daddr != @services jump handed-over
    oifname "isthmus0" ip saddr @local ct status & dnat != dnat counter snat to ip saddr
  }
}
`,
  );
});

test('always masquerades and never keeps, whatever the device', () => {
  assert.deepEqual(rulesOf({ masquerade: 'always' }), ['counter masquerade fully-random', HANDED_OVER]);
  assert.deepEqual(rulesOf({ masquerade: 'never' }), ['counter snat to ip saddr', HANDED_OVER]);
});

test('without services only what leaves by the tunnel is left to decide on, and without either nothing', () => {
  assert.deepEqual(
    rulesOf({ services: [], keepSource: true }).filter((rule) => rule.includes('ifname "')),
    ['oifname "isthmus0" ip saddr @local ct status & dnat != dnat counter snat to ip saddr'],
  );
  assert.equal(needsNat(WISH), true);
  assert.equal(needsNat({ ...WISH, services: [] }), false);
  assert.equal(needsNat({ ...WISH, services: [], keepSource: true }), true);
  assert.equal(needsNat({ ...WISH, services: [], local: [], keepSource: true }), false);
});

test('an empty set has no list of elements, which nft would not read', () => {
  const script = tableScript('isthmus0', { ...WISH, services: [] }, []);
  assert.match(script, /set services \{ type ipv4_addr; flags interval; auto-merge; \}/);
  assert.match(script, /set near \{ type ifname; \}/);
  assert.equal(nearScript('isthmus0', []), 'flush set ip isthmus near\n');
});

test('devices that come later are changed by themselves', () => {
  assert.equal(
    nearScript('isthmus0', ['cali1', 'cali3']),
    'flush set ip isthmus near\nadd element ip isthmus near { "cali1", "cali3" }\n',
  );
});

test('each gateway of a host has a table of its own, with a name that nft can read', () => {
  assert.equal(natTableName('isthmus0'), 'isthmus');
  assert.equal(natTableName('tun-west.5'), 'isthmus-tun-west.5');
  assert.equal(natTableName('a:b{c'), 'isthmus-a_b_c');
  assert.equal(removalScript('west'), 'table ip isthmus-west\ndelete table ip isthmus-west\n');
});
