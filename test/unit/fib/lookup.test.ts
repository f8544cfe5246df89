import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DECAPSULATE_FROM_MAX } from '../../../src/base/limits.ts';
import {
  DSCP_INHERIT,
  HEADER,
  IMAGE_MAGIC,
  IMAGE_VERSION,
  PEER,
  SETTINGS,
  SETTINGS_FLAG,
} from '../../../src/fib/layout.ts';
import {
  findPeer,
  groupCluster,
  isAllowedSource,
  isTransit,
  lookup,
  peerHasCluster,
  peerWord,
} from '../../../src/fib/lookup.ts';
import { address, cidr, entry, smallFib, someSettings } from './linear-scan.ts';

test('a new image names itself and knows nothing', () => {
  const { words } = smallFib();
  assert.equal(words[HEADER.MAGIC], IMAGE_MAGIC);
  assert.equal(words[HEADER.VERSION], IMAGE_VERSION);
  assert.equal(words[HEADER.WORDS], words.length);
  assert.equal(lookup(words, address('10.0.0.1')), 0);
  assert.equal(findPeer(words, address('172.31.0.2')), -1);
  assert.equal(isAllowedSource(words, address('172.31.0.2')), 0);
});

test('the settings are words that the packet path reads directly', () => {
  const fib = smallFib();
  fib.configure(someSettings);
  assert.equal(fib.words[SETTINGS.SOURCE], someSettings.source);
  assert.equal(fib.words[SETTINGS.TUNNEL_ADDRESS], 0);
  assert.equal(fib.words[SETTINGS.LINK_MTU], 1500);
  assert.equal(fib.words[SETTINGS.TTL], 64);
  assert.equal(fib.words[SETTINGS.DSCP], DSCP_INHERIT);
  assert.equal(fib.words[SETTINGS.FLAGS], SETTINGS_FLAG.CLAMP_MSS | SETTINGS_FLAG.INNER_SOURCE_STRICT);
  fib.configure({
    ...someSettings,
    tunnelAddress: address('10.1.0.1'),
    ttl: 'inherit',
    dscp: 46,
    clampMss: false,
    innerSource: 'loose',
    fragment: 'outer',
    ecn: 'compatibility',
  });
  assert.equal(fib.words[SETTINGS.TUNNEL_ADDRESS], address('10.1.0.1'));
  assert.equal(fib.words[SETTINGS.TTL], 0);
  assert.equal(fib.words[SETTINGS.DSCP], 46);
  assert.equal(
    fib.words[SETTINGS.FLAGS],
    SETTINGS_FLAG.FRAGMENT_OUTER | SETTINGS_FLAG.INNER_SOURCE_LOOSE | SETTINGS_FLAG.ECN_COMPATIBILITY,
  );
});

test('allows the outer sources in the list and no neighbour of them', () => {
  const fib = smallFib();
  fib.configure({ ...someSettings, allowedSources: [cidr('192.0.2.0/25'), cidr('203.0.113.7/32')] });
  for (const allowed of ['192.0.2.0', '192.0.2.127', '203.0.113.7']) {
    assert.equal(isAllowedSource(fib.words, address(allowed)), 1, allowed);
    assert.equal(isAllowedSource(fib.words, address(allowed) | 0), 1, `${allowed} as i32`);
  }
  for (const refused of ['192.0.1.255', '192.0.2.128', '203.0.113.6', '203.0.113.8', '0.0.0.0']) {
    assert.equal(isAllowedSource(fib.words, address(refused)), 0, refused);
  }
  fib.configure({ ...someSettings, allowedSources: [cidr('0.0.0.0/0')] });
  assert.equal(isAllowedSource(fib.words, address('255.255.255.255')), 1);
  fib.configure(someSettings);
  assert.equal(isAllowedSource(fib.words, address('192.0.2.1')), 0);
  assert.deepEqual([...fib.blocks()], [], 'the lists before are given back');
});

test('holds DECAPSULATE_FROM_MAX outer sources and refuses one more with everything as it was', () => {
  const fib = smallFib();
  const allowedSources = Array.from({ length: DECAPSULATE_FROM_MAX + 1 }, (_, i) => ({
    address: 1000 + i,
    prefixLength: 32,
  }));
  fib.configure({ ...someSettings, allowedSources: allowedSources.slice(1) });
  assert.equal(isAllowedSource(fib.words, 1000 + DECAPSULATE_FROM_MAX), 1);
  assert.throws(() => fib.configure({ ...someSettings, linkMtuBytes: 9000, allowedSources }), {
    code: 'ISTHMUS_ERR_CAPACITY',
  });
  assert.equal(fib.words[SETTINGS.LINK_MTU], 1500);
  assert.equal(isAllowedSource(fib.words, 1000), 0);
});

test('a gateway of two clusters is one peer with both in its bitmap, until a cluster lets go of it', () => {
  const fib = smallFib();
  fib.apply(
    [entry('10.2.0.0/16', 'west', '172.31.0.2'), entry('10.3.0.0/16', 'north', '172.31.0.2', '172.31.0.3')],
    [],
  );
  const west = groupCluster(fib.words, lookup(fib.words, address('10.2.0.1')));
  const north = groupCluster(fib.words, lookup(fib.words, address('10.3.0.1')));
  const shared = findPeer(fib.words, address('172.31.0.2'));
  const other = findPeer(fib.words, address('172.31.0.3') | 0);
  assert.notEqual(west, north);
  assert.equal(peerWord(fib.words, shared, PEER.ADDRESS), address('172.31.0.2'));
  assert.deepEqual(
    [peerHasCluster(fib.words, shared, west), peerHasCluster(fib.words, shared, north)],
    [1, 1],
  );
  assert.deepEqual([peerHasCluster(fib.words, other, west), peerHasCluster(fib.words, other, north)], [0, 1]);
  fib.apply([], [cidr('10.3.0.0/16')]);
  assert.deepEqual(
    [peerHasCluster(fib.words, shared, west), peerHasCluster(fib.words, shared, north)],
    [1, 0],
  );
  assert.equal(findPeer(fib.words, address('172.31.0.3')), -1);
  assert.deepEqual(
    fib.peers().map((peer) => [peer.index, peer.clusters]),
    [[shared, ['west']]],
  );
});

test('transit is a property of the name: it holds for clusters known before, known later, and until it is taken back', () => {
  const fib = smallFib();
  const transitOf = (inside: string) =>
    isTransit(fib.words, groupCluster(fib.words, lookup(fib.words, address(inside))));
  fib.apply([entry('10.2.0.0/16', 'west', '172.31.0.2')], []);
  fib.configure({ ...someSettings, transit: ['west', 'north'] });
  fib.apply([entry('10.3.0.0/16', 'north', '172.31.0.3'), entry('10.4.0.0/16', 'south', '172.31.0.4')], []);
  assert.deepEqual([transitOf('10.2.0.1'), transitOf('10.3.0.1'), transitOf('10.4.0.1')], [1, 1, 0]);
  fib.configure({ ...someSettings, transit: ['south'] });
  assert.deepEqual([transitOf('10.2.0.1'), transitOf('10.3.0.1'), transitOf('10.4.0.1')], [0, 0, 1]);
  fib.replace([]);
  fib.apply([entry('10.5.0.0/16', 'east', '172.31.0.4')], []);
  assert.equal(transitOf('10.5.0.1'), 0, 'an index that is used again does not keep the bit');
});
