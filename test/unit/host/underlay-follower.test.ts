import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAddress, parseAddress, parseCidr4 } from '../../../src/base/address.ts';
import { DOUBT_DELAY_MS, DOUBTS_MAX, Doubts } from '../../../src/host/doubts.ts';
import type { Doubt } from '../../../src/host/segment.ts';
import { findUnderlay, type UnderlayWish } from '../../../src/host/underlay.ts';
import { ADDRESS_GRACE_MS, describeChange, UnderlayFollower } from '../../../src/host/underlay-follower.ts';
import { OWN_ADDRESSES_MAX } from '../../../src/io/worker-share.ts';
import { FakeKernel, link, NIC, TUN, UNDERLAY } from './fake-kernel.ts';
import { StepClock } from './step-clock.ts';

const GATEWAY = parseAddress('172.31.9.9');
const AUTO: UnderlayWish = {
  ...{ address: 'auto', family: 'ipv4', device: 'auto', towards: [GATEWAY], tunnelDevice: 'isthmus0' },
};

/** The host gets this address, and prefers it. */
function renumber(kernel: FakeKernel, text: string, deviceIndex = NIC): void {
  const address = parseAddress(text);
  kernel.addresses.push({ deviceIndex, address, prefixLength: 24 });
  kernel.defaultWay = { ...kernel.defaultWay!, source: address, deviceIndex };
}

function setup(wish: Partial<UnderlayWish> = {}, graceMs = ADDRESS_GRACE_MS) {
  const kernel = new FakeKernel();
  const clock = new StepClock();
  let told = 0;
  const follower = new UnderlayFollower({
    netlink: kernel.netlink,
    clock,
    wish: () => ({ ...AUTO, ...wish }),
    graceMs,
    onAccepted: () => {
      told += 1;
    },
  });
  return { kernel, clock, follower, told: () => told };
}

const accepted = (follower: UnderlayFollower) => follower.accepted.map(formatAddress);

test('nothing changed is no change', () => {
  const { follower } = setup();
  assert.equal(follower.check(), undefined);
  assert.deepEqual([follower.current, follower.problem], [UNDERLAY, undefined]);
});

test('another preferred source is taken at once, and the former address is ours for the grace period', () => {
  const { kernel, clock, follower, told } = setup();
  renumber(kernel, '172.31.0.77');
  const change = follower.check();
  assert.match(describeChange(change!), /172\.31\.0\.77 on eth0, MTU 1500 \(was 172\.31\.0\.2 on eth0/);
  assert.deepEqual(accepted(follower), ['172.31.0.77', '172.31.0.2']);
  clock.advance(ADDRESS_GRACE_MS - 1);
  assert.deepEqual([accepted(follower).length, told()], [2, 0]);
  clock.advance(1);
  assert.deepEqual([accepted(follower), told()], [['172.31.0.77'], 1]);
});

test('back to the former address: the one in between has its own grace', () => {
  const { kernel, clock, follower } = setup();
  renumber(kernel, '172.31.0.77');
  follower.check();
  kernel.defaultWay = { ...kernel.defaultWay!, source: UNDERLAY.address };
  follower.check();
  assert.deepEqual(accepted(follower), ['172.31.0.2', '172.31.0.77']);
  clock.advance(ADDRESS_GRACE_MS);
  assert.deepEqual(accepted(follower), ['172.31.0.2']);
});

test('an address that changes all the time keeps no more former ones than the filter holds', () => {
  const { kernel, follower } = setup();
  for (let host = 10; host < 10 + 2 * OWN_ADDRESSES_MAX; host++) {
    renumber(kernel, `172.31.0.${host}`);
    follower.check();
  }
  assert.equal(follower.accepted.length, OWN_ADDRESSES_MAX);
  assert.equal(accepted(follower)[0], '172.31.0.25');
  assert.equal(accepted(follower).at(-1), '172.31.0.24');
});

test('without a grace period the former address is given up at once', () => {
  const { kernel, follower } = setup({}, 0);
  renumber(kernel, '172.31.0.77');
  follower.check();
  assert.deepEqual(accepted(follower), ['172.31.0.77']);
});

test('a host that does not tell leaves what was found last in force, and says why', () => {
  const { kernel, follower } = setup();
  const { defaultWay } = kernel;
  kernel.defaultWay = undefined;
  assert.equal(follower.check(), undefined);
  assert.deepEqual(follower.current, UNDERLAY);
  assert.match(follower.problem ?? '', /no route to gateway 172\.31\.9\.9/);
  kernel.defaultWay = defaultWay;
  follower.check();
  assert.equal(follower.problem, undefined);
});

test('another device and another MTU are changes too, also with a configured address', () => {
  const { kernel, follower } = setup({ address: UNDERLAY.address });
  kernel.links.splice(0, 1, link(NIC, 'eth0', { mtuBytes: 1400 }), link(5, 'bond0'));
  assert.equal(follower.check()?.to.mtuBytes, 1400);
  kernel.addresses = [{ deviceIndex: 5, address: UNDERLAY.address, prefixLength: 24 }];
  assert.equal(follower.check()?.to.deviceName, 'bond0');
  assert.deepEqual(accepted(follower), ['172.31.0.2']);
});

test('a configured address is never exchanged for another one', () => {
  const { kernel, follower } = setup({ address: UNDERLAY.address });
  renumber(kernel, '172.31.0.77');
  assert.equal(follower.check(), undefined);
  kernel.addresses.shift();
  assert.equal(follower.check(), undefined);
  assert.match(follower.problem ?? '', /172\.31\.0\.2 is on none/);
});

test('the way to a gateway through our own tunnel, or to ourselves, shows nothing: the next one is asked', () => {
  const { kernel } = setup();
  const [ours, here, there] = [1, 2, 3];
  kernel.ways.set(ours, { source: 9, deviceIndex: TUN, gateway: undefined, isLocal: false });
  kernel.ways.set(here, { source: 8, deviceIndex: NIC, gateway: undefined, isLocal: true });
  const found = findUnderlay(kernel.netlink, { ...AUTO, towards: [ours, here, there] });
  assert.deepEqual(found, UNDERLAY);
});

test('only routes to what auto is found by are of concern', () => {
  const { follower } = setup();
  const concerns = (text: string) => follower.concerns([parseCidr4(text)]);
  assert.deepEqual(['10.2.3.4/32', '172.31.9.0/24', '0.0.0.0/0', '172.31.9.8/32'].map(concerns), [
    false,
    true,
    true,
    false,
  ]);
  assert.equal(setup({ address: UNDERLAY.address }).follower.concerns([parseCidr4('0.0.0.0/0')]), false);
  assert.equal(setup({ address: UNDERLAY.address }).follower.concerns('everything'), true);
});

test('doubts of a moment are one look, and a look that took long is followed by a rest', () => {
  const clock = new StepClock();
  const looks: Doubt[] = [];
  const doubts = new Doubts(clock, (doubt) => {
    looks.push(doubt);
    clock.advance(50);
  });
  const [one, other] = [parseCidr4('10.1.0.0/16'), parseCidr4('10.2.0.0/16')];
  doubts.add([one]);
  doubts.add([other]);
  clock.advance(DOUBT_DELAY_MS);
  assert.deepEqual(looks, [[one, other]]);
  doubts.add([one]);
  doubts.add('everything');
  doubts.add([other]);
  clock.advance(499);
  assert.equal(looks.length, 1);
  clock.advance(1);
  assert.deepEqual(looks[1], 'everything');
  doubts.add([one]);
  doubts.stop();
  clock.advance(10_000);
  assert.equal(looks.length, 2);
});

test('more prefixes than are worth comparing are taken for all there are', () => {
  const clock = new StepClock();
  const looks: Doubt[] = [];
  const doubts = new Doubts(clock, (doubt) => looks.push(doubt));
  for (let host = 0; host < DOUBTS_MAX + 9; host++) doubts.add([{ address: host, prefixLength: 32 }]);
  clock.advance(DOUBT_DELAY_MS);
  assert.deepEqual(looks, [[{ address: 0, prefixLength: 0 }]]);
});
