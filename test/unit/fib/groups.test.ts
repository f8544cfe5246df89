import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Prng } from '../../../src/base/prng.ts';
import type { FibEntry } from '../../../src/fib/entry.ts';
import type { Fib } from '../../../src/fib/fib.ts';
import { BUCKETS, PEER } from '../../../src/fib/layout.ts';
import { lookup, peerWord, pickPeer } from '../../../src/fib/lookup.ts';
import { SETTINGS } from '../dataplane/rig.ts';
import { address, cidr, entry, SEED, smallFib } from './linear-scan.ts';

const FLOWS = 10_000;
const prng = new Prng(SEED);
const hashes = Uint32Array.from({ length: FLOWS }, () => prng.u32());
const five = ['172.31.0.1', '172.31.0.2', '172.31.0.3', '172.31.0.4', '172.31.0.5'];

/** The gateway of each flow to `inside`, by the last byte of its address; -1 = none. */
function assign(fib: Fib, inside = '10.2.0.1'): number[] {
  const group = lookup(fib.words, address(inside));
  return Array.from(hashes, (hash) => {
    const peer = pickPeer(fib.words, group, hash);
    return peer < 0 ? -1 : peerWord(fib.words, peer, PEER.ADDRESS) & 255;
  });
}

function fibWith(...entries: FibEntry[]): Fib {
  const fib = smallFib();
  fib.apply(entries, []);
  return fib;
}

function countOf(flows: readonly number[], gateway: number): number {
  return flows.filter((flow) => flow === gateway).length;
}

describe('ten thousand flows over a group', () => {
  test('are shared evenly among five equal gateways', () => {
    const flows = assign(fibWith(entry('10.2.0.0/16', 'west', ...five)));
    for (let gateway = 1; gateway <= 5; gateway++) {
      const share = countOf(flows, gateway) / FLOWS;
      assert.ok(Math.abs(share - 0.2) < 0.04, `gateway ${gateway} has ${share}`);
    }
  });

  test('follow the weights', () => {
    const fib = fibWith(entry('10.2.0.0/16', 'west', '172.31.0.1*1', '172.31.0.2*2', '172.31.0.3*5'));
    const flows = assign(fib);
    const told = fib.share(cidr('10.2.0.0/16'));
    for (const [gateway, expected] of [
      [1, 1 / 8],
      [2, 2 / 8],
      [3, 5 / 8],
    ] as const) {
      const share = countOf(flows, gateway) / FLOWS;
      assert.ok(Math.abs(share - expected) < 0.04, `gateway ${gateway} has ${share}, not ${expected}`);
      const row = told.find((each) => (Number(each.address) & 255) === gateway);
      assert.ok(row !== undefined && Math.abs(row.share - share) < 0.02, 'share() tells what flows see');
    }
  });

  test('leave a gateway that dies, no other, and come back exactly when it does', () => {
    const fib = fibWith(entry('10.2.0.0/16', 'west', ...five));
    const before = assign(fib);
    for (let dead = 1; dead <= 5; dead++) {
      fib.setPeer(address(`172.31.0.${dead}`), { alive: false });
      const during = assign(fib);
      for (let i = 0; i < FLOWS; i++) {
        if (before[i] === dead) assert.notEqual(during[i], dead);
        else assert.equal(during[i], before[i]);
      }
      fib.setPeer(address(`172.31.0.${dead}`), { alive: true });
      assert.deepEqual(assign(fib), before);
    }
  });

  test('do the same when the gateway is taken out of the entry instead', () => {
    const fib = fibWith(entry('10.2.0.0/16', 'west', ...five));
    const before = assign(fib);
    fib.apply([entry('10.2.0.0/16', 'west', ...five.slice(0, 4))], []);
    const without = assign(fib);
    for (let i = 0; i < FLOWS; i++) if (before[i] !== 5) assert.equal(without[i], before[i]);
    fib.apply([entry('10.2.0.0/16', 'west', ...five)], []);
    assert.deepEqual(assign(fib), before);
  });

  test('move only towards a gateway whose weight rises', () => {
    const fib = fibWith(entry('10.2.0.0/16', 'west', ...five));
    const before = assign(fib);
    fib.apply([entry('10.2.0.0/16', 'west', ...five.slice(1), '172.31.0.1*2')], []);
    const after = assign(fib);
    let moved = 0;
    for (let i = 0; i < FLOWS; i++) {
      if (after[i] === before[i]) continue;
      assert.equal(after[i], 1);
      moved += 1;
    }
    const least = 2 / 6 - 1 / 5;
    assert.ok(Math.abs(moved / FLOWS - least) < 0.04, `${moved} flows moved`);
  });

  test('go nowhere while no gateway is alive, and end where they began whatever the order of return', () => {
    const fib = fibWith(entry('10.2.0.0/16', 'west', ...five));
    const before = assign(fib);
    for (const gateway of five) fib.setPeer(address(gateway), { alive: false });
    assert.ok(assign(fib).every((gateway) => gateway === -1));
    assert.ok(fib.share(cidr('10.2.0.0/16')).every(({ share, alive }) => share === 0 && !alive));
    for (const gateway of ['172.31.0.3', '172.31.0.1', '172.31.0.5', '172.31.0.2', '172.31.0.4']) {
      fib.setPeer(address(gateway), { alive: true });
      assert.ok(assign(fib).every((each) => each !== -1));
    }
    assert.deepEqual(assign(fib), before);
  });

  test('with fail-open go where they went before while all are dead, and only to the living otherwise', () => {
    const fib = fibWith(entry('10.2.0.0/16', 'west', ...five), entry('10.3.0.0/16', 'north', '172.31.0.1'));
    const before = assign(fib);
    const setFailOpen = (failOpen: boolean) => fib.configure({ ...SETTINGS, failOpen });
    setFailOpen(true);
    for (const gateway of five) fib.setPeer(address(gateway), { alive: false });
    assert.deepEqual(assign(fib), before);
    assert.equal(countOf(assign(fib, '10.3.0.1'), 1), FLOWS);
    fib.setPeer(address('172.31.0.3'), { alive: true });
    assert.equal(countOf(assign(fib), 3), FLOWS);
    assert.equal(countOf(assign(fib, '10.3.0.1'), 1), FLOWS);
    fib.setPeer(address('172.31.0.3'), { alive: false });
    assert.deepEqual(assign(fib), before);
    setFailOpen(false);
    assert.equal(countOf(assign(fib), -1), FLOWS);
    assert.equal(countOf(assign(fib, '10.3.0.1'), -1), FLOWS);
    setFailOpen(true);
    assert.deepEqual(assign(fib), before);
    for (const gateway of five) fib.setPeer(address(gateway), { alive: true });
    assert.deepEqual(assign(fib), before);
  });

  test('need a gateway that no other one stands in for', () => {
    const fib = fibWith(
      entry('10.2.0.0/16', 'west', '172.31.0.1', '172.31.0.2', '172.31.0.3*0'),
      entry('10.3.0.0/16', 'north', '172.31.0.4'),
    );
    const needed = () => [1, 2, 3, 4, 5].filter((last) => fib.isNeeded(address(`172.31.0.${last}`)));
    assert.deepEqual(needed(), [4]);
    fib.setPeer(address('172.31.0.1'), { alive: false });
    assert.deepEqual(needed(), [2, 4]);
    fib.setPeer(address('172.31.0.2'), { alive: false });
    assert.deepEqual(needed(), [1, 2, 4]);
  });

  test('avoid a gateway that was dead before the group was made', () => {
    const fib = fibWith(entry('10.3.0.0/16', 'north', '172.31.0.1'));
    fib.setPeer(address('172.31.0.1'), { alive: false });
    fib.apply([entry('10.2.0.0/16', 'west', ...five)], []);
    assert.equal(countOf(assign(fib), 1), 0);
    assert.ok(
      assign(fib, '10.3.0.1').every((each) => each === -1),
      'a single dead gateway is none',
    );
    fib.setPeer(address('172.31.0.1'), { alive: true });
    assert.deepEqual(assign(fib), assign(fibWith(entry('10.2.0.0/16', 'west', ...five))));
  });
});

describe('groups', () => {
  test('are one for equal gateways of a cluster, in whatever order they are given', () => {
    const fib = fibWith(
      entry('10.2.0.0/24', 'west', '172.31.0.1', '172.31.0.2*3'),
      entry('10.2.1.0/24', 'west', '172.31.0.2*3', '172.31.0.1'),
      entry('10.2.2.0/24', 'west', '172.31.0.2*3', '172.31.0.1*2'),
      entry('10.2.3.0/24', 'north', '172.31.0.2*3', '172.31.0.1'),
    );
    const group = (inside: string) => lookup(fib.words, address(inside));
    assert.equal(group('10.2.0.1'), group('10.2.1.1'));
    assert.equal(new Set(['10.2.0.1', '10.2.2.1', '10.2.3.1'].map(group)).size, 3);
    assert.equal(fib.stats().groups, 3);
    fib.apply([], [cidr('10.2.0.0/24')]);
    assert.equal(fib.stats().groups, 3, 'another prefix still needs it');
    fib.apply([], [cidr('10.2.1.0/24')]);
    assert.equal(fib.stats().groups, 2);
  });

  test('keep apart what uses one array of gateways in two clusters, and survive the end of the group they were first in', () => {
    const shared = entry('10.2.0.0/24', 'west', '172.31.0.1').gateways;
    const fib = fibWith({ cidr: cidr('10.2.0.0/24'), cluster: 'west', gateways: shared });
    fib.apply([{ cidr: cidr('10.3.0.0/24'), cluster: 'north', gateways: shared }], [cidr('10.2.0.0/24')]);
    fib.apply([], [cidr('10.3.0.0/24')]);
    fib.apply([entry('10.4.0.0/24', 'south', '172.31.0.4')], []);
    fib.apply([{ cidr: cidr('10.3.0.0/24'), cluster: 'north', gateways: shared }], []);
    assert.deepEqual(assign(fib, '10.3.0.1').slice(0, 1), [1]);
    assert.equal(fib.stats().groups, 2);
  });

  test('refuse a gateway twice, a weight out of range and no gateway at all as broken invariants', () => {
    const bad: [FibEntry, RegExp][] = [
      [
        entry('10.2.0.0/24', 'west', '172.31.0.1', '172.31.0.1*2'),
        /172\.31\.0\.1 of cluster "west" is given once/,
      ],
      [entry('10.2.0.0/24', 'west', '172.31.0.1*-1'), /weight of gateway 172\.31\.0\.1/],
      [entry('10.2.0.0/24', 'west', '172.31.0.1*1001'), /weight of gateway 172\.31\.0\.1/],
      [entry('10.2.0.0/24', 'west', '172.31.0.1*1.5'), /weight of gateway 172\.31\.0\.1/],
      [entry('10.2.0.0/24', 'west'), /has a gateway/],
    ];
    for (const [wrong, message] of bad) assert.throws(() => smallFib().apply([wrong], []), message);
  });

  test('send nothing to a gateway of weight 0, which stays a peer of the cluster', () => {
    const fib = fibWith(entry('10.2.0.0/16', 'west', '172.31.0.1*0', '172.31.0.2', '172.31.0.3*0'));
    assert.equal(countOf(assign(fib), 2), FLOWS);
    assert.deepEqual(
      fib.share(cidr('10.2.0.0/16')).map(({ share }) => share),
      [0, 1, 0],
    );
    assert.deepEqual(
      fib.peers().map(({ clusters }) => clusters),
      [['west'], ['west'], ['west']],
    );
    assert.equal([...fib.blocks()].length, 0, 'one gateway that gets everything needs no buckets');
    fib.setPeer(address('172.31.0.2'), { alive: false });
    assert.equal(countOf(assign(fib), -1), FLOWS, 'also when nobody else is left');
    fib.setPeer(address('172.31.0.2'), { alive: true });
    assert.equal(countOf(assign(fib), 2), FLOWS);
  });

  test('share among several without the one of weight 0, whoever dies and comes back', () => {
    const fib = fibWith(entry('10.2.0.0/16', 'west', '172.31.0.1', '172.31.0.2', '172.31.0.3*0'));
    const without = assign(fibWith(entry('10.2.0.0/16', 'west', '172.31.0.1', '172.31.0.2')));
    assert.deepEqual(assign(fib), without);
    for (const gateway of ['172.31.0.1', '172.31.0.2', '172.31.0.3'])
      fib.setPeer(address(gateway), { alive: false });
    fib.setPeer(address('172.31.0.3'), { alive: true });
    assert.equal(countOf(assign(fib), -1), FLOWS);
    for (const gateway of ['172.31.0.2', '172.31.0.1']) fib.setPeer(address(gateway), { alive: true });
    assert.deepEqual(assign(fib), without);
  });

  test('reach nobody where all weights are 0', () => {
    for (const gateways of [['172.31.0.1*0'], ['172.31.0.1*0', '172.31.0.2*0']]) {
      const fib = fibWith(entry('10.2.0.0/16', 'west', ...gateways));
      assert.equal(countOf(assign(fib), -1), FLOWS);
      assert.ok(fib.share(cidr('10.2.0.0/16')).every(({ share }) => share === 0));
      assert.equal(fib.hasPeer(address('172.31.0.1')), true);
    }
  });

  test('give each bucket to somebody: a weight of 1,000 to 1 starves nobody else of the rest', () => {
    const fib = fibWith(entry('10.2.0.0/16', 'west', '172.31.0.1*1000', '172.31.0.2*1'));
    const rows = fib.share(cidr('10.2.0.0/16'));
    assert.equal(rows.reduce((sum, row) => sum + row.share, 0) * BUCKETS, BUCKETS);
    assert.ok(rows[0]!.share > 0.99);
  });
});
