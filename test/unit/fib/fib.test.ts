import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { FibEntry } from '../../../src/fib/entry.ts';
import type { Fib } from '../../../src/fib/fib.ts';
import { EPOCH_MASK, LOCAL_GROUP, PEER, QUIESCENT, READERS_MAX } from '../../../src/fib/layout.ts';
import { enterEpoch, findPeer, leaveEpoch, lookup, peerWord, pickPeer } from '../../../src/fib/lookup.ts';
import { checkBlocks, reachableBlocks } from './image-walk.ts';
import { address, cidr, describeFound, entry, smallFib } from './linear-scan.ts';

/** The underlay address that a flow to `inside` would go to; 'local', 'none' or 'dead' where there is none. */
function wayTo(fib: Fib, inside: string): string {
  const group = lookup(fib.words, address(inside));
  if (group <= LOCAL_GROUP) return group === LOCAL_GROUP ? 'local' : 'none';
  const peer = pickPeer(fib.words, group, 0);
  return peer < 0 ? 'dead' : `.${peerWord(fib.words, peer, PEER.ADDRESS) & 255}`;
}

/** One prefix of each level, each with a gateway of its own. */
const levels = [
  entry('10.0.0.0/8', 'west', '172.31.0.8'),
  entry('10.2.0.0/16', 'west', '172.31.0.16'),
  entry('10.2.0.0/17', 'west', '172.31.0.17'),
  entry('10.2.3.0/24', 'west', '172.31.0.24'),
  entry('10.2.3.0/25', 'west', '172.31.0.25'),
  entry('10.2.3.4/32', 'west', '172.31.0.32'),
];
const inside = ['10.9.0.1', '10.2.200.1', '10.2.9.1', '10.2.3.200', '10.2.3.9', '10.2.3.4'];

describe('patches', () => {
  test('uncover the next shorter prefix as each level goes, in any order', () => {
    const ways = ['.8', '.16', '.17', '.24', '.25', '.32'];
    for (let gone = 0; gone < levels.length; gone++) {
      const fib = smallFib();
      fib.apply(levels, []);
      assert.deepEqual(
        inside.map((at) => wayTo(fib, at)),
        ways,
      );
      fib.apply([], [levels[gone]!.cidr]);
      const expected = ways.map((way, level) => (level === gone ? (ways[gone - 1] ?? 'none') : way));
      assert.deepEqual(
        inside.map((at) => wayTo(fib, at)),
        expected,
        `without level ${gone}`,
      );
      checkBlocks(fib);
      fib.apply([levels[gone]!], []);
      assert.deepEqual(
        inside.map((at) => wayTo(fib, at)),
        ways,
      );
    }
  });

  test('collapse a node when its last prefix goes', () => {
    const fib = smallFib();
    fib.apply(levels.slice(4), []);
    assert.equal([...fib.blocks()].length, 2, 'a node for the /16 and one for the /24');
    fib.apply([], [levels[4]!.cidr]);
    assert.equal([...fib.blocks()].filter((block) => block.state === 'used').length, 2);
    fib.apply([], [levels[5]!.cidr]);
    assert.deepEqual([...fib.blocks()], []);
  });

  test('set what stands in both lists, and the last of two entries for one CIDR', () => {
    const fib = smallFib();
    fib.apply([entry('10.2.0.0/24', 'west', '172.31.0.1')], []);
    const twice = [entry('10.2.0.0/24', 'west', '172.31.0.2'), entry('10.2.0.0/24', 'west', '172.31.0.3')];
    fib.apply(twice, [cidr('10.2.0.0/24'), cidr('10.2.0.0/24')]);
    assert.equal(wayTo(fib, '10.2.0.1'), '.3');
    assert.equal(fib.stats().prefixes, 1);
    assert.equal(fib.stats().groups, 1);
    assert.deepEqual(
      fib.peers().map((peer) => peer.address),
      [address('172.31.0.3')],
    );
  });

  test('ignore a removal of what is not there', () => {
    const fib = smallFib();
    fib.apply(levels, [cidr('10.2.3.5/32'), cidr('11.0.0.0/8'), cidr('12.1.0.0/20')]);
    assert.equal(fib.stats().prefixes, levels.length);
  });

  test('stop the process when host bits are set, because whoever sent that is broken', () => {
    const bad: FibEntry = { ...levels[0]!, cidr: { address: address('10.0.0.1'), prefixLength: 8 } };
    assert.throws(() => smallFib().apply([bad], []), /host bits of 10\.0\.0\.1\/8/);
  });
});

describe('a new snapshot', () => {
  test('touches no block when it says what was there', () => {
    const fib = smallFib();
    const more = [...levels, entry('10.7.1.0/24', 'north', '172.31.0.8', '172.31.0.9*3')];
    fib.replace(more);
    const before = [...reachableBlocks(fib.words).keys()];
    const stats = fib.stats();
    fib.replace(more.map((each) => ({ ...each, gateways: [...each.gateways].reverse() })).reverse());
    assert.deepEqual([...reachableBlocks(fib.words).keys()], before);
    assert.deepEqual({ ...fib.stats(), epoch: 0 }, { ...stats, epoch: 0 });
  });

  test('rewrites the nodes that changed and leaves the others where they are', () => {
    const fib = smallFib();
    const entries = Array.from({ length: 64 }, (_, i) => entry(`10.${i}.5.0/24`, 'west', '172.31.0.2'));
    fib.replace(entries);
    const before = new Set(reachableBlocks(fib.words).keys());
    fib.replace([...entries.slice(1), entry('10.63.6.0/24', 'west', '172.31.0.3')]);
    const stayed = [...reachableBlocks(fib.words).keys()].filter((at) => before.has(at));
    assert.equal(stayed.length, 62);
    assert.equal(wayTo(fib, '10.0.5.1'), 'none');
    assert.equal(wayTo(fib, '10.63.6.1'), '.3');
  });

  test('keeps what is local', () => {
    const fib = smallFib();
    fib.setLocal([cidr('10.1.0.0/16'), cidr('10.2.3.128/25'), cidr('10.2.4.0/24')]);
    fib.replace(levels);
    fib.replace([]);
    assert.deepEqual(
      ['10.1.0.1', '10.2.3.129', '10.2.4.1', '10.2.3.1'].map((at) => wayTo(fib, at)),
      ['local', 'local', 'local', 'none'],
    );
  });
});

describe('local CIDRs', () => {
  test('win by length over remote ones and lose by it', () => {
    const fib = smallFib();
    fib.apply(levels, []);
    fib.setLocal([cidr('10.2.0.0/18'), cidr('10.2.3.4/30')]);
    assert.deepEqual(
      inside.map((at) => wayTo(fib, at)),
      ['.8', '.16', 'local', '.24', '.25', '.32'],
    );
    assert.equal(wayTo(fib, '10.2.3.5'), 'local');
    assert.equal(fib.find(address('10.2.3.5')), 'local');
  });

  test('hide a remote entry for the same CIDR, which follows its changes and comes back when they go', () => {
    const fib = smallFib();
    fib.apply([levels[3]!], []);
    fib.setLocal([cidr('10.2.3.0/24')]);
    assert.equal(wayTo(fib, '10.2.3.1'), 'local');
    assert.deepEqual(fib.share(cidr('10.2.3.0/24')), []);
    fib.apply([entry('10.2.3.0/24', 'west', '172.31.0.99')], []);
    assert.equal(wayTo(fib, '10.2.3.1'), 'local');
    fib.setLocal([]);
    assert.equal(wayTo(fib, '10.2.3.1'), '.99');
    fib.setLocal([cidr('10.2.3.0/24')]);
    fib.apply([], [cidr('10.2.3.0/24')]);
    fib.setLocal([]);
    assert.equal(wayTo(fib, '10.2.3.1'), 'none');
    assert.equal(fib.stats().peers, 0);
  });
});

describe('find', () => {
  test('gives the entry back as it was set', () => {
    const fib = smallFib();
    const wide = entry('0.0.0.0/0', 'north', '172.31.0.9*7', '172.31.0.8*3');
    fib.apply([...levels, wide], []);
    for (const [i, at] of inside.entries()) {
      const found = fib.find(address(at));
      assert.ok(found !== undefined && found !== 'local');
      assert.equal(describeFound(found.entry), describeFound(levels[i]));
      assert.equal(found.group, lookup(fib.words, address(at)));
    }
    const found = fib.find(address('250.1.1.1'));
    assert.ok(found !== undefined && found !== 'local');
    assert.equal(describeFound(found.entry), describeFound(wide));
    fib.apply([], [wide.cidr]);
    assert.equal(fib.find(address('250.1.1.1')), undefined);
  });
});

describe('peers', () => {
  test('keep what is known about them as long as any entry names them', () => {
    const fib = smallFib();
    fib.apply([levels[0]!], []);
    assert.equal(fib.setPeer(address('172.31.0.8'), { alive: false, pathMtuBytes: 1400 }), true);
    fib.apply([entry('10.0.0.0/8', 'west', '172.31.0.8', '172.31.0.9')], []);
    assert.deepEqual(
      fib.peers().map(({ address: at, alive, pathMtuBytes }) => [Number(at) & 255, alive, pathMtuBytes]),
      [
        [8, false, 1400],
        [9, true, 0],
      ],
    );
    assert.equal(wayTo(fib, '10.0.0.1'), '.9');
    assert.equal(fib.setPeer(address('172.31.0.7'), { alive: false }), false);
    assert.equal(fib.hasPeer(address('172.31.0.7')), false);
  });

  test('give their index up only when no reader can hold it, and then say so', () => {
    const released: string[] = [];
    const fib = smallFib({ onPeerReleased: (peer, at) => released.push(`${peer} .${Number(at) & 255}`) });
    fib.apply([levels[0]!], []);
    const old = findPeer(fib.words, address('172.31.0.8'));
    enterEpoch(fib.words, 0);
    fib.replace([]);
    fib.apply([levels[1]!], []);
    fib.reclaim();
    assert.deepEqual(released, []);
    assert.equal(
      peerWord(fib.words, old, PEER.ADDRESS),
      address('172.31.0.8'),
      'the reader still sees whose it was',
    );
    assert.notEqual(findPeer(fib.words, address('172.31.0.16')), old);
    leaveEpoch(fib.words, 0);
    fib.reclaim();
    assert.deepEqual(released, [`${old} .8`]);
    fib.apply([levels[2]!], []);
    assert.equal(findPeer(fib.words, address('172.31.0.17')), old);
  });
});

describe('epochs', () => {
  test('keep what a reader may hold until it leaves or moves on', () => {
    for (const moveOn of [leaveEpoch, enterEpoch]) {
      const fib = smallFib();
      fib.apply(levels, []);
      enterEpoch(fib.words, 7);
      const held = [...reachableBlocks(fib.words).keys()];
      fib.replace([]);
      assert.ok(fib.stats().retired >= held.length);
      assert.equal(fib.reclaim(), 0);
      assert.deepEqual(
        new Set(held),
        new Set([...fib.blocks()].filter(({ state }) => state === 'retired').map(({ at }) => at)),
      );
      moveOn(fib.words, 7);
      fib.reclaim();
      assert.equal(fib.stats().retired, 0);
      assert.deepEqual([...fib.blocks()], []);
    }
  });

  test('wrap around within 31 bits and never take the value that means quiescent', () => {
    const fib = smallFib({ firstEpoch: EPOCH_MASK - 2 });
    enterEpoch(fib.words, 0);
    const epochs: number[] = [];
    for (let i = 0; i < 5; i++) {
      fib.apply([entry('10.2.0.0/24', 'west', `172.31.0.${i + 1}`)], []);
      epochs.push(fib.stats().epoch);
    }
    assert.deepEqual(epochs, [EPOCH_MASK - 1, EPOCH_MASK, 1, 2, 3]);
    assert.ok(!epochs.includes(QUIESCENT));
    assert.equal(fib.reclaim(), 0, 'the reader is still in the epoch before the wrap');
    enterEpoch(fib.words, 0);
    fib.reclaim();
    assert.equal(fib.stats().retired, 0);
  });

  test('forget a reader whose thread is gone, and know only READERS_MAX of them', () => {
    const fib = smallFib();
    fib.apply(levels, []);
    enterEpoch(fib.words, READERS_MAX - 1);
    fib.replace([]);
    assert.equal(fib.reclaim(), 0);
    fib.forgetReader(READERS_MAX - 1);
    assert.ok(fib.reclaim() > 0);
    assert.throws(() => fib.forgetReader(READERS_MAX), /READERS_MAX/);
  });
});
